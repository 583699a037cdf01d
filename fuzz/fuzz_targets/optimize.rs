//! libFuzzer's entry to [`fusebox_fuzzing::target::optimize`], with mutations that know ONNX files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fusebox_fuzzing::target::optimize(bytes));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match fusebox_fuzzing::mutate::model(&data[..size], max_size, seed.into()) {
        Some(model) => {
            data[..model.len()].copy_from_slice(&model);
            model.len()
        }
        None => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
});
