//! Runs a schedule over blocks in vector registers, for any instruction set pulp knows.
//!
//! Every operation is one pass over a slot; slots stay in the first-level cache. Lanes past the end of the last block
//! hold what earlier blocks left there and are not stored.

use super::chain::{Binary, Compare, Kind, Logic, Op, Unary};
use super::functions;
use super::schedule::Instruction;
use crate::element::convert;
use crate::lanes::{larger, smaller};
use crate::math::{Lane, LaneVisitor};
use crate::scratch::Slot;
use pulp::Simd;

/// Elements of a block: four slots of them fit half of a 32 KiB cache.
pub(super) const BLOCK: usize = 1024;

/// One pass over slots. A macro: a closure might not be inlined, and would then run without the target features.
macro_rules! map {
    ($out:expr, $a:expr, $x:ident => $body:expr) => {
        for (out, a) in S::as_mut_simd_f32s($out).0.iter_mut().zip(S::as_simd_f32s($a).0) {
            let $x = *a;
            *out = $body;
        }
    };
    ($out:expr, $a:expr, $b:expr, $x:ident, $y:ident => $body:expr) => {{
        let (a, b) = (S::as_simd_f32s($a).0, S::as_simd_f32s($b).0);
        for ((out, a), b) in S::as_mut_simd_f32s($out).0.iter_mut().zip(a).zip(b) {
            let ($x, $y) = (*a, *b);
            *out = $body;
        }
    }};
}

/// Evaluates instructions over the first `lanes` lanes of the slots.
pub(super) struct Evaluate<'a> {
    pub(super) instructions: &'a [Instruction],
    pub(super) slots: &'a mut [Slot],
    pub(super) lanes: usize,
}

impl pulp::WithSimd for Evaluate<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Whole registers: the rest of the last one is scratch.
        let lanes = self.lanes.next_multiple_of(S::F32_LANES).min(BLOCK);
        for instruction in self.instructions {
            let mut result = std::mem::take(&mut self.slots[instruction.result]);
            let [a, b, c] = instruction.operands.map(|slot| &self.slots[slot]);
            step(simd, instruction.op, instruction.kind, &mut result, a, b, c, lanes);
            self.slots[instruction.result] = result;
        }
    }
}

/// One operation on operands of `kind`.
#[inline(always)]
fn step<S: Simd>(simd: S, op: Op, kind: Kind, out: &mut Slot, a: &Slot, b: &Slot, c: &Slot, lanes: usize) {
    match (op, kind) {
        (Op::Float(value), _) => out.floats_mut()[..lanes].fill(value),
        (Op::Int(value), _) => out.ints_mut()[..lanes].fill(value),
        (Op::Unary(function, _), Kind::Int) => int_unary(function, out, a, lanes),
        (Op::Binary(function, ..), Kind::Int) => int_binary(function, out, a, b, lanes),
        (Op::Compare(function, ..), Kind::Int) => int_compare(function, out, a, b, lanes),
        (Op::Unary(function, _), _) => {
            unary(simd, function, &mut out.floats_mut()[..lanes], &a.floats()[..lanes]);
        }
        (Op::Binary(function, ..), _) => {
            binary(
                simd,
                function,
                &mut out.floats_mut()[..lanes],
                &a.floats()[..lanes],
                &b.floats()[..lanes],
            );
        }
        (Op::Compare(function, ..), _) => {
            compare(
                simd,
                function,
                &mut out.floats_mut()[..lanes],
                &a.floats()[..lanes],
                &b.floats()[..lanes],
            );
        }
        (Op::Logic(function, ..), _) => {
            logic(simd, function, &mut out.floats_mut()[..lanes], &a.floats()[..lanes], &b.floats()[..lanes]);
        }
        (Op::Not(_), _) => {
            let one = simd.splat_f32s(1.0);
            map!(&mut out.floats_mut()[..lanes], &a.floats()[..lanes], x => simd.sub_f32s(one, x));
        }
        (Op::Where(..), Kind::Int) => choose_ints(out, a, b, c, lanes),
        (Op::Where(..), _) => choose(simd, out, a, b, c, lanes),
        (Op::Convert(to, _), from) => converted(from, to, out, a, lanes),
    }
}

struct Lanes<'a>(&'a mut [f32], &'a [f32]);

impl<S: Simd> LaneVisitor<S> for Lanes<'_> {
    type Output = ();
    #[inline(always)]
    fn visit(self, f: impl Lane<S>) {
        map!(self.0, self.1, x => f.apply(x));
    }
}

