//! Every fused operator against a direct computation in f64, and its body for every opset against the newest.

use super::quantize::{quantize, row_params};
use crate::check::{from_fn, run_all, t};
use crate::op::{Body, Edit, Op, Target};
use crate::{Datum, Interpreter};
use fusebox_ir::{Attrs, DType, Graph, OpName, Tensor, Type};

const OPSETS: &[i64] = &[11, 12, 13, 14, 17, 18, 20, 23];

fn wave(shape: &[usize], step: f32) -> Tensor {
    from_fn(shape, |i| ((i as f32) * step).sin() * 1.5)
}

fn op(name: &str) -> &'static dyn Op {
    crate::op(&OpName::fusebox(name)).expect("the operator is in the table")
}

/// Outputs of the operator; on the way its typing is checked, and its bodies for all opsets.
fn run(name: &str, attrs: &Attrs, inputs: &[Option<Tensor>], outputs: usize) -> Vec<Vec<f64>> {
    let results = run_all(op(name), attrs, inputs, outputs).expect("the operator evaluates");
    for opset in OPSETS {
        let body = body(name, attrs, inputs, outputs, Target::Onnx { opset: *opset });
        let found = evaluate(body, inputs, *opset);
        for (result, found) in results.iter().zip(&found) {
            assert_eq!(result.shape(), found.shape());
            near(&found.floats().unwrap(), &result.floats().unwrap(), 1e-5);
        }
    }
    results.iter().map(|tensor| tensor.floats().expect("a float tensor")).collect()
}

fn body(name: &str, attrs: &Attrs, inputs: &[Option<Tensor>], outputs: usize, target: Target) -> Graph {
    let types: Vec<Option<Type>> = inputs.iter().map(|x| x.as_ref().map(|x| x.ty().into())).collect();
    let types: Vec<Option<&Type>> = types.iter().map(Option::as_ref).collect();
    op(name).body(&Body { attrs, inputs: &types, outputs, target }).expect("the operator has a body")
}

/// Evaluates a body written for an opset, after bringing its nodes to their newest form.
fn evaluate(mut body: Graph, inputs: &[Option<Tensor>], opset: i64) -> Vec<Tensor> {
    body.verify().expect("the body is a graph");
    for node in body.node_ids() {
        let known = crate::op(&body.node(node).op).expect("bodies use known operators");
        let since = known.schema().since[0];
        assert!(since <= opset, "{} of opset {since} in a body for {opset}", known.schema().name);
        known.upgrade(&mut Edit { graph: &mut body, node, opset }).expect("the form is that of the opset");
    }
    let inputs: Vec<Option<Datum>> = inputs.iter().flatten().map(|x| Some(x.clone().into())).collect();
    let outputs = Interpreter::new(&[]).run(&body, &inputs, &[]).expect("the body evaluates");
    outputs.into_iter().map(|datum| datum.into_tensor().expect("a tensor")).collect()
}

fn near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
    for (a, b) in found.iter().zip(expected) {
        let is_near = (a - b).abs() <= tolerance * largest || (a.is_nan() && b.is_nan());
        assert!(is_near, "found {found:?}, expected {expected:?}");
    }
}

/// `x·w` of `[m, k]` and `[k, n]`.
fn product(x: &[f64], w: &[f64], k: usize, n: usize) -> Vec<f64> {
    let cell = |row: &[f64], column: usize| (0..k).map(|i| row[i] * w[i * n + column]).sum();
    x.chunks(k).flat_map(|row| (0..n).map(move |column| cell(row, column))).collect()
}

fn floats(x: &Tensor) -> Vec<f64> {
    x.floats().unwrap()
}

