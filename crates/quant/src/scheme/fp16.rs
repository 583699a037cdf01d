//! fp16 weights: half the bytes, 11 bits of mantissa, at most 65,504.

use super::{Narrow, Precision, Refusal, Scheme, finite, sqnr_db};
use fusebox_ir::Tensor;
use half::f16;

/// Weights stored as IEEE half.
pub(super) struct Fp16;

impl Scheme for Fp16 {
    fn precision(&self) -> Precision {
        Precision::Fp16
    }

    fn narrow(&self, weight: &Tensor, _: usize, _: usize) -> Result<Narrow, Refusal> {
        let exact = finite(weight)?;
        let largest = exact.iter().fold(0f32, |m, x| m.max(x.abs()));
        if f16::from_f32(largest).is_infinite() {
            return Err(Refusal::Overflow { largest, format: "fp16" });
        }
        let narrow: Vec<f16> = exact.iter().map(|x| f16::from_f32(*x)).collect();
        let sqnr_db = sqnr_db(&exact, narrow.iter().map(|x| x.to_f32()));
        let weight = Tensor::from_vec(weight.shape().to_vec(), narrow).expect("one element per weight");
        Ok(Narrow { weight, scale: None, sqnr_db })
    }

    fn narrows_tables(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_refused_and_values_survive() {
        let weight = Tensor::vector(vec![1.0f32, 70_000.0]);
        assert!(matches!(Fp16.narrow(&weight, 0, 1), Err(Refusal::Overflow { .. })));
        let narrow = Fp16.narrow(&Tensor::vector(vec![0.5f32, -2.25]), 0, 1).unwrap();
        assert_eq!(narrow.weight.floats().unwrap(), [0.5, -2.25]);
    }
}
