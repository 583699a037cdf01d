//! The oracle: one lane at a time, every float operation in f64 by its defining formula and rounded to f32.
//!
//! Interprets the same schedule, so it checks functions and not the scheduling; tests with written-out formulas do that.

use super::chain::{Binary, Compare, Kind, Logic, Op, Unary};
use super::schedule::Instruction;
use crate::element::convert;
use crate::scratch::Slot;

/// Evaluates instructions over the first `lanes` lanes of the slots.
pub(super) fn evaluate(instructions: &[Instruction], slots: &mut [Slot], lanes: usize) {
    for instruction in instructions {
        for lane in 0..lanes {
            evaluate_lane(instruction, slots, lane);
        }
    }
}

fn evaluate_lane(instruction: &Instruction, slots: &mut [Slot], lane: usize) {
    let [a, b, c] = instruction.operands;
    let float = |slot: usize| f64::from(slots[slot].floats()[lane]);
    let int = |slot: usize| slots[slot].ints()[lane];
    let truth = |holds: bool| f64::from(u8::from(holds));
    let integral = instruction.kind == Kind::Int;
    let result = match instruction.op {
        Op::Float(value) => Number::Float(f64::from(value)),
        Op::Int(value) => Number::Int(value),
        Op::Unary(function, _) if integral => Number::Int(match function {
            Unary::Neg => int(a).wrapping_neg(),
            Unary::Abs => int(a).wrapping_abs(),
            _ => int(a).signum(),
        }),
        Op::Unary(function, _) => Number::Float(unary(function, float(a))),
        Op::Binary(function, ..) if integral => Number::Int(int_binary(function, int(a), int(b))),
        Op::Binary(function, ..) => Number::Float(binary(function, float(a), float(b))),
        Op::Compare(function, ..) if integral => Number::Float(truth(compare(function, &int(a), &int(b)))),
        Op::Compare(function, ..) => Number::Float(truth(compare(function, &float(a), &float(b)))),
        Op::Logic(Logic::And, ..) => Number::Float(truth(float(a) != 0.0 && float(b) != 0.0)),
        Op::Logic(Logic::Or, ..) => Number::Float(truth(float(a) != 0.0 || float(b) != 0.0)),
        Op::Logic(Logic::Xor, ..) => Number::Float(truth((float(a) != 0.0) != (float(b) != 0.0))),
        Op::Not(_) => Number::Float(truth(float(a) == 0.0)),
        Op::Where(..) if integral => Number::Int(if float(a) == 0.0 { int(c) } else { int(b) }),
        Op::Where(..) => Number::Float(if float(a) == 0.0 { float(c) } else { float(b) }),
        Op::Convert(Kind::Int, _) if integral => Number::Int(int(a)),
        Op::Convert(Kind::Int, _) => Number::Int(convert(float(a))),
        Op::Convert(Kind::Truth, _) if integral => Number::Float(truth(int(a) != 0)),
        Op::Convert(Kind::Truth, _) => Number::Float(truth(float(a) != 0.0)),
        Op::Convert(Kind::Float, _) if integral => Number::Float(convert(int(a))),
        Op::Convert(Kind::Float, _) => Number::Float(float(a)),
    };
    match result {
        Number::Float(value) => slots[instruction.result].floats_mut()[lane] = convert(value),
        Number::Int(value) => slots[instruction.result].ints_mut()[lane] = value,
    }
}

enum Number {
    Float(f64),
    Int(i64),
}

fn unary(function: Unary, x: f64) -> f64 {
    let softplus = |x: f64| if x > 40.0 { x } else { x.exp().ln_1p() };
    match function {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x == 0.0 || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Softplus => softplus(x),
        Unary::Mish => x * softplus(x).tanh(),
        Unary::Elu { alpha } if x < 0.0 => f64::from(alpha) * x.exp_m1(),
        Unary::Elu { .. } => x,
        Unary::Level(levels) => levels.exact(x),
        Unary::Activation(_) if x.is_nan() => x,
        Unary::Activation(activation) => activation.apply_exact(x),
    }
}

fn binary(function: Binary, a: f64, b: f64) -> f64 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Min | Binary::Max if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
    }
}

fn int_binary(function: Binary, a: i64, b: i64) -> i64 {
    match function {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div if b == 0 => 0,
        Binary::Div => a.wrapping_div(b),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Pow => unreachable!("Chain::push admits no integer powers"),
    }
}

fn compare<T: PartialOrd>(function: Compare, a: &T, b: &T) -> bool {
    match function {
        Compare::Equal => a == b,
        Compare::NotEqual => a != b,
        Compare::Less => a < b,
        Compare::LessOrEqual => a <= b,
        Compare::Greater => a > b,
        Compare::GreaterOrEqual => a >= b,
    }
}