#[test]
fn linear_applies_every_activation() {
    let (x, w, bias) = (wave(&[2, 3, 4], 0.7), wave(&[4, 5], 1.3), wave(&[5], 0.9));
    let mut sums = product(&floats(&x), &floats(&w), 4, 5);
    sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += floats(&bias)[i % 5]);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    type Function<'a> = &'a dyn Fn(f64) -> f64;
    let tanh_gelu =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let cases: &[(&str, Option<f32>, Option<f32>, Function<'_>)] = &[
        ("none", None, None, &|x| x),
        ("relu", None, None, &|x| x.max(0.0)),
        ("gelu_tanh", None, None, &tanh_gelu),
        ("quick_gelu", None, None, &|x| x * sigmoid(f64::from(1.702f32) * x)),
        ("quick_gelu", Some(2.0), None, &|x| x * sigmoid(2.0 * x)),
        ("silu", None, None, &|x| x * sigmoid(x)),
        ("sigmoid", None, None, &sigmoid),
        ("tanh", None, None, &f64::tanh),
        ("hardswish", None, None, &|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        ("hardsigmoid", Some(0.3), Some(0.4), &|x| (0.3 * x + 0.4).clamp(0.0, 1.0)),
        ("leaky_relu", Some(0.1), None, &|x| if x < 0.0 { 0.1 * x } else { x }),
        ("clip", Some(-0.5), Some(1.0), &|x| x.clamp(-0.5, 1.0)),
        ("clip", None, Some(1.0), &|x| x.min(1.0)),
    ];
    for (name, alpha, beta, f) in cases {
        let mut attrs = Attrs::new().with("activation", *name);
        alpha.iter().for_each(|alpha| attrs.set("alpha", *alpha));
        beta.iter().for_each(|beta| attrs.set("beta", *beta));
        let inputs = [Some(x.clone()), Some(w.clone()), None, Some(bias.clone())];
        let found = run("Linear", &attrs, &inputs, 1);
        near(&found[0], &sums.iter().map(|x| f(*x)).collect::<Vec<_>>(), 1e-5);
    }
    // The erf form differs from the tanh form by less than a thousandth, but not by nothing.
    let inputs = [Some(x), Some(w), None, Some(bias)];
    let erf = run("Linear", &Attrs::new().with("activation", "gelu"), &inputs, 1);
    let tanh = sums.iter().map(|x| tanh_gelu(*x)).collect::<Vec<_>>();
    near(&erf[0], &tanh, 1e-3);
    assert!(erf[0].iter().zip(&tanh).any(|(a, b)| (a - b).abs() > 1e-5));
}

#[test]
fn the_residual_comes_before_or_after_the_activation() {
    let (x, w, residual) = (wave(&[2, 4], 0.7), wave(&[4, 3], 1.3), wave(&[3], 0.4));
    let sums = product(&floats(&x), &floats(&w), 4, 3);
    let inputs = [Some(x), Some(w), None, None, Some(residual.clone())];
    let relu = Attrs::new().with("activation", "relu");
    let added = |i: usize| floats(&residual)[i % 3];
    let after: Vec<f64> = sums.iter().enumerate().map(|(i, x)| x.max(0.0) + added(i)).collect();
    near(&run("Linear", &relu, &inputs, 1)[0], &after, 1e-5);
    let before: Vec<f64> = sums.iter().enumerate().map(|(i, x)| (x + added(i)).max(0.0)).collect();
    near(&run("Linear", &relu.with("residual_first", 1), &inputs, 1)[0], &before, 1e-5);
}

#[test]
fn half_weights_are_widened() {
    let x = wave(&[2, 4], 0.7);
    let halves: Vec<half::f16> =
        floats(&wave(&[4, 3], 1.3)).iter().map(|x| half::f16::from_f64(*x)).collect();
    let w = t(&[4, 3], &halves);
    let expected = product(&floats(&x), &floats(&w), 4, 3);
    near(&run("Linear", &Attrs::new(), &[Some(x), Some(w)], 1)[0], &expected, 1e-6);
}

/// Quantized product by the formula of [`super::quantize`], in exact integers.
fn quantized(x: &Tensor, w: &[i8], scales: &[f32], k: usize) -> Vec<f64> {
    let n = scales.len();
    let mut result = Vec::new();
    for row in x.elements::<f32>().unwrap().chunks(k) {
        let (scale, zero) = row_params(row);
        let q: Vec<i32> =
            row.iter().map(|x| i32::from(quantize(*x, scale, zero)) - i32::from(zero)).collect();
        for column in 0..n {
            let sum: i32 = (0..k).map(|i| q[i] * i32::from(w[i * n + column])).sum();
            result.push(f64::from(sum as f32 * scale * scales[column]));
        }
    }
    result
}

#[test]
fn int8_rows_have_their_own_range() {
    let (k, n) = (40, 3);
    let mut values = wave(&[4, k], 0.37).elements::<f32>().unwrap().into_owned();
    values[k..2 * k].iter_mut().for_each(|x| *x = 0.0);
    values[2 * k..3 * k].iter_mut().for_each(|x| *x = x.abs() * 100.0);
    let x = t(&[2, 2, k], &values);
    let w: Vec<i8> = (0..k * n).map(|i| ((i * 37) % 255) as u8 as i8).collect();
    let scales = [0.01f32, 0.5, 0.002];
    let inputs = [Some(x.clone()), Some(t(&[k, n], &w)), Some(t(&[n], &scales))];
    let found = run("Linear", &Attrs::new(), &inputs, 1);
    near(&found[0], &quantized(&x, &w, &scales, k), 1e-6);
}

#[test]
fn int8_tensors_may_share_one_range() {
    let (k, n) = (8, 2);
    let mut values = wave(&[3, k], 0.37).elements::<f32>().unwrap().into_owned();
    values[k..2 * k].iter_mut().for_each(|x| *x *= 50.0);
    let w: Vec<i8> = (0..k * n).map(|i| ((i * 37) % 255) as u8 as i8).collect();
    let scales = [0.01f32, 0.5];
    let (scale, zero) = row_params(&values);
    let q: Vec<i32> = values.iter().map(|x| i32::from(quantize(*x, scale, zero)) - i32::from(zero)).collect();
    let cell = |at: usize| {
        let (row, column) = (at / n, at % n);
        let sum: i32 = (0..k).map(|i| q[row * k + i] * i32::from(w[i * n + column])).sum();
        f64::from(sum as f32 * (scale * scales[column]))
    };
    let inputs = [Some(t(&[3, k], &values)), Some(t(&[k, n], &w)), Some(t(&[n], &scales))];
    let found = run("Linear", &Attrs::new().with("granularity", "tensor"), &inputs, 1);
    near(&found[0], &(0..3 * n).map(cell).collect::<Vec<_>>(), 1e-6);
}

fn normalized(x: &Tensor, width: usize, is_layer: bool) -> Vec<f64> {
    let row = |row: &[f64]| {
        let mean = if is_layer { row.iter().sum::<f64>() / width as f64 } else { 0.0 };
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        row.iter().map(|x| (x - mean) / (variance + f64::from(1e-5f32)).sqrt()).collect::<Vec<_>>()
    };
    floats(x).chunks(width).flat_map(row).collect()
}

#[test]
fn norm_linear_normalises_first() {
    let (x, w) = (wave(&[2, 3, 8], 0.7), wave(&[8, 4], 1.3));
    let (gamma, beta) = (wave(&[8], 0.3), wave(&[8], 0.5));
    for norm in ["layer", "rms"] {
        let attrs = Attrs::new().with("norm", norm);
        let plain = normalized(&x, 8, norm == "layer");
        let inputs = [Some(x.clone()), None, None, Some(w.clone())];
        let expected = product(&plain, &floats(&w), 8, 4);
        near(&run("NormLinear", &attrs, &inputs, 1)[0], &expected, 1e-5);
        let affine = plain.iter().enumerate().map(|(i, x)| x * floats(&gamma)[i % 8] + floats(&beta)[i % 8]);
        let affine: Vec<f64> = affine.collect();
        let inputs = [Some(x.clone()), Some(gamma.clone()), Some(beta.clone()), Some(w.clone())];
        near(&run("NormLinear", &attrs, &inputs, 1)[0], &product(&affine, &floats(&w), 8, 4), 1e-5);
        let inputs = [Some(x.clone()), None, Some(beta.clone()), Some(w.clone())];
        let shifted: Vec<f64> = plain.iter().enumerate().map(|(i, x)| x + floats(&beta)[i % 8]).collect();
        near(&run("NormLinear", &attrs, &inputs, 1)[0], &product(&shifted, &floats(&w), 8, 4), 1e-5);
    }
}

#[test]
fn skip_layer_norm_gives_the_sum_too() {
    let (x, skip) = (wave(&[2, 3, 8], 0.7), wave(&[2, 3, 8], 1.1));
    let sum: Vec<f32> = floats(&x).iter().zip(floats(&skip)).map(|(a, b)| (a + b) as f32).collect();
    let sum = t(&[2, 3, 8], &sum);
    let ones = t(&[8], &[1f32; 8]);
    for (norm, gamma) in [("layer", None), ("layer", Some(ones.clone())), ("rms", Some(ones))] {
        let inputs = [Some(x.clone()), Some(skip.clone()), gamma];
        let found = run("SkipLayerNorm", &Attrs::new().with("norm", norm), &inputs, 2);
        near(&found[0], &normalized(&sum, 8, norm == "layer"), 1e-5);
        near(&found[1], &floats(&sum), 1e-6);
    }
}

/// Convolution of one channel group with a 3×3 kernel and padding 1, stride 2.
fn convolved(x: &[f64], w: &[f64], images: usize, c: usize, size: usize, m: usize) -> Vec<f64> {
    let half = size.div_ceil(2);
    let mut result = Vec::new();
    for (image, channel, row, column) in (0..images * m * half * half)
        .map(|i| (i / (m * half * half), i / (half * half) % m, i / half % half, i % half))
    {
        let mut sum = 0.0;
        for (depth, dy, dx) in (0..c * 9).map(|i| (i / 9, i / 3 % 3, i % 3)) {
            let (y, at) = ((row * 2 + dy).wrapping_sub(1), (column * 2 + dx).wrapping_sub(1));
            if y < size && at < size {
                sum += x[((image * c + depth) * size + y) * size + at]
                    * w[(channel * c + depth) * 9 + dy * 3 + dx];
            }
        }
        result.push(sum);
    }
    result
}

fn strided() -> Attrs {
    Attrs::new().with("pads", vec![1, 1, 1, 1]).with("strides", vec![2, 2]).with("kernel_shape", vec![3, 3])
}

#[test]
fn conv_adds_the_residual_before_the_activation() {
    let (x, w) = (wave(&[2, 3, 5, 5], 0.7), wave(&[4, 3, 3, 3], 1.3));
    let (bias, residual) = (wave(&[4], 0.3), wave(&[2, 4, 3, 3], 0.2));
    let sums = convolved(&floats(&x), &floats(&w), 2, 3, 5, 4);
    let inputs = [Some(x), Some(w), None, Some(bias.clone()), Some(residual.clone())];
    let relu = strided().with("activation", "relu");
    let all = |i: usize, sum: &f64| sum + floats(&bias)[i / 9 % 4] + floats(&residual)[i];
    let expected: Vec<f64> = sums.iter().enumerate().map(|(i, sum)| all(i, sum).max(0.0)).collect();
    near(&run("Conv", &relu, &inputs, 1)[0], &expected, 1e-5);
}

#[test]
fn int8_images_have_their_own_range_and_exact_padding() {
    for images in [1, 2] {
        let mut values = wave(&[images, 3, 5, 5], 0.7).elements::<f32>().unwrap().into_owned();
        values.iter_mut().skip(75).for_each(|x| *x = *x * 30.0 + 5.0);
        let w: Vec<i8> = (0..4 * 27).map(|i| ((i * 91) % 255) as u8 as i8).collect();
        let (scales, bias) = ([0.01f32, 0.02, 0.03, 0.04], wave(&[4], 0.3));
        let mut centred = Vec::new();
        let mut image_scales = Vec::new();
        for image in values.chunks(75) {
            let (scale, zero) = row_params(image);
            image_scales.push(scale);
            centred.extend(image.iter().map(|x| f64::from(quantize(*x, scale, zero)) - f64::from(zero)));
        }
        let sums = convolved(&centred, &w.iter().map(|w| f64::from(*w)).collect::<Vec<_>>(), images, 3, 5, 4);
        let real = |(i, sum): (usize, &f64)| {
            let scaled = *sum as f32 * image_scales[i / 36] * scales[i / 9 % 4];
            f64::from(scaled) + floats(&bias)[i / 9 % 4]
        };
        let expected: Vec<f64> = sums.iter().enumerate().map(real).collect();
        let (x, w) = (t(&[images, 3, 5, 5], &values), t(&[4, 3, 3, 3], &w));
        let inputs = [Some(x), Some(w), Some(t(&[4], &scales)), Some(bias)];
        near(&run("Conv", &strided(), &inputs, 1)[0], &expected, 1e-6);
    }
}

/// Attention over `[heads][rows][depth]`, with a bias per score.
fn attended(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    sizes: [usize; 3],
    bias: &dyn Fn(usize, usize, usize) -> f64,
) -> Vec<f64> {
    let [rows, keys, depth] = sizes;
    let mut result = Vec::new();
    for (at, query) in q.chunks(depth).enumerate() {
        let (head, row) = (at / rows, at % rows);
        let score = |key: usize| {
            let k = &k[(head * keys + key) * depth..][..depth];
            let dot: f64 = query.iter().zip(k).map(|(a, b)| a * b).sum();
            dot / (depth as f64).sqrt() + bias(head, row, key)
        };
        let scores: Vec<f64> = (0..keys).map(score).collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let cell = |column: usize| {
            (0..keys).map(|key| weights[key] / total * v[(head * keys + key) * depth + column]).sum::<f64>()
        };
        result.extend((0..depth).map(cell));
    }
    result
}

#[test]
fn attention_masks_and_frontiers() {
    let (q, k, v) = (wave(&[1, 2, 3, 4], 0.7), wave(&[1, 2, 5, 4], 1.3), wave(&[1, 2, 5, 4], 0.9));
    let direct = |bias: &dyn Fn(usize, usize, usize) -> f64| {
        attended(&floats(&q), &floats(&k), &floats(&v), [3, 5, 4], bias)
    };
    let inputs = |mask: Option<Tensor>| [Some(q.clone()), Some(k.clone()), Some(v.clone()), mask];
    near(&run("Attention", &Attrs::new(), &inputs(None), 1)[0], &direct(&|_, _, _| 0.0), 1e-5);
    let causal = Attrs::new().with("causal", 1);
    let hidden = |is_hidden: bool| if is_hidden { f64::NEG_INFINITY } else { 0.0 };
    near(&run("Attention", &causal, &inputs(None), 1)[0], &direct(&|_, row, key| hidden(key > row)), 1e-5);
    let mask = wave(&[3, 5], 2.1);
    let added = direct(&|_, row, key| floats(&mask)[row * 5 + key]);
    near(&run("Attention", &Attrs::new(), &inputs(Some(mask.clone())), 1)[0], &added, 1e-5);
    let seen = Tensor::from_bools(vec![1, 1, 1, 5], [true, true, false, true, false]).unwrap();
    let found = run("Attention", &Attrs::new(), &inputs(Some(seen)), 1);
    near(&found[0], &direct(&|_, _, key| hidden(key == 2 || key == 4)), 1e-5);
}

#[test]
fn rows_without_keys_are_nan_or_zero() {
    let (q, k, v) = (wave(&[1, 1, 2, 4], 0.7), wave(&[1, 1, 3, 4], 1.3), wave(&[1, 1, 3, 4], 0.9));
    let mask = Tensor::from_bools(vec![2, 3], [true, true, true, false, false, false]).unwrap();
    let inputs = [Some(q), Some(k), Some(v), Some(mask)];
    let found = run("Attention", &Attrs::new(), &inputs, 1).remove(0);
    assert!(found[..4].iter().all(|x| x.is_finite()) && found[4..].iter().all(|x| x.is_nan()));
    let found = run("Attention", &Attrs::new().with("nan_to_zero", 1), &inputs, 1).remove(0);
    assert!(found[4..].iter().all(|x| *x == 0.0));
}

#[test]
fn flat_attention_with_grouped_heads_agrees_with_split_heads() {
    let (q, k, v) = (wave(&[2, 3, 16], 0.7), wave(&[2, 5, 8], 1.3), wave(&[2, 5, 8], 0.9));
    let attrs =
        Attrs::new().with("layout", "bsd").with("q_heads", 4).with("kv_heads", 2).with("softcap", 2f32);
    let flat = run("Attention", &attrs, &[Some(q.clone()), Some(k.clone()), Some(v.clone())], 1).remove(0);
    let split = |x: &Tensor, heads: usize| {
        let (rows, values) = (x.shape()[1], x.elements::<f32>().unwrap());
        let at = |i: usize| {
            let (b, h, s, d) = (i / (heads * rows * 4), i / (rows * 4) % heads, i / 4 % rows, i % 4);
            values[((b * rows + s) * heads + h) * 4 + d]
        };
        from_fn(&[2, heads, rows, 4], at)
    };
    let inputs = [Some(split(&q, 4)), Some(split(&k, 2)), Some(split(&v, 2))];
    let split = run("Attention", &Attrs::new().with("softcap", 2f32), &inputs, 1).remove(0);
    let back = |i: usize| {
        let (b, s, h, d) = (i / 48, i / 16 % 3, i / 4 % 4, i % 4);
        split[((b * 4 + h) * 3 + s) * 4 + d]
    };
    near(&flat, &(0..96).map(back).collect::<Vec<_>>(), 1e-5);
}

#[test]
fn old_opsets_and_other_types_have_no_body() {
    let x: Type = wave(&[2, 4], 1.0).ty().into();
    let (attrs, wrong) = (Attrs::new(), Type::from(t(&[4, 4], &[0i64; 16]).ty()));
    let make = |x: &Type, opset: i64| {
        let inputs = [Some(x), Some(&wrong)];
        op("Linear").body(&Body {
            attrs: &attrs,
            inputs: &inputs,
            outputs: 1,
            target: Target::Onnx { opset },
        })
    };
    assert!(make(&x, 10).is_none());
    assert!(make(&wrong, 20).is_none());
    let bf16: Type = t(&[2, 4], &[half::bf16::ONE; 8]).ty().into();
    assert!(make(&bf16, 12).is_none() && make(&bf16, 13).is_some());
    assert_eq!(wrong.tensor().unwrap().dtype, DType::I64);
}
