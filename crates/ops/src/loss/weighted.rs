//! What both losses share: the negated log-probability of each target class, weighted, ignored and reduced.
//!
//! Input 0 is `[N, C, d1, …]`, input 1 the classes `[N, d1, …]`, input 2 an optional weight per class. The mean divides by
//! the sum of the weights that were used, as the specification says.

use crate::inference::{FLOATS, expect, expect_same};
use crate::op::{Eval, Infer};
use crate::sizes::same_size;
use crate::view::from_f64;
use crate::{EvalError, InferError};
use fusebox_ir::{Attrs, DType, Tensor, TensorType};
use ndarray::{ArrayD, IxDyn};

#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

fn reduction(attrs: &Attrs) -> Result<Reduction, InferError> {
    match attrs.str("reduction").unwrap_or("mean") {
        "none" => Ok(Reduction::None),
        "sum" => Ok(Reduction::Sum),
        "mean" => Ok(Reduction::Mean),
        _ => Err(InferError::Attribute { name: "reduction".into(), expected: "none, sum or mean".into() }),
    }
}

/// Type of the loss.
///
/// # Errors
/// Wrong types, ranks or sizes.
pub(super) fn infer(cx: &Infer<'_>) -> Result<Option<TensorType>, InferError> {
    expect(cx, 0, FLOATS)?;
    expect_same(cx, 0, 2)?;
    if let Some(ty) = cx.tensor(1).filter(|ty| !matches!(ty.dtype, DType::I32 | DType::I64)) {
        return Err(InferError::DType { index: 1, expected: "i32 or i64".into(), found: ty.dtype });
    }
    let reduction = reduction(cx.attrs)?;
    let Some(x) = cx.tensor(0) else { return Ok(None) };
    let target = cx.tensor(1).and_then(|ty| ty.shape.as_ref());
    if let (Some(x), Some(target)) = (&x.shape, target) {
        let rest = || x.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, dim)| dim);
        let fits = x.len() >= 2
            && target.len() + 1 == x.len()
            && rest().zip(target).all(|(a, b)| same_size(a, b).is_some());
        if !fits {
            let reason = format!("classes of shape {target:?} do not fit probabilities of shape {x:?}");
            return Err(InferError::shape(reason));
        }
    }
    Ok(Some(match (reduction, target) {
        (Reduction::None, Some(target)) => TensorType::new(x.dtype, target.iter().cloned()),
        (Reduction::None, None) => TensorType::unranked(x.dtype),
        _ => TensorType::new(x.dtype, []),
    }))
}

/// The loss of log-probabilities `log` (row-major in the shape of input 0).
///
/// # Errors
/// Shapes that do not fit, classes out of range.
pub(super) fn loss(cx: &Eval<'_>, log: &[f64]) -> Result<Tensor, EvalError> {
    let (x, target) = (cx.tensor(0)?, cx.tensor(1)?);
    let [batch, classes, rest @ ..] = x.shape() else {
        return Err(EvalError::value(format!("probabilities need batch and classes, found {:?}", x.shape())));
    };
    let expected: Vec<usize> = [batch].into_iter().chain(rest).copied().collect();
    if target.shape() != expected {
        let found = target.shape();
        return Err(EvalError::value(format!("classes must have shape {expected:?}, found {found:?}")));
    }
    let weights = match cx.optional(2)? {
        None => vec![1.0; *classes],
        Some(given) => given.floats().filter(|weights| weights.len() == *classes).ok_or_else(|| {
            EvalError::value(format!("weights must be {classes} floats, found {}", given.ty()))
        })?,
    };
    let ignored = cx.attrs.int("ignore_index");
    let area: usize = rest.iter().product();
    let (mut losses, mut used) = (Vec::with_capacity(target.len()), 0f64);
    for (place, class) in cx.integers(1)?.unwrap_or_default().into_iter().enumerate() {
        if ignored == Some(class) {
            losses.push(0.0);
            continue;
        }
        let class = usize::try_from(class).ok().filter(|class| class < classes).ok_or_else(|| {
            EvalError::value(format!("class {class} is outside 0..{classes} and not ignored"))
        })?;
        losses.push(-log[(place / area * classes + class) * area + place % area] * weights[class]);
        used += weights[class];
    }
    let total = || losses.iter().sum::<f64>();
    let (shape, values) = match reduction(cx.attrs)? {
        Reduction::None => (expected, losses),
        Reduction::Sum => (vec![], vec![total()]),
        Reduction::Mean => (vec![], vec![total() / used]),
    };
    from_f64(x.dtype(), &ArrayD::from_shape_vec(IxDyn(&shape), values)?)
}
