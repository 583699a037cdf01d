//! Chains against the f64 reference on every instruction set, over broadcasts, element types and odd sizes.
//!
//! Formulas written out in the tests check the schedule, the reference checks the functions.

use super::*;
use crate::fixture::{Fixture, assert_close, values};
use crate::math::Activation;
use crate::operand::Constant;
use half::f16;
use proptest::prelude::*;

fn unaries() -> Vec<Unary> {
    let mut list = vec![
        Unary::Neg,
        Unary::Abs,
        Unary::Sign,
        Unary::Exp,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Sin,
        Unary::Cos,
        Unary::Softplus,
        Unary::Mish,
        Unary::Elu { alpha: 1.3 },
    ];
    list.extend(Activation::EXAMPLES.map(Unary::Activation));
    list
}

fn input<T: crate::Pod>(fixture: &mut Fixture, values: &[T], element: Element, layout: Layout) -> ChainInput {
    ChainInput { element, operand: fixture.input(values).into(), layout }
}

/// A chain of one input and one output of `count` floats.
fn simple(fixture: &mut Fixture, values: &[f32], build: impl Fn(&mut Chain, Value) -> Value) -> ChainSpec {
    let dims = vec![values.len()];
    let mut chain = Chain::new(&[Kind::Float]);
    let x = chain.input(0).unwrap();
    let value = build(&mut chain, x);
    let layout = Layout::contiguous(&dims);
    let inputs = vec![input(fixture, values, Element::F32, layout.clone())];
    let span = fixture.output::<f32>(values.len());
    ChainSpec {
        dims,
        chain,
        inputs,
        outputs: vec![ChainOutput { value, element: Element::F32, span, layout }],
    }
}

fn run(fixture: &Fixture, spec: &ChainSpec, isa: Isa) -> Vec<f32> {
    fixture.run(ChainStep::new(spec.clone(), Some(isa)).unwrap(), spec.outputs[0].span)
}

#[test]
fn every_unary_matches_the_reference() {
    let mut inputs = values(2_100, 1);
    inputs.extend([0.0, -0.0, 30.0, -30.0, 1e5, -1e5, f32::NAN]);
    for function in unaries() {
        let mut fixture = Fixture::default();
        let spec = simple(&mut fixture, &inputs, |chain, x| chain.push(Op::Unary(function, x)).unwrap());
        let expected = run(&fixture, &spec, Isa::Reference);
        for isa in Isa::available() {
            for ((&x, &e), &g) in inputs.iter().zip(&expected).zip(&run(&fixture, &spec, isa)) {
                let scale = e.abs().max(x.abs()).min(1e30);
                let same = (g.is_nan() && e.is_nan()) || g == e || (g - e).abs() <= 4e-7 * scale;
                assert!(same, "{isa} {function:?}({x}) = {g}, expected {e}");
            }
        }
    }
}

#[test]
fn roots_and_logarithms_match_the_reference() {
    let inputs: Vec<f32> = values(1_500, 2).iter().map(|v| v.abs() * 50.0 + 1e-6).collect();
    for function in [Unary::Sqrt, Unary::Rsqrt, Unary::Reciprocal, Unary::Log] {
        let mut fixture = Fixture::default();
        let spec = simple(&mut fixture, &inputs, |chain, x| chain.push(Op::Unary(function, x)).unwrap());
        let expected: Vec<f64> = run(&fixture, &spec, Isa::Reference).iter().map(|&v| v.into()).collect();
        for isa in Isa::available() {
            for (e, g) in expected.iter().zip(run(&fixture, &spec, isa)) {
                assert_close(&[g], &[*e], 3e-7, &format!("{isa} {function:?}"));
            }
        }
    }
}

