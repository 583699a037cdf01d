//! How much a model amplifies rounding: what its outputs do when weights and inputs change in their last bit.
//!
//! Some models subtract large numbers that are nearly equal, a variance from the mean of squares say. No two correct
//! evaluations in f32 agree on them as closely as on others, so a limit for all models would refuse every runtime.
//! Refuses to judge kernels or rules: the reference alone is asked, twice.

use crate::compare::{self, OutputComparison};
use crate::inputs::Inputs;
use crate::metrics::{self, Metrics, Tolerance};
use crate::{Error, Model};
use fusebox_ir::{DType, Tensor};

/// Times the effect of the last bit that two evaluations may be apart: a sum of a few hundred products, rounded at each
/// step, is off by about this many halves of the last bit.
const ROUNDINGS: f64 = 8.0;
/// However much a model amplifies, this is the most that is forgiven.
const MOST: Tolerance = Tolerance { cosine: 0.999_9, rel: 0.02, ..Tolerance::NONE };

/// For each output, how far it moves when every f32 weight and input is multiplied by one more or less half of its last
/// bit, by the reference.
///
/// # Errors
/// The node that fails on the changed numbers.
pub fn last_bit(model: &Model, inputs: &Inputs, expected: &[Tensor]) -> Result<Vec<Option<Metrics>>, Error> {
    let mut shaken = model.clone();
    let constants: Vec<_> =
        shaken.graph.values().filter(|(_, v)| v.constant.is_some()).map(|(id, _)| id).collect();
    for (index, id) in constants.into_iter().enumerate() {
        let value = shaken.graph.value_mut(id);
        value.constant = value.constant.take().map(|tensor| shake(tensor, index));
    }
    let feeds = inputs.feeds();
    let feeds: Vec<(&str, Tensor)> =
        feeds.into_iter().enumerate().map(|(index, (name, t))| (name, shake(t, !index))).collect();
    let moved = compare::reference(&shaken, &feeds)?;
    Ok(expected.iter().zip(&moved).map(|(a, b)| metrics::compare(a, b).ok()).collect())
}

/// Elements of f32 with their last bit one up, one down or as it was, in an order that depends on positions alone.
fn shake(tensor: Tensor, salt: usize) -> Tensor {
    let floats = match tensor.dtype() {
        DType::F32 => tensor.elements::<f32>().ok(),
        _ => None,
    };
    let Some(floats) = floats else { return tensor };
    let turned = floats.iter().enumerate().map(|(position, x)| {
        // A multiplicative hash: neighbours go different ways.
        let mixed = (position ^ salt.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
        let turned = match mixed % 3 {
            0 => f32::from_bits(x.to_bits().wrapping_add(1)),
            1 => f32::from_bits(x.to_bits().wrapping_sub(1)),
            _ => *x,
        };
        // Zero, one and other small integers are what they are: masks, axes, exact factors.
        if x.fract() == 0.0 || !turned.is_finite() { *x } else { turned }
    });
    let turned: Vec<f32> = turned.collect();
    Tensor::from_vec(tensor.shape().to_vec(), turned).unwrap_or(tensor.clone())
}

/// Whether an output that breaks the limits does so no more than the model's own amplification explains; then the
/// sentence that says so.
pub fn explains(output: &OutputComparison, moved: &Metrics, limits: &Tolerance) -> Option<String> {
    let found = output.metrics?;
    let relaxed = Tolerance {
        cosine: limits.cosine.min((1.0 - ROUNDINGS * (1.0 - moved.cosine)).max(MOST.cosine)),
        rel: limits.rel.max((ROUNDINGS * moved.max_rel).min(MOST.rel)),
        ..*limits
    };
    let is_explained = !found.discrete && relaxed.broken_by(&found).is_none();
    is_explained.then(|| {
        format!(
            "output {:?} has a relative error of {:.1e}: the model amplifies rounding, and the last bit of its weights alone moves it by {:.1e}",
            output.name, found.max_rel, moved.max_rel
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::{VerifyOptions, verify_optimized};
    use fusebox_ir::{Builder, Dim, TensorType};

    /// `x * by`, with a large number added and taken away again where `is_shifted`.
    fn model(by: f32, is_shifted: bool) -> Model {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n"), Dim::known(64)]));
        let factor = b.constant(Tensor::vector(vec![by; 64]));
        let mut y = b.op("Mul", &[x, factor]);
        if is_shifted {
            for shift in [10_000.3f32, -10_000.3] {
                let shift = b.constant(Tensor::vector(vec![shift; 64]));
                y = b.op("Add", &[y, shift]);
            }
        }
        let graph = b.finish(&[y]);
        fusebox_ir::Model { graph, ..Default::default() }.into()
    }

    #[test]
    fn what_rounding_explains_is_told_and_not_refused() {
        let options = VerifyOptions::default();
        let found = verify_optimized(&model(1.5, true), &model(1.5, false), &options).unwrap();
        assert!(found.passed() && found.amplified.len() == 1, "{found:?}");
        assert!(found.amplified[0].contains("amplifies rounding"), "{}", found.amplified[0]);
        let strict = VerifyOptions { tolerance: Some(Tolerance::F32), ..VerifyOptions::default() };
        assert!(!verify_optimized(&model(1.5, true), &model(1.5, false), &strict).unwrap().passed());
    }

    #[test]
    fn what_rounding_does_not_explain_is_refused() {
        let options = VerifyOptions::default();
        for (before, after) in
            [(model(1.5, true), model(1.6, false)), (model(1.5, false), model(1.501, false))]
        {
            let found = verify_optimized(&before, &after, &options).unwrap();
            assert!(!found.passed() && found.amplified.is_empty(), "{found:?}");
        }
    }
}
