//! Row kernels against their f64 definitions on every instruction set.
//!
//! Definitions are written out here; shapes, masks and overlaps are random.

use super::*;
use crate::arena::Span;
use crate::fixture::{Fixture, assert_close, values};
use crate::isa::Isa;
use crate::layout::Layout;
use crate::operand::{Constant, Operand};
use proptest::prelude::*;

fn exact_norm(row: &[f32], kind: NormKind, epsilon: f64) -> Vec<f64> {
    let row: Vec<f64> = row.iter().map(|&v| v.into()).collect();
    let n = row.len() as f64;
    let mean = if kind == NormKind::Layer { row.iter().sum::<f64>() / n } else { 0.0 };
    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    row.iter().map(|v| (v - mean) / (variance + epsilon).sqrt()).collect()
}

fn exact_softmax(row: &[f64], log: bool) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = row.iter().map(|v| (v - most).exp()).sum();
    row.iter().map(|v| if log { v - most - total.ln() } else { (v - most).exp() / total }).collect()
}

fn view(span: Span, stride: usize) -> RowView {
    RowView { span, stride }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn norms_match_f64(
        rows in 1_usize..6,
        columns in 1_usize..200,
        gap in 0_usize..3,
        options in 0_u8..32,
        shift in -3_i32..4,
    ) {
        let has = |bit: u8| options & (1 << bit) != 0;
        let kind = if has(0) { NormKind::Layer } else { NormKind::Rms };
        let stride = columns + gap;
        let offset = 10_f32.powi(shift);
        let x: Vec<f32> = values(rows * stride, 1).iter().map(|v| v + offset).collect();
        let r = values(rows * stride, 2);
        let (gamma, beta) = (values(columns, 3), values(columns, 4));
        let mut fixture = Fixture::default();
        let (xs, rs) = (fixture.input(&x), fixture.input(&r));
        let gammas: Operand = if has(4) { fixture.input(&gamma).into() } else { Constant::from_slice(&gamma).into() };
        let output = fixture.output::<f32>(rows * columns);
        let sums = fixture.output::<f32>(rows * columns);
        let spec = NormSpec {
            kind,
            rows,
            columns,
            input: view(xs, stride),
            residual: has(1).then_some(view(rs, stride)),
            sum: Some(view(sums, columns)),
            gamma: has(2).then_some(gammas),
            beta: has(3).then(|| Constant::from_slice(&beta).into()),
            epsilon: 1e-5,
            output: view(output, columns),
        };
        for isa in Isa::available() {
            let step = || NormStep::new(spec.clone(), Some(isa)).unwrap();
            let got: Vec<f32> = fixture.run(step(), output);
            let sum: Vec<f32> = fixture.run(step(), sums);
            for row in 0..rows {
                let place = row * stride..row * stride + columns;
                let input: Vec<f32> = x[place.clone()].iter().zip(&r[place])
                    .map(|(x, r)| if has(1) { x + r } else { *x }).collect();
                prop_assert_eq!(&sum[row * columns..][..columns], &input[..]);
                let mut expected = exact_norm(&input, kind, f64::from(1e-5_f32));
                for (i, value) in expected.iter_mut().enumerate() {
                    *value = *value * if has(2) { f64::from(gamma[i]) } else { 1.0 }
                        + if has(3) { f64::from(beta[i]) } else { 0.0 };
                }
                // The mean square of an RMS norm is summed where the values are.
                let tolerance = 3e-6;
                let what = format!("{isa} {columns} columns, offset {offset}");
                assert_close(&got[row * columns..][..columns], &expected, tolerance, &what);
            }
        }
    }

    #[test]
    fn softmax_matches_f64(
        outer in 1_usize..5,
        middle in 1_usize..4,
        extent in 1_usize..150,
        log in any::<bool>(),
        mask_kind in 0_u8..4,
        in_place in any::<bool>(),
    ) {
        let dims = vec![outer, middle, extent];
        let x = values(outer * middle * extent, 5);
        let shapes = [vec![], vec![extent], vec![outer, 1, extent], vec![middle, 1]];
        let shape = &shapes[usize::from(mask_kind)];
        let layout = Layout::broadcast(shape, &dims).unwrap();
        let mut masks = values(shape.iter().product(), 6);
        if masks.len() > 1 && extent > 1 && mask_kind != 3 {
            masks[0] = f32::NEG_INFINITY;
        }
        let mut fixture = Fixture::default();
        let input = fixture.input(&x);
        let output = if in_place { input } else { fixture.output::<f32>(x.len()) };
        let mask = Some(SoftmaxMask { operand: fixture.input(&masks).into(), layout: layout.clone() });
        let spec = SoftmaxSpec { dims: dims.clone(), axis: 2, log, scale: 3.0, mask, input, output };
        let mut walk = crate::layout::Odometer::new(&dims, [&layout.strides], [0], 0);
        let scores: Vec<f64> = x.iter().map(|&v| {
            let m = masks[usize::try_from(walk.at[0]).unwrap()];
            walk.advance();
            f64::from(v) * 3.0 + f64::from(m)
        }).collect();
        for isa in Isa::available() {
            let got: Vec<f32> = fixture.run(SoftmaxStep::new(spec.clone(), Some(isa)).unwrap(), output);
            for (got, row) in got.chunks(extent).zip(scores.chunks(extent)) {
                assert_close(got, &exact_softmax(row, log), 1e-6, &format!("{isa} {spec:?}"));
            }
        }
    }

    #[test]
    fn softmax_over_an_inner_axis_matches_f64(
        outer in 1_usize..3,
        extent in 1_usize..12,
        inner in 2_usize..300,
        log in any::<bool>(),
        in_place in any::<bool>(),
    ) {
        let x = values(outer * extent * inner, 7);
        let mut fixture = Fixture::default();
        let input = fixture.input(&x);
        let output = if in_place { input } else { fixture.output::<f32>(x.len()) };
        let dims = vec![outer, extent, inner];
        let spec = SoftmaxSpec { dims, axis: 1, log, scale: 0.5, mask: None, input, output };
        for isa in Isa::available() {
            let got: Vec<f32> = fixture.run(SoftmaxStep::new(spec.clone(), Some(isa)).unwrap(), output);
            for o in 0..outer {
                for column in 0..inner {
                    let at = |i: usize| (o * extent + i) * inner + column;
                    let row: Vec<f64> = (0..extent).map(|i| f64::from(x[at(i)]) * 0.5).collect();
                    let column: Vec<f32> = (0..extent).map(|i| got[at(i)]).collect();
                    assert_close(&column, &exact_softmax(&row, log), 1e-6, &format!("{isa}"));
                }
            }
        }
    }
}

