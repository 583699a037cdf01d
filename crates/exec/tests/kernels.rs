//! Lowerings to kernels against the reference: no step may be left to it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Model, Tensor};
use fusebox_ops::{Datum, Interpreter};

/// Runs a graph given as text on floats around zero, and compares it with the reference.
fn check(text: &str) {
    let mut graph = fusebox_ir::text::parse(text).unwrap();
    for (number, id) in graph.inputs.clone().into_iter().enumerate() {
        graph.value_mut(id).name = format!("input{number}");
    }
    let model = Model { graph, ..Model::default() };
    let noise =
        |i: usize| ((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let inputs: Vec<(String, Tensor)> = model
        .graph
        .inputs
        .iter()
        .map(|id| {
            let value = model.graph.value(*id);
            let sizes = value.ty.tensor().unwrap().sizes().unwrap();
            let count = sizes.iter().product();
            (value.name.clone(), Tensor::from_vec(sizes, (0..count).map(noise).collect()).unwrap())
        })
        .collect();
    let data: Vec<Option<Datum>> = inputs.iter().map(|(_, t)| Some(Datum::Tensor(t.clone()))).collect();
    let expected = Interpreter::new(&[]).run(&model.graph, &data, &[]).unwrap();
    for threads in [1, 3] {
        let session = Session::new(&model, SessionOptions { threads, isa: None }).unwrap();
        let given: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        let (found, profile) = session.profile(&given).unwrap();
        let left: Vec<_> = profile.steps.iter().filter_map(|step| step.fallback.clone()).collect();
        assert!(left.is_empty(), "{text}: {left:?}");
        for ((_, ours), reference) in found.iter().zip(&expected) {
            let (a, b) = (reference.tensor().unwrap(), ours);
            assert_eq!(a.shape(), b.shape(), "{text}");
            for (x, y) in a.floats().unwrap().iter().zip(b.floats().unwrap()) {
                assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0), "{text}: {x} against {y}");
            }
        }
    }
}

#[test]
fn batch_norm_joins_a_chain() {
    check("graph (%0: f32[2, 3, 4, 5]) -> (%2) {
  %1 = BatchNormalization[epsilon=0.1, training_mode=0](%0, f32[3]{1.0, 2.0, 3.0}, f32[3]{0.5, -1.0, 0.0}, f32[3]{0.1, 0.2, 0.3}, f32[3]{1.0, 2.0, 0.5}) : f32[2, 3, 4, 5]
  %2 = Relu(%1) : f32[2, 3, 4, 5]
}");
    // The last dim is as long as there are channels: which dim a vector belongs to is not told by its length.
    check("graph (%0: f32[2, 3, 3]) -> (%2) {
  %1 = BatchNormalization[training_mode=0](%0, f32[3]{1.0, 2.0, 3.0}, f32[3]{0.5, -1.0, 0.0}, f32[3]{0.1, 0.2, 0.3}, f32[3]{1.0, 2.0, 0.5}) : f32[2, 3, 3]
  %2 = Add(%1, f32[3]{1.0, 2.0, 3.0}) : f32[2, 3, 3]
}");
    check("graph (%0: f32[4, 3]) -> (%1) {
  %1 = BatchNormalization[training_mode=0](%0, f32[3]{1.0, 2.0, 3.0}, f32[3]{0.5, -1.0, 0.0}, f32[3]{0.1, 0.2, 0.3}, f32[3]{1.0, 2.0, 0.5}) : f32[4, 3]
}");
}

#[test]
fn norms_over_channels_and_groups() {
    check(
        "graph (%0: f32[2, 3, 7]) -> (%1) {
  %1 = InstanceNormalization[epsilon=0.001](%0, f32[3]{1.0, 2.0, 3.0}, f32[3]{0.5, -1.0, 0.0}) : f32[2, 3, 7]
}",
    );
    check("graph (%0: f32[2, 4, 3, 5]) -> (%1) {
  %1 = GroupNormalization[epsilon=0.001, num_groups=2](%0, f32[4]{1.0, 2.0, 3.0, 0.5}, f32[4]{0.5, -1.0, 0.0, 1.0}) : f32[2, 4, 3, 5]
}");
}

#[test]
fn a_sum_that_broadcasts_is_normalised() {
    check(
        "graph (%0: f32[2, 3, 4]) -> (%2) {
  %1 = Slice(%0, i64[1]{1}, i64[1]{2}, i64[1]{0}) : f32[1, 3, 4]
  %2 = ai.fusebox.SkipLayerNorm[epsilon=0.001](%0, %1, f32[4]{1.0, 2.0, 3.0, 0.5}) : f32[2, 3, 4]
}",
    );
}

