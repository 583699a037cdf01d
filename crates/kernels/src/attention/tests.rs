//! Attention against its definition on every instruction set: sizes around tile edges, strides, masks, causality.
//!
//! The reference kernel is the oracle, itself checked by hand on two keys.

use super::*;
use crate::fixture::{Fixture, assert_close, values};
use crate::layout::Layout;
use crate::operand::Constant;
use proptest::prelude::*;

const TOLERANCE: f64 = 2e-6;

/// Everything about a case but the values.
#[derive(Clone, Debug)]
struct Case {
    shape: AttentionShape,
    /// `[B, S, H·D]` instead of `[B, H, S, D]`.
    merged: bool,
    scale: f32,
    softcap: f32,
    causal: Option<isize>,
    nan_to_zero: bool,
    mask: Option<(MaskKind, [bool; 4])>,
}

fn case(shape: [usize; 7]) -> Case {
    let [batch, heads, kv_heads, queries, keys, depth, value_depth] = shape;
    let shape = AttentionShape { batch, heads, kv_heads, queries, keys, depth, value_depth };
    Case { shape, merged: false, scale: 0.3, softcap: 0.0, causal: None, nan_to_zero: false, mask: None }
}

struct Built {
    fixture: Fixture,
    spec: AttentionSpec,
}

fn strides(merged: bool, heads: usize, rows: usize, depth: usize) -> [usize; 3] {
    if merged {
        [rows * heads * depth, depth, heads * depth]
    } else {
        [heads * rows * depth, rows * depth, depth]
    }
}

fn build(case: &Case, mask_values: &[f32]) -> Built {
    let shape = case.shape;
    let mut fixture = Fixture::default();
    let mut view = |heads: usize, rows: usize, depth: usize, seed: u64| {
        // Three elements before, so that offsets and unaligned rows are covered.
        let data = values(3 + shape.batch * heads * rows * depth, seed);
        let [batch, head, row] = strides(case.merged, heads, rows, depth);
        HeadView { operand: fixture.input(&data).into(), offset: 3, batch, head, row }
    };
    let q = view(shape.heads, shape.queries, shape.depth, 21);
    let k = view(shape.kv_heads, shape.keys, shape.depth, 22);
    let v = view(shape.kv_heads, shape.keys, shape.value_depth, 23);
    let mask = case.mask.map(|(kind, kept)| {
        let dims = [shape.batch, shape.heads, shape.queries, shape.keys];
        let own: Vec<usize> = dims.iter().zip(kept).map(|(&d, kept)| if kept { d } else { 1 }).collect();
        let count: usize = own.iter().product();
        let data: Vec<f32> = (0..count).map(|i| mask_values[i % mask_values.len()]).collect();
        let operand = match kind {
            MaskKind::Additive => fixture.input(&data).into(),
            MaskKind::Bool => {
                let bits: Vec<u8> = data.iter().map(|&m| u8::from(m > f32::MIN)).collect();
                Constant::from_slice(&bits).into()
            }
        };
        AttentionMask { kind, operand, layout: Layout::broadcast(&own, &dims).unwrap() }
    });
    let [batch, head, row] = strides(case.merged, shape.heads, shape.queries, shape.value_depth);
    let count = shape.batch * shape.heads * shape.queries * shape.value_depth;
    let span = fixture.output::<f32>(count);
    let scratch = fixture.output::<u8>(shape.scratch_bytes().unwrap());
    let output = HeadViewMut { span, offset: 0, batch, head, row };
    let spec = AttentionSpec {
        shape,
        scale: case.scale,
        softcap: case.softcap,
        causal: case.causal,
        nan_to_zero: case.nan_to_zero,
        mask,
        q,
        k,
        v,
        output,
        scratch,
    };
    Built { fixture, spec }
}

fn run(built: &Built, isa: Isa) -> Vec<f32> {
    let step = AttentionStep::new(built.spec.clone(), Some(isa)).unwrap();
    built.fixture.run(step, built.spec.output.span)
}

