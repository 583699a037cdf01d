//! Tensors that a skeleton model describes by a generator instead of holding them.
//!
//! The format is the corpus's: `corpus/README.md`. Values depend on seed and position only, so they are made in
//! parallel and are the same on every machine.

use super::tensor::{Header, Owner};
use super::{ImportError, Importer};
use fusebox_ir::{DType, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The `location` that marks a generated tensor.
pub(super) const LOCATION: &str = "fusebox:seeded";

/// Elements made by one task.
const CHUNK: usize = 1 << 16;

/// How the elements are made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Generator {
    Normal { seed: u64, mean: f32, scale: f32 },
    Constant { value: f32 },
}

impl Importer<'_> {
    /// Makes a tensor from its recipe.
    pub(super) fn read_seeded(
        &mut self,
        entries: &BTreeMap<&str, &str>,
        header: Header,
        owner: Owner<'_>,
    ) -> Result<Tensor, ImportError> {
        let Header { dtype, shape, count } = header;
        if dtype != DType::F32 {
            let reason = "which makes f32 only";
            return Err(ImportError::DataField { tensor: owner(), dtype, field: "fusebox:seeded", reason });
        }
        let generator = generator(entries, owner)?;
        self.reserve_generated(count as u64 * 4, owner)?;
        let mut elements = vec![0f32; count];
        elements.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, part)| {
            generator.fill((chunk * CHUNK) as u64, part);
        });
        Ok(Tensor::from_vec(shape, elements).expect("made to the count of the shape"))
    }

    /// Counts bytes that a small file asks us to make.
    pub(super) fn reserve_generated(&mut self, bytes: u64, owner: Owner<'_>) -> Result<(), ImportError> {
        let (needed, limit) = (self.generated.saturating_add(bytes), self.options.max_generated);
        if needed > limit {
            return Err(ImportError::TooMuchGenerated { tensor: owner(), needed, limit });
        }
        self.generated = needed;
        Ok(())
    }
}

impl Generator {
    /// Writes elements `first..`.
    fn fill(self, first: u64, part: &mut [f32]) {
        match self {
            Self::Constant { value } => part.fill(value),
            Self::Normal { seed, mean, scale } => {
                for (index, element) in (first..).zip(part) {
                    let sum = lane_sum(seed.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
                    // Two rounded operations: contraction to one would change the last bit.
                    let scaled = (sum - 131_070) as f32 * scale;
                    *element = scaled + mean;
                }
            }
        }
    }
}

/// Finalises a splitmix64 state and adds its four 16-bit lanes: an approximately normal integer.
fn lane_sum(state: u64) -> i32 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let lane = |shift: u32| ((z >> shift) & 0xffff) as i32;
    lane(0) + lane(16) + lane(32) + lane(48)
}

fn generator(entries: &BTreeMap<&str, &str>, owner: Owner<'_>) -> Result<Generator, ImportError> {
    let text = |key: &str| entries.get(key).copied().unwrap_or_default();
    let wrong = |key: &str, expected| ImportError::ExternalEntry {
        tensor: owner(),
        key: key.into(),
        value: text(key).into(),
        expected,
    };
    let float = |key: &str| text(key).parse::<f32>().map_err(|_| wrong(key, "a number"));
    match text("generator") {
        "normal" => {
            let seed = text("seed").parse().map_err(|_| wrong("seed", "an unsigned 64-bit number"))?;
            Ok(Generator::Normal { seed, mean: float("mean")?, scale: float("scale")? })
        }
        "constant" => Ok(Generator::Constant { value: float("value")? }),
        _ => Err(wrong("generator", "`normal` or `constant`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::LoadOptions;

    fn read(entries: &[(&str, &str)], count: usize, limit: u64) -> Result<Tensor, ImportError> {
        let options = LoadOptions { max_generated: limit, ..LoadOptions::default() };
        let header = Header { dtype: DType::F32, shape: vec![count], count };
        let entries = entries.iter().copied().collect();
        Importer::new(&options, None).read_seeded(&entries, header, &|| "tensor \"w\"".into())
    }

    #[test]
    fn matches_the_corpus_vectors() {
        let text = include_str!("../../../../corpus/seeded_vector.json");
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let cases = json["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let field = |key: &str| case[key].as_str().unwrap();
            let entries = [
                ("generator", "normal"),
                ("seed", field("seed")),
                ("mean", field("mean")),
                ("scale", field("scale")),
            ];
            let tensor = read(&entries, 100_000, 1 << 20).unwrap();
            let bits: Vec<u64> =
                tensor.elements::<f32>().unwrap().iter().map(|x| u64::from(x.to_bits())).collect();
            let first: Vec<u64> =
                case["first_8_bits"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap()).collect();
            assert_eq!(bits[..8], first, "{}", case["name"]);
            let sum = bits[..10_000].iter().fold(0u64, |sum, b| sum.wrapping_add(*b));
            assert_eq!(Some(sum), case["sum_of_first_10000_bits"].as_u64(), "{}", case["name"]);
        }
    }

    #[test]
    fn recipes_are_checked_before_memory_is_taken() {
        let constant = [("generator", "constant"), ("value", "0.5")];
        assert_eq!(read(&constant, 3, 12).unwrap().floats().unwrap(), [0.5; 3]);
        assert!(matches!(read(&constant, 4, 12), Err(ImportError::TooMuchGenerated { needed: 16, .. })));
        assert!(matches!(read(&[("generator", "zeta")], 1, 9), Err(ImportError::ExternalEntry { .. })));
        let seedless = [("generator", "normal"), ("mean", "0"), ("scale", "1")];
        assert!(matches!(read(&seedless, 1, 9), Err(ImportError::ExternalEntry { .. })));
    }
}