#[inline(always)]
fn unary<S: Simd>(simd: S, function: Unary, out: &mut [f32], a: &[f32]) {
    let one = simd.splat_f32s(1.0);
    match function {
        Unary::Neg => map!(out, a, x => simd.neg_f32s(x)),
        Unary::Abs => map!(out, a, x => simd.abs_f32s(x)),
        Unary::Sign => map!(out, a, x => functions::sign(simd, x)),
        Unary::Sqrt => map!(out, a, x => simd.sqrt_f32s(x)),
        Unary::Rsqrt => map!(out, a, x => simd.div_f32s(one, simd.sqrt_f32s(x))),
        Unary::Reciprocal => map!(out, a, x => simd.div_f32s(one, x)),
        Unary::Exp => map!(out, a, x => crate::math::exp(simd, x)),
        Unary::Log => map!(out, a, x => functions::log(simd, x)),
        Unary::Floor => map!(out, a, x => functions::floor(simd, x)),
        Unary::Ceil => map!(out, a, x => functions::ceil(simd, x)),
        Unary::Round => map!(out, a, x => functions::round(simd, x)),
        Unary::Sin => sine::<S>(simd, out, a, 0, f64::sin),
        Unary::Cos => sine::<S>(simd, out, a, 1, f64::cos),
        Unary::Softplus => map!(out, a, x => functions::softplus(simd, x)),
        Unary::Mish => map!(out, a, x => functions::mish(simd, x)),
        Unary::Elu { alpha } => map!(out, a, x => functions::elu(simd, x, alpha)),
        Unary::Level(levels) => map!(out, a, x => levels.of(simd, x)),
        Unary::Activation(activation) => activation.visit(simd, Lanes(out, a)),
    }
}

#[inline(always)]
fn sine<S: Simd>(simd: S, out: &mut [f32], a: &[f32], quadrants: u32, exact: fn(f64) -> f64) {
    map!(out, a, x => functions::sine(simd, x, quadrants));
    let mut most = simd.splat_f32s(0.0);
    for x in S::as_simd_f32s(a).0 {
        most = larger(simd, most, simd.abs_f32s(*x));
    }
    let most: f32 =
        bytemuck::cast_slice(&[most]).iter().fold(0.0, |m: f32, x: &f32| if m >= *x { m } else { *x });
    if most.is_nan() || most > functions::TRIGONOMETRIC_LIMIT {
        far_sine(out, a, exact);
    }
}

/// Lanes whose argument the vector function cannot reduce. Not inlined: the loop above would be made to speculate it.
#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the result's precision")]
#[cold]
#[inline(never)]
fn far_sine(out: &mut [f32], a: &[f32], exact: fn(f64) -> f64) {
    for (out, x) in out.iter_mut().zip(a) {
        if x.is_nan() || x.abs() > functions::TRIGONOMETRIC_LIMIT {
            *out = exact(f64::from(*x)) as f32;
        }
    }
}

#[inline(always)]
fn binary<S: Simd>(simd: S, function: Binary, out: &mut [f32], a: &[f32], b: &[f32]) {
    match function {
        Binary::Add => map!(out, a, b, a, b => simd.add_f32s(a, b)),
        Binary::Sub => map!(out, a, b, a, b => simd.sub_f32s(a, b)),
        Binary::Mul => map!(out, a, b, a, b => simd.mul_f32s(a, b)),
        Binary::Div => map!(out, a, b, a, b => simd.div_f32s(a, b)),
        Binary::Min => map!(out, a, b, a, b => smaller(simd, a, b)),
        Binary::Max => map!(out, a, b, a, b => larger(simd, a, b)),
        Binary::Pow => power(simd, out, a, b),
    }
}

/// Powers: the exponents that models use (a constant 2, 3, 1/2, −1/2, −1) without the general function.
#[inline(always)]
fn power<S: Simd>(simd: S, out: &mut [f32], a: &[f32], b: &[f32]) {
    let one = simd.splat_f32s(1.0);
    let exponent = b[0];
    let constant = b.iter().all(|e| e.to_bits() == exponent.to_bits());
    match exponent {
        2.0 if constant => map!(out, a, x => simd.mul_f32s(x, x)),
        3.0 if constant => map!(out, a, x => simd.mul_f32s(x, simd.mul_f32s(x, x))),
        -1.0 if constant => map!(out, a, x => simd.div_f32s(one, x)),
        _ => out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a.powf(*b)),
    }
}

#[inline(always)]
fn compare<S: Simd>(simd: S, function: Compare, out: &mut [f32], a: &[f32], b: &[f32]) {
    let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
    match function {
        Compare::Equal => map!(out, a, b, a, b => simd.select_f32s(simd.equal_f32s(a, b), one, zero)),
        Compare::NotEqual => map!(out, a, b, a, b => simd.select_f32s(simd.equal_f32s(a, b), zero, one)),
        Compare::Less => map!(out, a, b, a, b => simd.select_f32s(simd.less_than_f32s(a, b), one, zero)),
        Compare::LessOrEqual => {
            map!(out, a, b, a, b => simd.select_f32s(simd.less_than_or_equal_f32s(a, b), one, zero));
        }
        Compare::Greater => {
            map!(out, a, b, a, b => simd.select_f32s(simd.greater_than_f32s(a, b), one, zero));
        }
        Compare::GreaterOrEqual => {
            map!(out, a, b, a, b => simd.select_f32s(simd.greater_than_or_equal_f32s(a, b), one, zero));
        }
    }
}