#[test]
fn every_binary_compare_and_where_matches_the_reference() {
    let binaries =
        [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max, Binary::Pow];
    let compares = [
        Compare::Equal,
        Compare::NotEqual,
        Compare::Less,
        Compare::LessOrEqual,
        Compare::Greater,
        Compare::GreaterOrEqual,
    ];
    let mut a: Vec<f32> = values(777, 3).iter().map(|v| (v * 4.0).round().abs() + 0.5).collect();
    a.extend([f32::NAN, 1.0, f32::NAN]);
    let mut b: Vec<f32> = values(777, 4).iter().map(|v| (v * 4.0).round() + 0.5).collect();
    b.extend([1.0, f32::NAN, f32::NAN]);
    for (function, compare) in binaries.iter().zip(compares.iter().cycle()) {
        let mut fixture = Fixture::default();
        let layout = Layout::contiguous(&[a.len()]);
        let mut chain = Chain::new(&[Kind::Float; 2]);
        let (x, y) = (Value(0), Value(1));
        let z = chain.push(Op::Binary(*function, x, y)).unwrap();
        let holds = chain.push(Op::Compare(*compare, x, y)).unwrap();
        let not = chain.push(Op::Not(holds)).unwrap();
        let also = chain.push(Op::Logic(Logic::Xor, holds, not)).unwrap();
        let both = chain.push(Op::Logic(Logic::And, also, holds)).unwrap();
        let chosen = chain.push(Op::Where(both, z, x)).unwrap();
        let inputs = vec![
            input(&mut fixture, &a, Element::F32, layout.clone()),
            input(&mut fixture, &b, Element::F32, layout.clone()),
        ];
        let span = fixture.output::<f32>(a.len());
        let flags = fixture.output::<u8>(a.len());
        let outputs = vec![
            ChainOutput { value: chosen, element: Element::F32, span, layout: layout.clone() },
            ChainOutput { value: holds, element: Element::Bool, span: flags, layout },
        ];
        let spec = ChainSpec { dims: vec![a.len()], chain, inputs, outputs };
        let expected: Vec<f64> = run(&fixture, &spec, Isa::Reference).iter().map(|&v| v.into()).collect();
        let step = |isa| ChainStep::new(spec.clone(), Some(isa)).unwrap();
        let expected_flags: Vec<u8> = fixture.run(step(Isa::Reference), flags);
        for isa in Isa::available() {
            for (e, g) in expected.iter().zip(run(&fixture, &spec, isa)) {
                assert_close(&[g], &[*e], 3e-7, &format!("{isa} {function:?}"));
            }
            assert_eq!(fixture.run::<u8>(step(isa), flags), expected_flags, "{isa} {compare:?}");
        }
    }
}

#[test]
fn integers_compare_convert_and_choose() {
    for isa in Isa::available() {
        let mut fixture = Fixture::default();
        let layout = Layout::contiguous(&[5]);
        let mut chain = Chain::new(&[Kind::Int, Kind::Int, Kind::Truth]);
        let (a, b, mask) = (Value(0), Value(1), Value(2));
        let less = chain.push(Op::Compare(Compare::Less, a, b)).unwrap();
        let both = chain.push(Op::Logic(Logic::And, less, mask)).unwrap();
        let quotient = chain.push(Op::Binary(Binary::Div, a, b)).unwrap();
        let chosen = chain.push(Op::Where(both, quotient, a)).unwrap();
        let float = chain.push(Op::Convert(Kind::Float, chosen)).unwrap();
        let inputs = vec![
            input(&mut fixture, &[1_i64, -7, 3, 9, 5], Element::I64, layout.clone()),
            input(&mut fixture, &[2_i32, 2, 0, 9, 6], Element::I32, layout.clone()),
            input(&mut fixture, &[1_u8, 1, 1, 1, 0], Element::Bool, layout.clone()),
        ];
        let ints = fixture.output::<i64>(5);
        let halves = fixture.output::<f16>(5);
        let outputs = vec![
            ChainOutput { value: chosen, element: Element::I64, span: ints, layout: layout.clone() },
            ChainOutput { value: float, element: Element::F16, span: halves, layout },
        ];
        let spec = ChainSpec { dims: vec![5], chain, inputs, outputs };
        let step = || ChainStep::new(spec.clone(), Some(isa)).unwrap();
        assert_eq!(fixture.run::<i64>(step(), ints), [0, -3, 3, 9, 5], "{isa}");
        let expected = [0.0, -3.0, 3.0, 9.0, 5.0].map(f16::from_f32);
        assert_eq!(fixture.run::<f16>(step(), halves), expected, "{isa}");
    }
}

