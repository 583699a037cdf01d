//! bf16 weights: half the bytes, 8 bits of mantissa, the range of f32.

use super::{Narrow, Precision, Refusal, Scheme, finite, sqnr_db};
use fusebox_ir::Tensor;
use half::bf16;

/// Weights stored as brain float.
pub(super) struct Bf16;

impl Scheme for Bf16 {
    fn precision(&self) -> Precision {
        Precision::Bf16
    }

    fn narrow(&self, weight: &Tensor, _: usize, _: usize) -> Result<Narrow, Refusal> {
        let exact = finite(weight)?;
        let narrow: Vec<bf16> = exact.iter().map(|x| bf16::from_f32(*x)).collect();
        if let Some(position) = narrow.iter().position(|x| x.is_infinite()) {
            return Err(Refusal::Overflow { largest: exact[position].abs(), format: "bf16" });
        }
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
    fn rounds_to_eight_bits() {
        let narrow = Bf16.narrow(&Tensor::vector(vec![1.0f32, 1.003_9, 3.0e38]), 0, 1).unwrap();
        assert_eq!(narrow.weight.floats().unwrap()[..2], [1.0, 1.0]);
        assert!(narrow.sqnr_db > 40.0);
        assert!(matches!(Bf16.narrow(&Tensor::vector(vec![f32::MAX]), 0, 1), Err(Refusal::Overflow { .. })));
    }
}