#[test]
fn rows_without_a_finite_maximum_are_nan_as_onnx_defines() {
    let inf = f32::INFINITY;
    let rows = [[-inf, -inf, -inf], [1.0, inf, 0.0], [1.0, f32::NAN, 2.0], [0.0, -inf, 0.0]];
    for axis in [0, 1] {
        let mut fixture = Fixture::default();
        let flat: Vec<f32> = match axis {
            1 => rows.as_flattened().to_vec(),
            _ => (0..12).map(|i| rows[i % 4][i / 4]).collect(),
        };
        let input = fixture.input(&flat);
        let output = fixture.output::<f32>(12);
        let dims = if axis == 1 { vec![4, 3] } else { vec![3, 4] };
        for isa in Isa::available() {
            let spec =
                SoftmaxSpec { dims: dims.clone(), axis, log: false, scale: 1.0, mask: None, input, output };
            let got: Vec<f32> = fixture.run(SoftmaxStep::new(spec, Some(isa)).unwrap(), output);
            for (index, value) in got.iter().enumerate() {
                let row = if axis == 1 { index / 3 } else { index % 4 };
                assert_eq!(value.is_nan(), row < 3, "{isa} axis {axis}: {got:?}");
            }
            let last: Vec<f32> = if axis == 1 { got[9..].to_vec() } else { vec![got[3], got[7], got[11]] };
            assert_eq!(last, [0.5, 0.0, 0.5], "{isa}");
        }
    }
}

#[test]
fn norms_are_as_exact_far_from_zero_as_near_it() {
    for (columns, offset) in [(768, 1e6), (771, -1e6), (768, 1e5), (5, 1e6), (64, 0.0)] {
        for outlier in [0.0, 1e4] {
            let mut x: Vec<f32> = values(columns, 9).iter().map(|v| v + offset).collect();
            x[0] += outlier;
            let mut fixture = Fixture::default();
            let input = fixture.input(&x);
            let output = fixture.output::<f32>(columns);
            let spec = NormSpec {
                kind: NormKind::Layer,
                rows: 1,
                columns,
                input: view(input, columns),
                residual: None,
                sum: None,
                gamma: None,
                beta: None,
                epsilon: 1e-5,
                output: view(output, columns),
            };
            let expected = exact_norm(&x, NormKind::Layer, f64::from(1e-5_f32));
            for isa in Isa::available() {
                let got: Vec<f32> = fixture.run(NormStep::new(spec.clone(), Some(isa)).unwrap(), output);
                assert_close(
                    &got,
                    &expected,
                    2e-6,
                    &format!("{isa} {columns} columns at {offset}, {outlier}"),
                );
            }
        }
    }
}

#[test]
fn log_softmax_does_not_cancel() {
    for offset in [1e2, 1e4, 1e6, -1e6] {
        for axis in [0, 1] {
            let x: Vec<f32> = values(64, 10).iter().map(|v| v * 2.0 + offset).collect();
            let mut fixture = Fixture::default();
            let input = fixture.input(&x);
            let output = fixture.output::<f32>(64);
            let dims = if axis == 1 { vec![1, 64] } else { vec![64, 1] };
            let row: Vec<f64> = x.iter().map(|&v| v.into()).collect();
            for isa in Isa::available() {
                let dims = dims.clone();
                let spec = SoftmaxSpec { dims, axis, log: true, scale: 1.0, mask: None, input, output };
                let got: Vec<f32> = fixture.run(SoftmaxStep::new(spec, Some(isa)).unwrap(), output);
                assert_close(&got, &exact_softmax(&row, true), 3e-7, &format!("{isa} axis {axis}, {offset}"));
            }
        }
    }
}

#[test]
fn row_kernels_do_not_depend_on_threads() {
    let mut fixture = Fixture::default();
    let input = fixture.input(&values(300 * 384, 8));
    let output = fixture.output::<f32>(300 * 384);
    let norm = NormSpec {
        kind: NormKind::Layer,
        rows: 300,
        columns: 384,
        input: view(input, 384),
        residual: None,
        sum: None,
        gamma: None,
        beta: None,
        epsilon: 1e-5,
        output: view(output, 384),
    };
    fixture.assert_thread_invariant(|| NormStep::new(norm.clone(), None).unwrap(), output);
    for axis in [0, 1] {
        let softmax =
            SoftmaxSpec { dims: vec![300, 384], axis, log: false, scale: 1.0, mask: None, input, output };
        fixture.assert_thread_invariant(|| SoftmaxStep::new(softmax.clone(), None).unwrap(), output);
    }
}