#[test]
fn an_output_may_take_the_place_of_its_input_only_exactly() {
    let data = values(3_000, 5);
    for isa in Isa::available() {
        let mut fixture = Fixture::default();
        let mut spec =
            simple(&mut fixture, &data, |chain, x| chain.push(Op::Binary(Binary::Mul, x, x)).unwrap());
        let expected: Vec<f32> = data.iter().map(|v| v * v).collect();
        spec.outputs[0].span = spec.inputs[0].operand.span().unwrap();
        assert_eq!(run(&fixture, &spec, isa), expected, "{isa}");
        spec.inputs[0].layout.strides = vec![0];
        let error = ChainStep::new(spec, Some(isa)).err().unwrap();
        assert!(error.reason.contains("without taking its exact place"), "{error}");
    }
}

#[test]
fn misuse_is_refused_with_the_place() {
    let mut chain = Chain::new(&[Kind::Float, Kind::Int]);
    let error = chain.push(Op::Binary(Binary::Add, Value(0), Value(1))).unwrap_err();
    assert!(error.reason.contains("on [Float, Int]"), "{error}");
    assert!(chain.push(Op::Not(Value(0))).is_err());
    assert!(chain.push(Op::Unary(Unary::Exp, Value(7))).is_err());
    assert!(chain.push(Op::Unary(Unary::Exp, Value(1))).is_err());
}

#[test]
fn chains_do_not_depend_on_threads() {
    let mut fixture = Fixture::default();
    let spec = simple(&mut fixture, &values(40_001, 6), |chain, x| {
        let e = chain.push(Op::Unary(Unary::Exp, x)).unwrap();
        chain.push(Op::Binary(Binary::Div, x, e)).unwrap()
    });
    fixture.assert_thread_invariant(|| ChainStep::new(spec.clone(), None).unwrap(), spec.outputs[0].span);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// `gelu(a * b + c) - d` over operands that broadcast at random, some of them constants.
    #[test]
    fn broadcasts_match_index_arithmetic(
        dims in prop::collection::vec(1_usize..24, 1..4),
        broadcast in prop::collection::vec(any::<bool>(), 16),
        constant in any::<bool>(),
    ) {
        let mut fixture = Fixture::default();
        let mut chain = Chain::new(&[Kind::Float; 4]);
        let scaled = chain.push(Op::Binary(Binary::Mul, Value(0), Value(1))).unwrap();
        let sum = chain.push(Op::Binary(Binary::Add, scaled, Value(2))).unwrap();
        let active = chain.push(Op::Unary(Unary::Activation(Activation::Gelu), sum)).unwrap();
        let value = chain.push(Op::Binary(Binary::Sub, active, Value(3))).unwrap();
        let mut data = Vec::new();
        let inputs: Vec<ChainInput> = (0..4)
            .map(|operand| {
                let shape: Vec<usize> = dims.iter().enumerate()
                    .map(|(axis, &dim)| if broadcast[operand * 4 + axis] { 1 } else { dim })
                    .collect();
                let layout = Layout::broadcast(&shape, &dims).unwrap();
                let numbers = values(shape.iter().product(), operand as u64);
                let operand = if constant && operand % 2 == 1 {
                    Constant::from_slice(&numbers).into()
                } else {
                    fixture.input(&numbers).into()
                };
                data.push((numbers, layout.clone()));
                ChainInput { element: Element::F32, operand, layout }
            })
            .collect();
        let count: usize = dims.iter().product();
        let span = fixture.output::<f32>(count);
        let layout = Layout::contiguous(&dims);
        let outputs = vec![ChainOutput { value, element: Element::F32, span, layout }];
        let spec = ChainSpec { dims: dims.clone(), chain, inputs, outputs };
        let expected: Vec<f64> = (0..count)
            .map(|flat| {
                let at = |(numbers, layout): &(Vec<f32>, Layout)| {
                    let walk = crate::layout::Odometer::new(&layout.dims, [&layout.strides], [0], flat);
                    f64::from(numbers[usize::try_from(walk.at[0]).unwrap()])
                };
                let x = at(&data[0]) * at(&data[1]) + at(&data[2]);
                Activation::Gelu.apply_exact(x) - at(&data[3])
            })
            .collect();
        for isa in Isa::available() {
            assert_close(&run(&fixture, &spec, isa), &expected, 1e-6, &format!("{isa}"));
        }
    }
}