/// Truths are the floats 0 and 1.
#[inline(always)]
fn logic<S: Simd>(simd: S, function: Logic, out: &mut [f32], a: &[f32], b: &[f32]) {
    match function {
        Logic::And => map!(out, a, b, a, b => simd.mul_f32s(a, b)),
        Logic::Or => map!(out, a, b, a, b => simd.max_f32s(a, b)),
        Logic::Xor => map!(out, a, b, a, b => simd.abs_f32s(simd.sub_f32s(a, b))),
    }
}

#[inline(always)]
fn choose<S: Simd>(simd: S, out: &mut Slot, c: &Slot, a: &Slot, b: &Slot, lanes: usize) {
    let (out, c) = (&mut out.floats_mut()[..lanes], &c.floats()[..lanes]);
    let (a, b) = (&a.floats()[..lanes], &b.floats()[..lanes]);
    let half = simd.splat_f32s(0.5);
    let (out, c) = (S::as_mut_simd_f32s(out).0, S::as_simd_f32s(c).0);
    let (a, b) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
    for (((out, c), a), b) in out.iter_mut().zip(c).zip(a).zip(b) {
        *out = simd.select_f32s(simd.greater_than_f32s(*c, half), *a, *b);
    }
}

/// [`choose`] over integers.
fn choose_ints(out: &mut Slot, c: &Slot, a: &Slot, b: &Slot, lanes: usize) {
    let (out, c) = (&mut out.ints_mut()[..lanes], &c.floats()[..lanes]);
    let (a, b) = (&a.ints()[..lanes], &b.ints()[..lanes]);
    for (((out, c), a), b) in out.iter_mut().zip(c).zip(a).zip(b) {
        *out = if *c == 0.0 { *b } else { *a };
    }
}

#[inline(always)]
fn int_map(out: &mut Slot, a: &Slot, b: &Slot, lanes: usize, f: impl Fn(i64, i64) -> i64) {
    let (out, a, b) = (&mut out.ints_mut()[..lanes], &a.ints()[..lanes], &b.ints()[..lanes]);
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b));
}

#[inline(always)]
fn int_unary(function: Unary, out: &mut Slot, a: &Slot, lanes: usize) {
    match function {
        Unary::Neg => int_map(out, a, a, lanes, |a, _| a.wrapping_neg()),
        Unary::Abs => int_map(out, a, a, lanes, |a, _| a.wrapping_abs()),
        Unary::Sign => int_map(out, a, a, lanes, |a, _| a.signum()),
        _ => unreachable!("Chain::push admits only neg, abs and sign of integers"),
    }
}

#[inline(always)]
fn int_binary(function: Binary, out: &mut Slot, a: &Slot, b: &Slot, lanes: usize) {
    match function {
        Binary::Add => int_map(out, a, b, lanes, i64::wrapping_add),
        Binary::Sub => int_map(out, a, b, lanes, i64::wrapping_sub),
        Binary::Mul => int_map(out, a, b, lanes, i64::wrapping_mul),
        Binary::Div => int_map(out, a, b, lanes, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) }),
        Binary::Min => int_map(out, a, b, lanes, i64::min),
        Binary::Max => int_map(out, a, b, lanes, i64::max),
        Binary::Pow => unreachable!("Chain::push admits no integer powers"),
    }
}

#[inline(always)]
fn int_compare(function: Compare, out: &mut Slot, a: &Slot, b: &Slot, lanes: usize) {
    let test: fn(&i64, &i64) -> bool = match function {
        Compare::Equal => i64::eq,
        Compare::NotEqual => i64::ne,
        Compare::Less => i64::lt,
        Compare::LessOrEqual => i64::le,
        Compare::Greater => i64::gt,
        Compare::GreaterOrEqual => i64::ge,
    };
    let (out, a, b) = (&mut out.floats_mut()[..lanes], &a.ints()[..lanes], &b.ints()[..lanes]);
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f32::from(u8::from(test(a, b))));
}

#[inline(always)]
fn converted(from: Kind, to: Kind, out: &mut Slot, a: &Slot, lanes: usize) {
    match (from, to) {
        (Kind::Int, Kind::Int) => out.ints_mut()[..lanes].copy_from_slice(&a.ints()[..lanes]),
        (Kind::Int, Kind::Float) => {
            cross(&mut out.floats_mut()[..lanes], &a.ints()[..lanes], convert::<i64, f32>);
        }
        (Kind::Int, Kind::Truth) => {
            cross(&mut out.floats_mut()[..lanes], &a.ints()[..lanes], |v| f32::from(u8::from(v != 0)));
        }
        (_, Kind::Int) => cross(&mut out.ints_mut()[..lanes], &a.floats()[..lanes], convert::<f32, i64>),
        (Kind::Float, Kind::Truth) => {
            cross(&mut out.floats_mut()[..lanes], &a.floats()[..lanes], |v| f32::from(u8::from(v != 0.0)));
        }
        _ => out.floats_mut()[..lanes].copy_from_slice(&a.floats()[..lanes]),
    }
}

#[inline(always)]
fn cross<A: Copy, B>(out: &mut [B], a: &[A], f: impl Fn(A) -> B) {
    out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a));
}
