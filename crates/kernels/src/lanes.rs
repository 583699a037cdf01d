//! Loops over registers and the folds that reductions and pools share.
//!
//! Macros and types, not closures: a closure that the compiler declines to inline runs without the target features of
//! the function around it, tens of times slower. Knows no family.

use pulp::Simd;

/// `values = body(values)` for every register and the tail.
macro_rules! map_lanes {
    ($S:ty, $simd:expr, $values:expr, $x:ident => $body:expr) => {{
        let (vectors, tail) = <$S as pulp::Simd>::as_mut_simd_f32s($values);
        for vector in vectors {
            let $x = *vector;
            *vector = $body;
        }
        if !tail.is_empty() {
            let $x = $simd.partial_load_f32s(tail);
            let result = $body;
            $simd.partial_store_f32s(tail, result);
        }
    }};
}

/// `out = body(a, …)` for every register and the tail; the slices have one length.
macro_rules! zip_lanes {
    ($S:ty, $simd:expr, $out:expr, $a:expr, $x:ident => $body:expr) => {{
        let (out, out_tail) = <$S as pulp::Simd>::as_mut_simd_f32s($out);
        let (a, a_tail) = <$S as pulp::Simd>::as_simd_f32s($a);
        for (out, a) in out.iter_mut().zip(a) {
            let $x = *a;
            *out = $body;
        }
        if !out_tail.is_empty() {
            let $x = $simd.partial_load_f32s(a_tail);
            let result = $body;
            $simd.partial_store_f32s(out_tail, result);
        }
    }};
    ($S:ty, $simd:expr, $out:expr, $a:expr, $b:expr, $x:ident, $y:ident => $body:expr) => {{
        let (out, out_tail) = <$S as pulp::Simd>::as_mut_simd_f32s($out);
        let (a, a_tail) = <$S as pulp::Simd>::as_simd_f32s($a);
        let (b, b_tail) = <$S as pulp::Simd>::as_simd_f32s($b);
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            let ($x, $y) = (*a, *b);
            *out = $body;
        }
        if !out_tail.is_empty() {
            let ($x, $y) = ($simd.partial_load_f32s(a_tail), $simd.partial_load_f32s(b_tail));
            let result = $body;
            $simd.partial_store_f32s(out_tail, result);
        }
    }};
}

pub(crate) use {map_lanes, zip_lanes};

/// One step of a fold, over registers and over single elements alike.
pub(crate) trait Fold<S: Simd>: Copy {
    /// Neutral element.
    const START: f32;
    /// Folds a register into an accumulator.
    fn lanes(self, acc: S::f32s, x: S::f32s) -> S::f32s;
    /// Folds an element into an accumulator.
    fn scalar(self, acc: f32, x: f32) -> f32;
}

macro_rules! folds {
    ($($(#[$doc:meta])* $name:ident, $start:expr, |$simd:ident, $acc:ident, $x:ident| $lanes:expr, $scalar:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name<S>(pub(crate) S);

        impl<S: Simd> Fold<S> for $name<S> {
            const START: f32 = $start;
            #[inline(always)]
            fn lanes(self, $acc: S::f32s, $x: S::f32s) -> S::f32s {
                let Self($simd) = self;
                $lanes
            }
            #[inline(always)]
            fn scalar(self, $acc: f32, $x: f32) -> f32 {
                $scalar
            }
        }
    )*};
}

folds! {
    /// `acc + x`.
    Sum, 0.0, |simd, acc, x| simd.add_f32s(acc, x), acc + x;
    /// `acc + |x|`.
    SumOfMagnitudes, 0.0, |simd, acc, x| simd.add_f32s(acc, simd.abs_f32s(x)), acc + x.abs();
    /// `acc + x²`.
    SumOfSquares, 0.0, |simd, acc, x| simd.mul_add_e_f32s(x, x, acc), acc + x * x;
    /// `acc·x`.
    Product, 1.0, |simd, acc, x| simd.mul_f32s(acc, x), acc * x;
    /// The larger, NaN if either is.
    Largest, f32::NEG_INFINITY, |simd, acc, x| larger(simd, acc, x), if acc > x || acc.is_nan() { acc } else { x };
    /// The smaller, NaN if either is.
    Smallest, f32::INFINITY, |simd, acc, x| smaller(simd, acc, x), if acc < x || acc.is_nan() { acc } else { x };
}

/// The larger, NaN if either is.
#[inline(always)]
pub(crate) fn larger<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
    let larger = simd.select_f32s(simd.greater_than_f32s(a, b), a, b);
    simd.select_f32s(simd.equal_f32s(a, a), larger, a)
}

/// The smaller, NaN if either is.
#[inline(always)]
pub(crate) fn smaller<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
    let smaller = simd.select_f32s(simd.less_than_f32s(a, b), a, b);
    simd.select_f32s(simd.equal_f32s(a, a), smaller, a)
}
