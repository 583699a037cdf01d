//! Copies against index arithmetic written out, and against the reference walk.
//!
//! Every constructor of `CopySpec` has its case here; random layouts broadcast, reverse and permute.

use super::*;
use crate::element::Element;
use crate::fixture::Fixture;
use crate::layout::Layout;
use crate::operand::{Constant, Operand};
use proptest::prelude::*;

const ALL: [Option<Isa>; 3] = [Some(Isa::Avx512), Some(Isa::Portable), Some(Isa::Reference)];

fn numbers(count: usize) -> Vec<u32> {
    (0..u32::try_from(count).unwrap()).collect()
}

/// Runs with each method and asserts the result.
fn check<T: Pod + PartialEq + std::fmt::Debug>(fixture: &Fixture, spec: &CopySpec, expected: &[T]) {
    for force in ALL {
        let step = CopyStep::new(spec.clone(), force).unwrap();
        assert_eq!(fixture.run::<T>(step, spec.target), expected, "{force:?} {spec:?}");
    }
}

fn unravel(mut flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (slot, dim) in index.iter_mut().zip(dims).rev() {
        *slot = flat % dim;
        flat /= dim;
    }
    index
}

#[test]
fn transposes_of_every_element_size() {
    for (dims, perm) in [
        (vec![70, 131], vec![1, 0]),
        (vec![2, 65, 3, 64], vec![0, 2, 1, 3]),
        (vec![3, 5, 7], vec![2, 0, 1]),
        (vec![2, 3, 17, 19], vec![0, 2, 3, 1]),
        (vec![1, 0, 4], vec![2, 1, 0]),
        (vec![], vec![]),
    ] {
        let count: usize = dims.iter().product();
        let out: Vec<usize> = perm.iter().map(|&p: &usize| dims[p]).collect();
        let expected: Vec<u32> = (0..count)
            .map(|flat| {
                let index = unravel(flat, &out);
                let mut from = vec![0; dims.len()];
                perm.iter().zip(index).for_each(|(&p, i)| from[p] = i);
                u32::try_from(dims.iter().zip(from).fold(0, |f, (d, i)| f * d + i)).unwrap()
            })
            .collect();
        let mut fixture = Fixture::default();
        let source = fixture.input(&numbers(count));
        let target = fixture.output::<u32>(count);
        check(&fixture, &CopySpec::transpose(4, source, &dims, &perm, target).unwrap(), &expected);
        let mut fixture = Fixture::default();
        let narrow: Vec<u8> = numbers(count).iter().map(|v| v.to_le_bytes()[0]).collect();
        let source = fixture.input(&narrow);
        let target = fixture.output::<u8>(count);
        let bytes: Vec<u8> = expected.iter().map(|v| v.to_le_bytes()[0]).collect();
        check(&fixture, &CopySpec::transpose(1, source, &dims, &perm, target).unwrap(), &bytes);
    }
}

#[test]
fn concat_runs_in_one_phase_and_in_order() {
    let mut fixture = Fixture::default();
    let a = fixture.input(&numbers(6));
    let b = Constant::from_slice(&[90_u32, 91]);
    let target = fixture.output::<u32>(8);
    let inputs = vec![(a.into(), vec![2, 3]), (Operand::from(b), vec![2, 1])];
    let spec = CopySpec::concat(4, 1, inputs, target).unwrap();
    assert_eq!(CopyStep::new(spec.clone(), None).unwrap().phases(), 1);
    check(&fixture, &spec, &[0_u32, 1, 2, 90, 3, 4, 5, 91]);
}

#[test]
fn overlapping_parts_run_one_after_the_other() {
    let mut fixture = Fixture::default();
    let a = fixture.input(&numbers(4));
    let target = fixture.output::<u32>(4);
    let part = |from: usize, count: usize| CopyPart {
        source: a.into(),
        from: Layout { dims: vec![count], strides: vec![0], offset: from },
        to: Layout { dims: vec![count], strides: vec![1], offset: 0 },
    };
    let spec = CopySpec { element_size: 4, target, parts: vec![part(3, 4), part(1, 2)] };
    assert_eq!(CopyStep::new(spec.clone(), None).unwrap().phases(), 2);
    check(&fixture, &spec, &[1_u32, 1, 3, 3]);
}

#[test]
fn slices_walk_backwards() {
    let mut fixture = Fixture::default();
    let source = fixture.input(&numbers(12));
    let target = fixture.output::<u32>(4);
    let spec = CopySpec::slice(4, source, &[3, 4], &[2, 0], &[-2, 2], &[2, 2], target).unwrap();
    check(&fixture, &spec, &[8_u32, 10, 0, 2]);
    assert!(CopySpec::slice(4, source, &[3, 4], &[2, 0], &[1, 1], &[2, 2], target).is_err());
}

