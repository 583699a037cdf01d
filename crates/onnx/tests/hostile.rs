//! Damaged files: import must answer with an error or a model, never panic, hang or take memory without bound.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use fusebox_onnx::{LoadOptions, SaveOptions, load_bytes, to_bytes};
use std::path::Path;

const CASES: u64 = 10_000;

/// A splitmix64 stream: the cases are the same in every run.
struct Stream(u64);

impl Stream {
    fn next(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % bound
    }
}

fn damage(file: &[u8], stream: &mut Stream) -> Vec<u8> {
    let mut bytes = file.to_vec();
    match stream.next(4) {
        0 => bytes.truncate(stream.next(bytes.len())),
        1 => {
            let (from, to) = (stream.next(bytes.len()), stream.next(bytes.len()));
            let length = stream.next(64).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + length, to);
        }
        _ => {
            // The first bytes of a model hold its structure, the rest is mostly weights: aim at both.
            let reach = if stream.next(2) == 0 { bytes.len() } else { bytes.len().min(6000) };
            for _ in 0..=stream.next(8) {
                let at = stream.next(reach);
                bytes[at] ^= 1 << stream.next(8);
            }
        }
    }
    bytes
}

#[test]
fn ten_thousand_damaged_files_never_panic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    let names = [
        "medium_mlp.onnx",
        "torchscript/medium_mlp.onnx",
        "torchscript/mobilenet_block.onnx",
        "torchscript/vision_attention.onnx",
    ];
    let files: Vec<Vec<u8>> = names.iter().map(|name| std::fs::read(root.join(name)).unwrap()).collect();
    let options = LoadOptions { max_generated: 4 << 20, max_overhead: 64 << 20, ..LoadOptions::default() };
    let (mut accepted, mut refused) = (0, 0);
    for case in 0..CASES {
        let mut stream = Stream(case);
        let bytes = damage(&files[stream.next(files.len())], &mut stream);
        match load_bytes(&bytes.into(), &options) {
            Ok(model) => {
                accepted += 1;
                // What was accepted must also survive being written; the answer does not matter.
                if accepted % 16 == 0 {
                    drop(to_bytes(&model, &SaveOptions::default()));
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty() && !error.help().is_empty());
            }
        }
    }
    assert!(
        accepted > 100 && refused > 1000,
        "{accepted} accepted, {refused} refused: the damage is one-sided"
    );
}