fn check(case: &Case, mask_values: &[f32]) {
    let built = build(case, mask_values);
    let expected: Vec<f64> = run(&built, Isa::Reference).iter().map(|&v| v.into()).collect();
    for isa in Isa::available() {
        assert_close(&run(&built, isa), &expected, TOLERANCE, &format!("{isa} {case:?}"));
    }
}

#[test]
fn two_keys_by_hand() {
    let shape =
        AttentionShape { batch: 1, heads: 1, kv_heads: 1, queries: 1, keys: 2, depth: 1, value_depth: 1 };
    for isa in Isa::available() {
        let mut fixture = Fixture::default();
        let view = |fixture: &mut Fixture, data: &[f32]| HeadView {
            operand: fixture.input(data).into(),
            offset: 0,
            batch: 0,
            head: 0,
            row: 1,
        };
        let (q, k, v) =
            (view(&mut fixture, &[2.0]), view(&mut fixture, &[1.0, 0.5]), view(&mut fixture, &[10.0, 20.0]));
        let span = fixture.output::<f32>(1);
        let scratch = fixture.output::<u8>(shape.scratch_bytes().unwrap());
        let spec = AttentionSpec {
            shape,
            scale: 2.0,
            softcap: 0.0,
            causal: None,
            nan_to_zero: false,
            mask: None,
            q,
            k,
            v,
            output: HeadViewMut { span, offset: 0, batch: 1, head: 1, row: 1 },
            scratch,
        };
        let got: Vec<f32> = fixture.run(AttentionStep::new(spec, Some(isa)).unwrap(), span);
        let (a, b) = (4.0_f64.exp(), 2.0_f64.exp());
        assert_close(&got, &[(10.0 * a + 20.0 * b) / (a + b)], TOLERANCE, isa.name());
    }
}

#[test]
fn sizes_around_tile_edges() {
    for queries in [1, 11, 12, 13, 47, 48, 49, 97] {
        check(&case([1, 2, 2, queries, 33, 16, 16]), &[]);
    }
    for keys in [1, 15, 16, 17, 127, 128, 129, 300] {
        check(&case([1, 1, 1, 14, keys, 20, 16]), &[]);
    }
    for depth in [1, 15, 16, 17, 64, 80] {
        check(&case([1, 1, 1, 5, 130, depth, depth + 1]), &[]);
    }
}

#[test]
fn steps_of_a_decoder_over_a_cache() {
    for keys in [1, 3, 4, 5, 191, 192, 193, 400] {
        for depth in [1, 7, 16, 33, 64] {
            check(&Case { merged: keys % 2 == 1, ..case([2, 4, 2, 1, keys, depth, depth + 3]) }, &[]);
        }
        let mask: Vec<f32> =
            (0..keys).map(|key| if key % 3 == 1 { f32::NEG_INFINITY } else { 0.1 }).collect();
        let kept = Some((MaskKind::Additive, [false, false, false, true]));
        check(&Case { mask: kept, softcap: 2.0, ..case([1, 6, 2, 2, keys, 24, 24]) }, &mask);
        check(&Case { causal: Some(0), ..case([1, 2, 1, 2, keys, 24, 24]) }, &[]);
    }
    assert_eq!(case([2, 4, 2, 1, 100, 64, 64]).shape.scratch_bytes().unwrap(), 0);
}

#[test]
fn hidden_rows_are_nan_or_zero() {
    let inf = f32::NEG_INFINITY;
    for kind in [MaskKind::Additive, MaskKind::Bool] {
        for nan_to_zero in [false, true] {
            let mask = Some((kind, [false, false, true, false]));
            let case = Case { mask, nan_to_zero, ..case([1, 2, 1, 4, 200, 8, 8]) };
            let built = build(&case, &[0.0, inf, -1.0, inf]);
            for isa in Isa::available() {
                let got = run(&built, isa);
                for (row, values) in got.chunks(8).enumerate() {
                    let hidden = row % 2 == 1;
                    assert!(values.iter().all(|v| v.is_nan() == (hidden && !nan_to_zero)), "{isa} {kind:?}");
                    assert!(!(hidden && nan_to_zero) || values.iter().all(|&v| v == 0.0), "{isa} {kind:?}");
                }
            }
        }
    }
}