#[test]
fn padding_in_every_mode_and_memory_order() {
    for mode in ["constant", "edge", "reflect", "wrap"] {
        check(&format!(
            "graph (%0: f32[2, 3, 5]) -> (%1) {{
  %1 = Pad[mode=\"{mode}\"](%0, i64[6]{{0, 1, 2, 1, 0, 3}}) : f32[3, 4, 10]
}}"
        ));
    }
    check(
        "graph (%0: f32[2, 3, 5]) -> (%2) {
  %1 = Transpose[perm=[0, 2, 1]](%0) : f32[2, 5, 3]
  %2 = Pad(%1, i64[2]{1, 2}, f32[]{7.0}, i64[1]{-2}) : f32[2, 8, 3]
}",
    );
}

#[test]
fn resizing_by_taps_in_every_memory_order() {
    for attributes in [
        "mode=\"nearest\"",
        "coordinate_transformation_mode=\"asymmetric\", mode=\"nearest\", nearest_mode=\"floor\"",
        "mode=\"linear\"",
        "coordinate_transformation_mode=\"align_corners\", mode=\"linear\"",
        "cubic_coeff_a=-0.75, mode=\"cubic\"",
    ] {
        check(&format!(
            "graph (%0: f32[1, 2, 4, 3]) -> (%1) {{
  %1 = Resize[{attributes}](%0, _, _, i64[4]{{1, 2, 7, 5}}) : f32[1, 2, 7, 5]
}}"
        ));
        check(&format!(
            "graph (%0: f32[1, 4, 3, 2]) -> (%2) {{
  %1 = Transpose[perm=[0, 3, 1, 2]](%0) : f32[1, 2, 4, 3]
  %2 = Resize[{attributes}](%1, _, f32[4]{{1.0, 1.0, 2.0, 2.0}}) : f32[1, 2, 8, 6]
}}"
        ));
    }
}

#[test]
fn contractions_in_every_order_of_labels() {
    let pair = |equation: &str, x: &str, y: &str, z: &str| {
        check(&format!(
            "graph (%0: f32[{x}], %1: f32[{y}]) -> (%2) {{
  %2 = Einsum[equation=\"{equation}\"](%0, %1) : f32[{z}]
}}"
        ));
    };
    pair("bij,bjk->bik", "2, 3, 4", "2, 4, 5", "2, 3, 5");
    pair("bhwc,hkc->bhwk", "2, 3, 4, 5", "3, 6, 5", "2, 3, 4, 6");
    pair("bhwc,wkc->bhwk", "2, 3, 4, 5", "4, 6, 5", "2, 3, 4, 6");
    pair("ibnd,jbnd->bnij", "3, 2, 4, 5", "6, 2, 4, 5", "2, 4, 3, 6");
    pair("nkctv,kvw->nctw", "2, 3, 4, 5, 6", "3, 6, 6", "2, 4, 5, 6");
    pair("i,j->ij", "3", "4", "3, 4");
    pair("bi,bi->b", "3, 4", "3, 4", "3");
    pair("bi,bi->ib", "3, 4", "3, 4", "4, 3");
    pair("...ij,jk->...ik", "2, 3, 4, 5", "5, 6", "2, 3, 4, 6");
    pair("abc,abc->", "2, 3, 4", "2, 3, 4", "");
    pair("...ij,...jk->...ki", "1, 4, 5", "3, 5, 6", "3, 6, 4");
    check(
        "graph (%0: f32[2, 3, 4]) -> (%1) {
  %1 = Einsum[equation=\"abc->cab\"](%0) : f32[4, 2, 3]
}",
    );
}

#[test]
fn transposed_convolutions() {
    let case = |attrs: &str, x: &str, w: &str, count: usize, y: &str| {
        let values: Vec<String> = (0..count).map(|i| format!("{:?}", (i as f32 * 0.7).sin())).collect();
        check(&format!(
            "graph (%0: f32[{x}]) -> (%2) {{
  %1 = ConvTranspose[{attrs}](%0, f32[{w}]{{{}}}, f32[2]{{0.5, -1.0}}) : f32[{y}]
  %2 = Relu(%1) : f32[{y}]
}}",
            values.join(", ")
        ));
    };
    case(
        "strides=[2, 2], pads=[1, 1, 0, 1], output_padding=[1, 0]",
        "2, 3, 4, 5",
        "3, 2, 3, 3",
        54,
        "2, 2, 9, 9",
    );
    case(
        "strides=[2, 1], dilations=[1, 2], auto_pad=\"SAME_UPPER\"",
        "1, 3, 4, 5",
        "3, 2, 2, 3",
        36,
        "1, 2, 8, 5",
    );
    case("strides=[4], pads=[2, 2]", "1, 3, 6", "3, 2, 8", 48, "1, 2, 24");
    case("strides=[2, 2], output_shape=[9, 10]", "1, 3, 4, 5", "3, 2, 3, 3", 54, "1, 2, 9, 10");
}

