//! Whether an output is what a case expects, by the rules of onnx's own runner.
//!
//! That runner is `numpy.testing.assert_allclose`: same type, same shape, and |found − expected| ≤ atol + rtol·|expected|
//! for every element, where equal infinities and two NaNs agree. bfloat16 is given two units in the last place.

use fusebox_ir::{DType, Tensor};
use fusebox_ops::Datum;

/// What a case allows.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Relative.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
    /// Whether only types and shapes are compared.
    pub shapes_only: bool,
}

/// Compares all outputs.
///
/// # Errors
/// The first difference.
pub fn outputs(expected: &[Datum], found: &[Datum], tolerance: Tolerance) -> Result<(), String> {
    if expected.len() > found.len() {
        return Err(format!("{} outputs instead of {}", found.len(), expected.len()));
    }
    let at = |index: usize| move |reason: String| format!("output {index}: {reason}");
    expected
        .iter()
        .zip(found)
        .enumerate()
        .try_for_each(|(i, (want, got))| datum(want, got, tolerance).map_err(at(i)))
}

fn datum(expected: &Datum, found: &Datum, tolerance: Tolerance) -> Result<(), String> {
    match (expected, found) {
        (Datum::Tensor(expected), Datum::Tensor(found)) => tensor(expected, found, tolerance),
        (Datum::Sequence(expected), Datum::Sequence(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).try_for_each(|(want, got)| datum(want, got, tolerance))
        }
        (Datum::Absent, Datum::Absent) => Ok(()),
        _ => Err(format!("{} instead of {}", kind(found), kind(expected))),
    }
}

fn kind(datum: &Datum) -> String {
    match datum {
        Datum::Tensor(tensor) => tensor.ty().to_string(),
        Datum::Sequence(items) => format!("a sequence of {}", items.len()),
        Datum::Absent => "an absent value".into(),
    }
}

fn tensor(expected: &Tensor, found: &Tensor, tolerance: Tolerance) -> Result<(), String> {
    if expected.ty() != found.ty() {
        return Err(format!("{} instead of {}", found.ty(), expected.ty()));
    }
    if tolerance.shapes_only {
        return Ok(());
    }
    let (Some(want), Some(got)) = (numbers(expected), numbers(found)) else {
        return if expected == found { Ok(()) } else { Err("elements differ".into()) };
    };
    let rtol = match expected.dtype() {
        DType::BF16 => tolerance.rtol.max(f64::powi(2.0, -6)),
        _ => tolerance.rtol,
    };
    let close = |(a, b): (&f64, &f64)| {
        // An infinity on one side would make the tolerance infinite too.
        let near = || a.is_finite() && (b - a).abs() <= tolerance.atol + rtol * a.abs();
        a == b || (a.is_nan() && b.is_nan()) || near()
    };
    let wrong = want.iter().zip(&got).filter(|pair| !close(*pair)).count();
    let Some(first) = want.iter().zip(&got).position(|pair| !close(pair)) else { return Ok(()) };
    Err(format!(
        "{wrong} of {} elements differ, the first at {first}: {} instead of {}",
        want.len(),
        got[first],
        want[first]
    ))
}

/// Elements as f64; `None` where equal bytes are what is asked for.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DType::C64 | DType::C128 => parts(tensor),
        DType::Bool => Some(tensor.data().iter().map(|b| f64::from(*b)).collect()),
        dtype if dtype.bits() < 8 => Some(narrow(tensor)),
        _ => fusebox_ops::view::to_f64(tensor).ok().map(|array| array.iter().copied().collect()),
    }
}

/// Real and imaginary parts in turn.
fn parts(tensor: &Tensor) -> Option<Vec<f64>> {
    let part = if tensor.dtype() == DType::C64 { DType::F32 } else { DType::F64 };
    let flat = Tensor::from_bytes(part, vec![tensor.len() * 2], tensor.data().clone()).ok()?;
    flat.floats()
}

/// Bit patterns of the elements of types below a byte, without the padding of the last byte.
fn narrow(tensor: &Tensor) -> Vec<f64> {
    let bits = tensor.dtype().bits();
    let per_byte = 8 / bits;
    let element = |i: usize| (tensor.data()[i / per_byte] >> (i % per_byte * bits)) & ((1u8 << bits) - 1);
    (0..tensor.len()).map(|i| f64::from(element(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Tolerance = Tolerance { rtol: 0.0, atol: 0.0, shapes_only: false };
    const USUAL: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-7, shapes_only: false };

    fn floats(values: &[f32]) -> Datum {
        Tensor::vector(values.to_vec()).into()
    }

    #[test]
    fn closeness_is_numpys() {
        let agree = |want: &[f32], got: &[f32]| outputs(&[floats(want)], &[floats(got)], USUAL).is_ok();
        assert!(agree(&[1.0, f32::INFINITY, f32::NAN], &[1.0009, f32::INFINITY, f32::NAN]));
        assert!(!agree(&[1.0], &[1.0012]) && !agree(&[f32::INFINITY], &[1.0]) && !agree(&[1.0], &[f32::NAN]));
        assert!(!agree(&[1.0], &[f32::INFINITY]) && !agree(&[0.0], &[1e-6]) && agree(&[0.0], &[5e-8]));
    }

    #[test]
    fn types_shapes_and_kinds_must_be_equal() {
        let other: Datum = Tensor::vector(vec![1i32]).into();
        let random = Tolerance { shapes_only: true, ..EXACT };
        assert!(outputs(&[floats(&[1.0])], std::slice::from_ref(&other), random).is_err());
        assert!(outputs(&[floats(&[1.0])], &[floats(&[2.0])], random).is_ok());
        assert!(outputs(&[floats(&[1.0])], &[floats(&[1.0, 1.0])], random).is_err());
        assert!(outputs(&[floats(&[1.0])], &[], EXACT).is_err());
        assert!(outputs(&[Datum::Sequence(vec![])], &[Datum::Absent], EXACT).is_err());
        let pair = Datum::Sequence(vec![floats(&[1.0]), other]);
        assert!(outputs(std::slice::from_ref(&pair), std::slice::from_ref(&pair), EXACT).is_ok());
    }

    #[test]
    fn padding_of_narrow_types_says_nothing() {
        let nibbles = |raw: [u8; 2]| -> Datum {
            Tensor::from_bytes(DType::I4, vec![3], raw.to_vec().into()).unwrap().into()
        };
        assert!(outputs(&[nibbles([0x21, 0x03])], &[nibbles([0x21, 0xf3])], EXACT).is_ok());
        assert!(outputs(&[nibbles([0x21, 0x03])], &[nibbles([0x21, 0x04])], EXACT).is_err());
    }
}