#[test]
fn keys_hidden_at_first_do_not_spoil_a_row() {
    let mut mask = vec![f32::NEG_INFINITY; 300];
    mask[290] = 1.0;
    mask[295] = 0.0;
    let kept = Some((MaskKind::Additive, [false, false, false, true]));
    check(&Case { mask: kept, ..case([1, 1, 1, 13, 300, 8, 24]) }, &mask);
}

#[test]
fn scores_without_a_finite_maximum_are_nan() {
    for spoilt in [f32::NAN, f32::INFINITY] {
        let mut mask = vec![0.0; 140];
        mask[131] = spoilt;
        let kept = Some((MaskKind::Additive, [false, false, false, true]));
        for isa in Isa::available() {
            let got = run(&build(&Case { mask: kept, ..case([1, 1, 1, 3, 140, 4, 4]) }, &mask), isa);
            assert!(got.iter().all(|v| v.is_nan()), "{isa} {spoilt}: {got:?}");
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    check(&Case { scale: 200.0, ..case([1, 1, 1, 9, 150, 16, 16]) }, &[]);
}

#[test]
fn misuse_is_refused() {
    let built = build(&case([1, 2, 2, 3, 3, 4, 4]), &[]);
    let refused = |change: fn(&mut AttentionSpec)| {
        let mut spec = built.spec.clone();
        change(&mut spec);
        AttentionStep::new(spec, None).err().unwrap().reason
    };
    assert_eq!(refused(|s| s.shape.kv_heads = 3), "attention: 2 heads of q for 3 of k and v");
    assert!(refused(|s| s.scratch.len = 8).starts_with("attention scratch holds 2 elements"));
    assert!(refused(|s| s.output.head = 1).contains("writes elements twice"));
    assert!(refused(|s| s.q.row = 1 << 40).starts_with("attention q holds"));
    assert!(refused(|s| s.shape.keys = usize::MAX / 8).contains("overflow"));
}

#[test]
fn attention_does_not_depend_on_threads() {
    let mask = Some((MaskKind::Additive, [true, false, false, true]));
    let case = Case { mask, merged: true, causal: Some(20), ..case([2, 3, 3, 150, 170, 32, 32]) };
    let built = build(&case, &values(1_000, 24));
    for isa in Isa::available().filter(|&isa| isa != Isa::Reference) {
        let step = || AttentionStep::new(built.spec.clone(), Some(isa)).unwrap();
        built.fixture.assert_thread_invariant(step, built.spec.output.span);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_form_matches_the_definition(
        batch in 1_usize..3,
        group in 1_usize..4,
        kv_heads in 1_usize..4,
        queries in 1_usize..70,
        keys in 1_usize..200,
        depth in 1_usize..40,
        value_depth in 1_usize..70,
        merged in any::<bool>(),
        softcap in prop::sample::select(vec![0.0_f32, 0.0, 1.5]),
        causal in prop::sample::select(vec![None, Some(0), Some(7), Some(-3), Some(1_000)]),
        nan_to_zero in any::<bool>(),
        mask in prop::sample::select(vec![None, Some(MaskKind::Additive), Some(MaskKind::Bool)]),
        kept in any::<[bool; 4]>(),
        seed in 0_u64..100,
    ) {
        let shape = [batch, group * kv_heads, kv_heads, queries, keys, depth, value_depth];
        let case = Case {
            merged,
            softcap,
            causal,
            nan_to_zero,
            mask: mask.map(|kind| (kind, kept)),
            ..case(shape)
        };
        let mask_values: Vec<f32> = values(977, seed)
            .iter()
            .map(|&v| if v > 1.4 { f32::NEG_INFINITY } else { v })
            .collect();
        check(&case, &mask_values);
    }
}
