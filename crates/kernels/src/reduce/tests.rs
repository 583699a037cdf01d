//! Reductions against index arithmetic in f64 on every instruction set.
//!
//! Errors are judged by the magnitude of what was added, so cancellation does not hide or fake them.

use super::*;
use crate::fixture::{Fixture, assert_close, values};
use crate::layout::Odometer;
use proptest::prelude::*;

/// Output index of every input index, row-major.
fn targets(dims: &[usize], axes: &[usize]) -> Vec<usize> {
    let kept: Vec<usize> =
        dims.iter().enumerate().map(|(a, &d)| if axes.contains(&a) { 1 } else { d }).collect();
    let layout = crate::Layout::broadcast(&kept, dims).unwrap();
    let mut walk = Odometer::new(dims, [&layout.strides], [0], 0);
    let count: usize = dims.iter().product();
    (0..count)
        .map(|_| {
            let at = usize::try_from(walk.at[0]).unwrap();
            walk.advance();
            at
        })
        .collect()
}

fn exact(reduction: Reduction, values: &[f64]) -> f64 {
    let n = values.len() as f64;
    match reduction {
        Reduction::Sum => values.iter().sum(),
        Reduction::Mean => values.iter().sum::<f64>() / n,
        Reduction::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduction::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Reduction::Prod => values.iter().product(),
        Reduction::L1 => values.iter().map(|v| v.abs()).sum(),
        Reduction::L2 => values.iter().map(|v| v * v).sum::<f64>().sqrt(),
        Reduction::SumSquare => values.iter().map(|v| v * v).sum(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn reductions_match_f64(
        dims in prop::collection::vec(1_usize..20, 1..5),
        mask in 0_usize..16,
        which in 0_usize..8,
        long in 0_usize..3,
    ) {
        let mut dims = dims;
        // Now and then one extent past the strip and the piece.
        if long < dims.len() && dims.iter().product::<usize>() < 400 {
            dims[long] *= 37;
        }
        let axes: Vec<usize> = (0..dims.len()).filter(|a| mask & (1 << a) != 0).collect();
        let reduction = Reduction::ALL[which];
        let count: usize = dims.iter().product();
        let data = values(count, 9);
        let target = targets(&dims, &axes);
        let outputs = target.iter().max().map_or(0, |m| m + 1);
        let mut groups = vec![Vec::new(); outputs];
        target.iter().zip(&data).for_each(|(&t, &v)| groups[t].push(f64::from(v)));
        let mut fixture = Fixture::default();
        let input = fixture.input(&data);
        let output = fixture.output::<f32>(outputs);
        let spec = ReduceSpec { dims, axes, reduction, element: Element::F32, input: input.into(), output };
        for isa in Isa::available() {
            let got: Vec<f32> = fixture.run(ReduceStep::new(spec.clone(), Some(isa)).unwrap(), output);
            for (got, group) in got.iter().zip(&groups) {
                // Judged by what was added, not by what cancelled; products by their own size.
                let magnitude = match reduction {
                    Reduction::Sum => exact(Reduction::L1, group),
                    Reduction::Mean => exact(Reduction::L1, group) / group.len() as f64,
                    _ => exact(reduction, group).abs(),
                };
                let error = (f64::from(*got) - exact(reduction, group)).abs();
                let allowed = 1e-6 * magnitude.max(1e-30) * if reduction == Reduction::Prod { group.len() as f64 } else { 1.0 };
                let vanishes = reduction == Reduction::Prod && magnitude < 1e-35;
                let infinite = got.is_infinite() && magnitude > 3e38;
                prop_assert!(error <= allowed || vanishes || infinite, "{} {:?}: {} for {:?}", isa, &spec, got, exact(reduction, group));
            }
        }
    }

    #[test]
    fn integer_reductions_match(
        dims in prop::collection::vec(1_usize..7, 1..4),
        mask in 0_usize..8,
    ) {
        let axes: Vec<usize> = (0..dims.len()).filter(|a| mask & (1 << a) != 0).collect();
        let data: Vec<i64> = values(dims.iter().product(), 10).iter().map(|&v| (v * 3.0) as i64).collect();
        let target = targets(&dims, &axes);
        let outputs = target.iter().max().map_or(0, |m| m + 1);
        for (reduction, start) in [(Reduction::Sum, 0), (Reduction::Max, i64::MIN), (Reduction::Prod, 1)] {
            let mut expected = vec![start; outputs];
            for (&t, &v) in target.iter().zip(&data) {
                expected[t] = match reduction {
                    Reduction::Sum => expected[t] + v,
                    Reduction::Max => expected[t].max(v),
                    _ => expected[t].wrapping_mul(v),
                };
            }
            let mut fixture = Fixture::default();
            let input = fixture.input(&data).into();
            let output = fixture.output::<i64>(outputs);
            let spec = ReduceSpec { dims: dims.clone(), axes: axes.clone(), reduction, element: Element::I64, input, output };
            prop_assert_eq!(fixture.run::<i64>(ReduceStep::new(spec, None).unwrap(), output), expected);
        }
    }
}

#[test]
fn long_sums_keep_their_accuracy() {
    let data: Vec<f32> = values(1 << 20, 11).iter().map(|v| v + 100.0).collect();
    let exact: f64 = data.iter().map(|&v| f64::from(v)).sum();
    for axes in [vec![0, 1], vec![0]] {
        let dims = if axes.len() == 2 { vec![1 << 10, 1 << 10] } else { vec![1 << 20, 1] };
        let mut fixture = Fixture::default();
        let input = fixture.input(&data).into();
        let output = fixture.output::<f32>(1);
        let spec = ReduceSpec { dims, axes, reduction: Reduction::Sum, element: Element::F32, input, output };
        for isa in Isa::available() {
            let got: Vec<f32> = fixture.run(ReduceStep::new(spec.clone(), Some(isa)).unwrap(), output);
            assert_close(&got, &[exact], 1e-6, isa.name());
        }
    }
}

#[test]
fn nan_is_the_extremum_and_empty_folds_give_the_neutral_element() {
    let mut fixture = Fixture::default();
    let data: Vec<f32> = (0..40).map(|i| if i == 33 { f32::NAN } else { 1.0 }).collect();
    let input = fixture.input(&data);
    let output = fixture.output::<f32>(1);
    for isa in Isa::available() {
        for reduction in [Reduction::Max, Reduction::Min] {
            let (dims, axes) = (vec![40], vec![0]);
            let element = Element::F32;
            let spec = ReduceSpec { dims, axes, reduction, element, input: input.into(), output };
            let got: Vec<f32> = fixture.run(ReduceStep::new(spec, Some(isa)).unwrap(), output);
            assert!(got[0].is_nan(), "{isa} {reduction:?}");
        }
        for (reduction, neutral) in [(Reduction::Sum, 0.0), (Reduction::Prod, 1.0)] {
            let (dims, axes) = (vec![1, 0], vec![1]);
            let element = Element::F32;
            let spec = ReduceSpec { dims, axes, reduction, element, input: input.into(), output };
            let got: Vec<f32> = fixture.run(ReduceStep::new(spec, Some(isa)).unwrap(), output);
            assert_eq!(got, [neutral], "{isa} {reduction:?}");
        }
    }
}

#[test]
fn positions_of_extrema() {
    let mut fixture = Fixture::default();
    let input = fixture.input(&[1.0_f32, 5.0, 5.0, -2.0, f32::NAN, 7.0]);
    let output = fixture.output::<i64>(3);
    let arg = |axis, extremum, last| {
        let spec = ArgSpec { dims: vec![2, 3], axis, extremum, last, input: input.into(), output };
        ArgStep::new(spec).unwrap()
    };
    assert_eq!(fixture.run::<i64>(arg(1, ArgExtremum::Max, false), output)[..2], [1, 1]);
    assert_eq!(fixture.run::<i64>(arg(1, ArgExtremum::Max, true), output)[..2], [2, 1]);
    assert_eq!(fixture.run::<i64>(arg(0, ArgExtremum::Min, false), output), [1, 1, 0]);
}

#[test]
fn reductions_do_not_depend_on_threads() {
    let mut fixture = Fixture::default();
    let input = fixture.input(&values(64 * 49 * 300, 12));
    for axes in [vec![1], vec![2], vec![0, 2]] {
        let output = fixture.output::<f32>(64 * 300);
        let spec = ReduceSpec {
            dims: vec![64, 49, 300],
            axes,
            reduction: Reduction::Mean,
            element: Element::F32,
            input: input.into(),
            output,
        };
        fixture.assert_thread_invariant(|| ReduceStep::new(spec.clone(), None).unwrap(), output);
    }
}