#[test]
fn elements_are_moved_and_repeated() {
    check(
        "graph (%0: f32[2, 8, 3, 2]) -> (%1, %2, %3, %4) {
  %1 = DepthToSpace[blocksize=2](%0) : f32[2, 2, 6, 4]
  %2 = DepthToSpace[blocksize=2, mode=\"CRD\"](%0) : f32[2, 2, 6, 4]
  %3 = SpaceToDepth[blocksize=2](%1) : f32[2, 8, 3, 2]
  %4 = SpaceToDepth[blocksize=2, mode=\"CRD\"](%1) : f32[2, 8, 3, 2]
}",
    );
    check(
        "graph (%0: f32[2, 3, 1]) -> (%1, %2, %3) {
  %1 = Tile(%0, i64[3]{2, 1, 3}) : f32[4, 3, 3]
  %2 = Tile(%0, i64[3]{1, 1, 4}) : f32[2, 3, 4]
  %3 = Tile(%0, i64[3]{1, 2, 0}) : f32[2, 6, 0]
}",
    );
}

#[test]
fn positions_of_extrema() {
    check(
        "graph (%0: f32[2, 5, 3]) -> (%2, %4) {
  %1 = ArgMax[axis=1, keepdims=0](%0) : i64[2, 3]
  %2 = Cast[to=1](%1) : f32[2, 3]
  %3 = ArgMin[axis=-1](%0) : i64[2, 5, 1]
  %4 = Cast[to=1](%3) : f32[2, 5, 1]
}",
    );
}

#[test]
fn convolutions_over_volumes() {
    for (attrs, sizes) in [
        ("pads=[1, 1, 1, 1, 1, 1]", [2, 4, 4, 5, 6]),
        ("dilations=[2, 1, 1], pads=[2, 0, 0, 1, 0, 0]", [2, 4, 3, 3, 4]),
        ("strides=[2, 2, 1]", [2, 4, 1, 2, 4]),
    ] {
        let values: Vec<String> =
            (0..4 * 3 * 27).map(|i| format!("{:?}", (i * 7 % 19) as f32 * 0.1 - 0.9)).collect();
        let [n, o, d, h, w] = sizes;
        check(&format!(
            "graph (%0: f32[2, 3, 4, 5, 6]) -> (%1) {{
  %1 = Conv[{attrs}](%0, f32[4, 3, 3, 3, 3]{{{}}}, f32[4]{{1.0, 2.0, -3.0, 0.5}}) : f32[{n}, {o}, {d}, {h}, {w}]
}}",
            values.join(", ")
        ));
    }
}

#[test]
fn elements_and_tuples_address_rows() {
    check(
        "graph (%0: f32[3, 4, 2], %1: f32[2, 2, 2]) -> (%2, %3, %4) {
  %2 = GatherElements[axis=1](%0, i64[3, 2, 2]{0, 3, -1, 2, 1, 1, 2, 0, 3, 3, -4, 1}) : f32[3, 2, 2]
  %3 = GatherElements[axis=-1](%0, i32[2, 2, 1]{0, 1, -1, 0}) : f32[2, 2, 1]
  %4 = GatherElements(%1, i64[2, 1, 2]{0, 1, -1, 0}) : f32[2, 1, 2]
}",
    );
    check(
        "graph (%0: f32[3, 4, 2]) -> (%1, %2, %3, %4) {
  %1 = GatherND(%0, i64[2, 2]{0, 3, -1, 1}) : f32[2, 2]
  %2 = GatherND(%0, i64[1, 2, 3]{0, 3, 1, 2, -2, 0}) : f32[1, 2]
  %3 = GatherND[batch_dims=1](%0, i64[3, 2, 1]{0, 3, -1, 1, 2, 2}) : f32[3, 2, 2]
  %4 = GatherND[batch_dims=2](%0, i32[3, 4, 1]{0, 1, -1, 1, 0, 0, 1, 1, 0, 1, 0, 1}) : f32[3, 4]
}",
    );
    // Rows that meet: the last one stays, or all are added.
    check(
        "graph (%0: f32[3, 4], %1: f32[3, 4], %2: f32[2, 3]) -> (%3, %4, %5, %6) {
  %3 = ScatterND(%0, i64[3, 1]{2, 0, 2}, %1) : f32[3, 4]
  %4 = ScatterND[reduction=\"add\"](%0, i64[3, 1]{2, -3, 2}, %1) : f32[3, 4]
  %5 = ScatterElements[axis=1](%0, i64[2, 3]{0, 3, 0, -1, 1, 1}, %2) : f32[3, 4]
  %6 = ScatterElements[axis=0, reduction=\"add\"](%0, i32[2, 3]{0, 2, 0, -1, 1, 0}, %2) : f32[3, 4]
}",
    );
}
