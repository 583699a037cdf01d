//! The oracle for floats, and the kernel for integers: one element at a time.
//!
//! Integers wrap; their reductions are shape arithmetic and counts, never worth registers.

use super::Reduction;
use super::plan::Plan;
use super::portable::{FoldTile, Join};
use crate::element::{Scalar, convert};

/// Input offsets folded into output `index`.
fn folded(plan: &Plan, index: usize) -> impl Iterator<Item = usize> {
    let base = plan.kept.offsets(index / plan.columns).next().unwrap_or(0) + index % plan.columns;
    let outer = plan.folded.offsets(0).take(plan.folded.count());
    outer.flat_map(move |offset| (0..plan.run).map(move |i| base + offset + i))
}

pub(super) fn floats(fold: FoldTile<'_>) {
    let FoldTile { plan, reduction, input, range, output } = fold;
    let Join { start, join } = reduction.join();
    for (index, out) in range.zip(output) {
        let values = folded(plan, index).map(|at| f64::from(input[at])).map(|x| match reduction {
            Reduction::L1 => x.abs(),
            Reduction::L2 | Reduction::SumSquare => x * x,
            _ => x,
        });
        *out = reduction.finish(values.fold(f64::from(start), join), plan.depth);
    }
}

/// Wrapping; an empty maximum or minimum is the type's smallest or largest value.
pub(super) fn integers<T: Scalar>(
    plan: &Plan,
    reduction: Reduction,
    input: &[T],
    first: usize,
    output: &mut [T],
) {
    for (index, out) in output.iter_mut().enumerate() {
        let values = folded(plan, first + index).map(|at| input[at].to_int());
        let depth = i64::try_from(plan.depth).unwrap_or(i64::MAX).max(1);
        let total = match reduction {
            Reduction::Sum => values.fold(0, i64::wrapping_add),
            Reduction::Mean => values.fold(0, i64::wrapping_add) / depth,
            Reduction::L1 => values.fold(0_i64, |a, x| a.wrapping_add(x.wrapping_abs())),
            Reduction::L2 => convert(convert::<i64, f64>(squares(values)).sqrt()),
            Reduction::SumSquare => squares(values),
            Reduction::Prod => values.fold(1, i64::wrapping_mul),
            Reduction::Max => values.max().unwrap_or_else(|| convert::<T, i64>(convert(f64::NEG_INFINITY))),
            Reduction::Min => values.min().unwrap_or_else(|| convert::<T, i64>(convert(f64::INFINITY))),
        };
        *out = T::from_int(total);
    }
}

fn squares(values: impl Iterator<Item = i64>) -> i64 {
    values.fold(0_i64, |a, x| a.wrapping_add(x.wrapping_mul(x)))
}