#[test]
fn pads_in_every_mode() {
    let mut fixture = Fixture::default();
    let source = fixture.input(&numbers(6));
    let target = fixture.output::<u32>(7 * 3);
    let pad = |mode: PadMode, low: isize| {
        CopySpec::pad(4, source, &[2, 3], &[1, low], &[0, 4 - low], &mode, target)
    };
    let constant = PadMode::Constant(Constant::from_slice(&[9_u32]).into());
    let rows = |spec: CopySpec, expected: [[u32; 7]; 3]| check(&fixture, &spec, expected.as_flattened());
    rows(pad(constant, 3).unwrap(), [[9; 7], [9, 9, 9, 0, 1, 2, 9], [9, 9, 9, 3, 4, 5, 9]]);
    let edge = pad(PadMode::Edge, 3).unwrap();
    rows(edge, [[0, 0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 1, 2, 2], [3, 3, 3, 3, 4, 5, 5]]);
    let reflect = pad(PadMode::Reflect, 2).unwrap();
    rows(reflect, [[5, 4, 3, 4, 5, 4, 3], [2, 1, 0, 1, 2, 1, 0], [5, 4, 3, 4, 5, 4, 3]]);
    let wrap = pad(PadMode::Wrap, 3).unwrap();
    rows(wrap, [[3, 4, 5, 3, 4, 5, 3], [0, 1, 2, 0, 1, 2, 0], [3, 4, 5, 3, 4, 5, 3]]);
    let error = pad(PadMode::Reflect, 3).unwrap_err();
    assert!(error.reason.contains("dim 1: 3 elements of padding from 3 of input"), "{error}");
}

#[test]
fn crops_with_negative_pads() {
    let mut fixture = Fixture::default();
    let source = fixture.input(&numbers(5));
    let target = fixture.output::<u32>(4);
    let spec = CopySpec::pad(4, source, &[5], &[-2], &[1], &PadMode::Edge, target).unwrap();
    check(&fixture, &spec, &[2_u32, 3, 4, 4]);
}

#[test]
fn targets_that_collide_or_leave_their_span_are_refused() {
    let a = crate::Span { offset: 0, len: 64 };
    let from = Layout::contiguous(&[4]);
    let spec = |to: Layout| CopySpec {
        element_size: 4,
        target: crate::Span { offset: 64, len: 16 },
        parts: vec![CopyPart { source: a.into(), from: from.clone(), to }],
    };
    let zero =
        CopyStep::new(spec(Layout { dims: vec![4], strides: vec![0], offset: 0 }), None).err().unwrap();
    assert!(zero.reason.contains("writes elements twice"), "{zero}");
    let far = CopyStep::new(spec(Layout { dims: vec![4], strides: vec![2], offset: 0 }), None).err().unwrap();
    assert_eq!(far.reason, "copy target holds 4 elements, 7 are needed");
}

#[test]
fn casts_agree_with_scalar_conversions() {
    let values = [-1.5_f32, 0.0, 3.99, 300.0, f32::NAN, -70_000.0];
    let mut fixture = Fixture::default();
    let source = fixture.input(&values);
    let target = fixture.output::<f32>(6);
    let cast = |to: Element, target: crate::Span| {
        CastStep::new(CastSpec { from: Element::F32, to, count: 6, source: source.into(), target }).unwrap()
    };
    assert_eq!(fixture.run::<u8>(cast(Element::U8, target), target)[..6], [0, 0, 3, 255, 0, 0]);
    assert_eq!(fixture.run::<i32>(cast(Element::I32, target), target), [-1, 0, 3, 300, 0, -70_000]);
    assert_eq!(fixture.run::<u8>(cast(Element::Bool, target), target)[..6], [1, 0, 1, 1, 1, 1]);
    let half: Vec<half::f16> = fixture.run(cast(Element::F16, target), target);
    assert_eq!(half[3].to_f32(), 300.0);
    assert_eq!(half[5], half::f16::NEG_INFINITY);
}

proptest! {
    #[test]
    fn every_walk_matches_the_reference(
        dims in prop::collection::vec(0_usize..9, 0..5),
        long in 1_usize..6,
        seed in 0_usize..10_000,
        broadcast in prop::collection::vec(0_u8..4, 5),
        element in 0_usize..4,
    ) {
        let size = [1, 2, 4, 8][element];
        // Two dims past the sides of the register and cache blocks.
        let mut dims = dims;
        if dims.len() <= 3
            && let [first, .., last] = dims.as_mut_slice()
        {
            (*first, *last) = (*first * long, *last * long * 3);
        }
        // Source dims in an order the seed picks, some broadcast, some reversed.
        let mut order: Vec<usize> = (0..dims.len()).collect();
        order.sort_by_key(|&a| (a * 7_919 + seed) % 11);
        let dense = Layout::contiguous(&order.iter().map(|&a| dims[a]).collect::<Vec<_>>());
        let mut from = Layout { dims: dims.clone(), strides: vec![0; dims.len()], offset: 0 };
        for (place, &axis) in order.iter().enumerate() {
            match broadcast[axis] {
                0 => {}
                1 => {
                    from.strides[axis] = -dense.strides[place];
                    from.offset += dims[axis].saturating_sub(1) * dense.strides[place].unsigned_abs();
                }
                _ => from.strides[axis] = dense.strides[place],
            }
        }
        let count: usize = dims.iter().product();
        let bytes: Vec<u8> = numbers(count * size).iter().map(|v| (v % 251).to_le_bytes()[0]).collect();
        let mut fixture = Fixture::default();
        let source = fixture.input(&bytes);
        let target = fixture.output::<u8>(count * size);
        let spec = CopySpec::gather_view(size, source, from, target);
        let [wide, fast, slow] = ALL.map(|force| fixture.run::<u8>(CopyStep::new(spec.clone(), force).unwrap(), target));
        prop_assert_eq!(&fast, &slow);
        prop_assert_eq!(wide, slow);
    }
}

#[test]
fn large_copies_do_not_depend_on_threads() {
    let mut fixture = Fixture::default();
    let source = fixture.input(&numbers(300 * 500));
    let target = fixture.output::<u32>(300 * 500);
    let spec = CopySpec::transpose(4, source, &[300, 500], &[1, 0], target).unwrap();
    fixture.assert_thread_invariant(|| CopyStep::new(spec.clone(), None).unwrap(), target);
}
