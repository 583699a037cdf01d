//! libFuzzer's entry to [`fusebox_fuzzing::target::rules`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fusebox_fuzzing::target::rules(bytes));
