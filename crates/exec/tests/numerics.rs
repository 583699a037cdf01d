//! Values at the edge against the reference, on every instruction set: rows that are not finite, rows far from zero,
//! functions where they saturate.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Model, Tensor};
use fusebox_kernels::Isa;
use fusebox_ops::{Datum, Interpreter};

/// Runs a graph given as text on its only input, and compares it with the reference: NaN for NaN, the same infinities,
/// and else within `tolerance` of the larger of 1 and the value.
fn check(text: &str, x: &[f32], tolerance: f64) {
    let graph = fusebox_ir::text::parse(text).unwrap();
    let model = Model { graph, ..Model::default() };
    let input = model.graph.value(model.graph.inputs[0]);
    let sizes = input.ty.tensor().unwrap().sizes().unwrap();
    let x = Tensor::from_vec(sizes, x.to_vec()).unwrap();
    let expected = Interpreter::new(&[]).run(&model.graph, &[Some(Datum::Tensor(x.clone()))], &[]).unwrap();
    let expected = expected[0].tensor().unwrap().floats().unwrap();
    for isa in Isa::available() {
        let session = Session::new(&model, SessionOptions { threads: 1, isa: Some(isa) }).unwrap();
        let (found, profile) = session.profile(&[(input.name.as_str(), x.clone())]).unwrap();
        let left: Vec<_> = profile.steps.iter().filter_map(|step| step.fallback.clone()).collect();
        assert!(left.is_empty(), "{text}: {left:?}");
        let found = found[0].1.floats().unwrap();
        for (i, (x, y)) in expected.iter().zip(&found).enumerate() {
            let same = x.is_nan() && y.is_nan() || x == y;
            let close = same || (x - y).abs() <= tolerance * x.abs().max(1.0);
            assert!(close, "{isa} {text}: element {i} is {y}, the reference {x}\n{expected:?}\n{found:?}");
        }
    }
}

/// Reproducible values in about ±1.
fn noise(count: usize) -> Vec<f32> {
    let value = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    (0..count).map(|i| value(i) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn list(values: impl IntoIterator<Item = impl std::fmt::Debug>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| format!("{value:?}")).collect();
    values.join(", ")
}

/// i8 weights [k, n] with their scales, as constants of the text form.
fn weights(k: usize, n: usize) -> (String, String) {
    let w = list((0..k * n).map(|i| (i * 37 % 255) as i64 - 127));
    (format!("i8[{k}, {n}]{{{w}}}"), format!("f32[{n}]{{{}}}", list((0..n).map(|i| 0.01 + i as f32 / 256.0))))
}

#[test]
fn int8_rows_that_are_not_finite() {
    let (k, n) = (21, 5);
    let (w, scales) = weights(k, n);
    for activation in ["none", "relu", "gelu"] {
        let linear = format!(
            "graph (%0: f32[7, {k}]) -> (%1) {{
  %1 = ai.fusebox.Linear[activation=\"{activation}\"](%0, {w}, {scales}) : f32[7, {n}]
}}"
        );
        for at in [0, 3, k - 1] {
            let mut x = noise(7 * k);
            let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            for (row, value) in special.into_iter().enumerate() {
                x[row * k + at] = value;
            }
            // A range beyond f32, a denormal scale, zeros; the last row is an ordinary one.
            (x[3 * k + at], x[3 * k + (at + 1) % k]) = (f32::MAX, f32::MIN);
            x[4 * k..5 * k].fill(1e-39);
            x[5 * k..6 * k].fill(0.0);
            check(&linear, &x, 1e-5);
        }
    }
}

#[test]
fn int8_tensors_that_are_not_finite() {
    let (k, n) = (21, 5);
    let (w, scales) = weights(k, n);
    let linear = format!(
        "graph (%0: f32[7, {k}]) -> (%1) {{
  %1 = ai.fusebox.Linear[granularity=\"tensor\"](%0, {w}, {scales}) : f32[7, {n}]
}}"
    );
    for value in [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = noise(7 * k);
        x[3 * k + 2] = value;
        check(&linear, &x, 1e-5);
    }
}

#[test]
fn norms_of_rows_far_from_zero() {
    let (rows, k, n) = (4, 96, 4);
    let gamma = format!("f32[{k}]{{{}}}", list((0..k).map(|i| i as f32 / 64.0 - 0.5)));
    let w = format!("f32[{k}, {n}]{{{}}}", list(noise(k * n)));
    let norm = format!(
        "graph (%0: f32[{rows}, {k}]) -> (%1) {{
  %1 = LayerNormalization[axis=-1](%0, {gamma}) : f32[{rows}, {k}]
}}"
    );
    let linear = format!(
        "graph (%0: f32[{rows}, {k}]) -> (%1) {{
  %1 = ai.fusebox.NormLinear(%0, {gamma}, _, {w}) : f32[{rows}, {n}]
}}"
    );
    let skip = format!(
        "graph (%0: f32[{rows}, {k}]) -> (%1) {{
  %1 = ai.fusebox.SkipLayerNorm(%0, %0, {gamma}) : f32[{rows}, {k}]
}}"
    );
    for offset in [0.0, 1e3, -1e5] {
        let x: Vec<f32> = noise(rows * k).iter().map(|x| x * 3.0 + offset).collect();
        // The body of NormLinear rounds the mean to f32, so far away it is not more exact than that itself.
        let body = 1e-5 + f64::from(offset.abs()) * 1e-7;
        check(&norm, &x, 1e-5);
        check(&skip, &x, body);
        check(&linear, &x, body * 4.0);
    }
}

#[test]
fn log_softmax_far_from_zero() {
    for offset in [0.0, 1e4, -1e6] {
        let x: Vec<f32> = noise(3 * 40).iter().map(|x| x * 3.0 + offset).collect();
        for axis in [0, 1] {
            let text = format!(
                "graph (%0: f32[3, 40]) -> (%1) {{
  %1 = LogSoftmax[axis={axis}](%0) : f32[3, 40]
}}"
            );
            check(&text, &x, 1e-6);
        }
    }
}

#[test]
fn functions_where_they_saturate() {
    let mut x = vec![0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];
    x.extend([5.0, 8.0, 20.0, 90.0, 1e4, 1e8, 1e30].into_iter().flat_map(|x: f32| [x, -x]));
    let n = x.len();
    let unaries = [
        "Gelu",
        "Gelu[approximate=\"tanh\"]",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Mish",
        "Elu",
        "Erf",
        "Exp",
        "HardSwish",
        "HardSigmoid",
        "LeakyRelu",
        "Relu",
    ];
    for op in unaries {
        check(&format!("graph (%0: f32[{n}]) -> (%1) {{\n  %1 = {op}(%0) : f32[{n}]\n}}"), &x, 2e-6);
    }
    let linear = ["gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "relu", "hardswish", "quick_gelu"];
    for activation in linear {
        let text = format!(
            "graph (%0: f32[{n}, 1]) -> (%1) {{
  %1 = ai.fusebox.Linear[activation=\"{activation}\"](%0, f32[1, 1]{{1.0}}) : f32[{n}, 1]
}}"
        );
        check(&text, &x, 2e-6);
    }
}
