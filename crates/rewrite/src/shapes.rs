//! Arithmetic of shapes that movement rules rest on: which axes a Reshape splits and joins, what a constant can tell
//! Reshape, and when an operand broadcasts without enlarging the other.

use fusebox_ir::Dim;
use std::collections::BTreeSet;

/// A factor that two shapes of equal product share, with the axis of each that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Factor {
    /// Its size, never 1.
    pub size: Dim,
    /// Axis in the first shape.
    pub from: usize,
    /// Axis in the second shape.
    pub to: usize,
}

/// The common refinement of two shapes; `None` when sizes do not divide each other or are zero.
pub(crate) fn refine(from: &[Dim], to: &[Dim]) -> Option<Vec<Factor>> {
    let one = Dim::known(1);
    let mut factors = Vec::new();
    let (mut i, mut j, mut left, mut right) = (0, 0, 0, 0);
    let (mut a, mut b) = (one.clone(), one.clone());
    loop {
        while a == one && i < from.len() {
            (a, left, i) = (from[i].clone(), i, i + 1);
        }
        while b == one && j < to.len() {
            (b, right, j) = (to[j].clone(), j, j + 1);
        }
        if a == one && b == one {
            return Some(factors);
        }
        let zero = |d: &Dim| d.value().is_some_and(|v| v <= 0);
        if a == one || b == one || zero(&a) || zero(&b) {
            return None;
        }
        let size = if let Some(rest) = a.exact_div(&b) {
            a = rest;
            std::mem::replace(&mut b, one.clone())
        } else {
            b = b.exact_div(&a)?;
            std::mem::replace(&mut a, one.clone())
        };
        factors.push(Factor { size, from: left, to: right });
    }
}

/// For `y = Reshape(Transpose[perm](x))`: the shape to give x and the permutation to apply to that, so that y is
/// `Transpose[perm'](Reshape(x, shape'))`, and whether that is y itself or y still needs a Reshape that joins axes.
/// `None` when x would keep its shape or the axes do not factor.
pub(crate) fn before_transpose(x: &[Dim], perm: &[usize], y: &[Dim]) -> Option<(Vec<Dim>, Vec<usize>, bool)> {
    let transposed: Vec<Dim> = perm.iter().map(|axis| x.get(*axis).cloned()).collect::<Option<_>>()?;
    let factors = refine(&transposed, y)?;
    // In the order of y; an axis of size 1 is a factor of its own that belongs to no axis of x.
    let mut ordered: Vec<(Dim, Option<usize>)> = Vec::new();
    let mut exact = true;
    for axis in 0..y.len() {
        let mine: Vec<&Factor> = factors.iter().filter(|f| f.to == axis).collect();
        exact &= mine.len() <= 1;
        if mine.is_empty() {
            ordered.push((Dim::known(1), None));
        }
        ordered.extend(mine.into_iter().map(|f| (f.size.clone(), Some(perm[f.from]))));
    }
    let mut source: Vec<usize> = (0..ordered.len()).collect();
    source.sort_by_key(|index| ordered[*index].1);
    let shape: Vec<Dim> = source.iter().map(|index| ordered[*index].0.clone()).collect();
    let perm =
        (0..ordered.len()).map(|index| source.iter().position(|s| *s == index)).collect::<Option<_>>()?;
    (shape != x).then_some((shape, perm, exact))
}

/// For `y = Reshape(Transpose[perm](Reshape(x)))`, where the inner Reshape gives shape `inner`: the coarsest shape for
/// x, and the permutation behind it, with which y is again `Reshape(Transpose[perm'](Reshape(x, shape')))`. Axes of x
/// are split only where the permutation or y tears them apart. `None` when nothing becomes simpler.
pub(crate) fn around_transpose(
    x: &[Dim],
    inner: &[Dim],
    perm: &[usize],
    y: &[Dim],
) -> Option<(Vec<Dim>, Vec<usize>)> {
    let first = refine(x, inner)?;
    // Factors in transposed order: size, position in x's order, axis of x.
    let mut transposed: Vec<(Dim, usize, usize)> = Vec::new();
    for axis in perm {
        let mine = first.iter().enumerate().filter(|(_, f)| f.to == *axis);
        transposed.extend(mine.map(|(position, f)| (f.size.clone(), position, f.from)));
    }
    let sizes: Vec<Dim> = transposed.iter().map(|t| t.0.clone()).collect();
    let mut pieces: Vec<(Dim, (usize, usize), usize)> = Vec::new();
    for (index, factor) in refine(&sizes, y)?.into_iter().enumerate() {
        let (_, position, axis) = &transposed[factor.from];
        pieces.push((factor.size, (*position, index), *axis));
    }
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|p| pieces[*p].1);
    // Runs of x's order that stay together inside one axis of x.
    let mut blocks: Vec<(Dim, usize)> = Vec::new();
    for (index, piece) in order.iter().enumerate() {
        let follows =
            index > 0 && order[index - 1] + 1 == *piece && pieces[order[index - 1]].2 == pieces[*piece].2;
        match blocks.last_mut().filter(|_| follows) {
            Some((size, _)) => *size = size.mul(&pieces[*piece].0),
            None => blocks.push((pieces[*piece].0.clone(), *piece)),
        }
    }
    let shape: Vec<Dim> = blocks.iter().map(|b| b.0.clone()).collect();
    let mut perm: Vec<usize> = (0..blocks.len()).collect();
    perm.sort_by_key(|b| blocks[*b].1);
    let wide: Vec<usize> = (0..x.len()).filter(|axis| x[*axis].value() != Some(1)).collect();
    if wide.len() == shape.len() && wide.iter().zip(&shape).all(|(axis, size)| x[*axis] == *size) {
        // x as it is: its axes of size 1 go first.
        let ones = (0..x.len()).filter(|axis| !wide.contains(axis));
        return Some((x.to_vec(), ones.chain(perm.iter().map(|block| wide[*block])).collect()));
    }
    let plain = inner.iter().filter(|d| d.value() != Some(1)).count();
    let simpler = blocks.len() < plain || inner.len() > plain;
    (simpler && shape != inner).then_some((shape, perm))
}

/// For a slice of `y = Reshape(x)` along `axis`: the axis of x that holds the same elements and by what the bounds are
/// to be multiplied. The axis of y must be the outermost of what its axis of x was split into.
pub(crate) fn slice_before_reshape(x: &[Dim], y: &[Dim], axis: usize) -> Option<(usize, i64)> {
    let factors = refine(x, y)?;
    let mine: Vec<&Factor> = factors.iter().filter(|f| f.to == axis).collect();
    let [only] = mine.as_slice() else { return None };
    let siblings: Vec<&Factor> = factors.iter().filter(|f| f.from == only.from).collect();
    if siblings.first()?.to != axis {
        return None;
    }
    let inner = siblings.iter().skip(1).map(|f| f.size.value()).try_fold(1i64, |p, v| p.checked_mul(v?))?;
    Some((only.from, inner))
}

/// The constant that tells Reshape (with `allowzero` = 0) how to get `to` from a tensor of shape `from`: 0 keeps a
/// size, one -1 is computed. `None` when two sizes would have to be computed.
pub(crate) fn reshape_constant(from: &[Dim], to: &[Dim]) -> Option<Vec<i64>> {
    let mut computed = 0;
    let each = to.iter().enumerate().map(|(axis, dim)| match dim.value() {
        Some(0) => None,
        Some(value) => Some(value),
        None if from.get(axis) == Some(dim) => Some(0),
        None => {
            computed += 1;
            Some(-1)
        }
    });
    let constant: Vec<i64> = each.collect::<Option<_>>()?;
    (computed <= 1).then_some(constant)
}

/// Whether a tensor of shape `small` can be broadcast against one of shape `large` in a valid program without
/// enlarging it, when that is known.
pub(crate) fn broadcasts(small: &[Dim], large: &[Dim]) -> Option<bool> {
    if small.len() > large.len() {
        let (extra, rest) = small.split_at(small.len() - large.len());
        return match extra.iter().all(|d| d.value() == Some(1)) {
            // Leading axes of size 1 raise the rank.
            true => Some(false),
            false => broadcasts(rest, large).map(|_| false),
        };
    }
    let pairs = small.iter().rev().zip(large.iter().rev());
    let mut known = Some(true);
    for (s, l) in pairs {
        match never_enlarges(s, l) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => known = None,
        }
    }
    known
}

fn never_enlarges(small: &Dim, large: &Dim) -> Option<bool> {
    if small == large || small.value() == Some(1) {
        return Some(true);
    }
    match (small.value(), large.value()) {
        (Some(_), Some(_)) => Some(false),
        // A valid program broadcasts only 1 or the same size against a size other than 1.
        (None, Some(size)) if size != 1 => Some(true),
        _ => {
            let name = large.as_symbol()?;
            let alone = small.substitute(&|symbol| (symbol == name).then(|| Dim::known(1)));
            (alone.value() == Some(1)).then_some(true)
        }
    }
}

/// An Einsum equation over two operands as one product of matrices: the perm that brings the first to `[batch, row,
/// inner]`, the second to `[batch, inner, column]`, and `[batch, row, column]` to the result; then the axes of the first
/// and of the second operand, in one order, that carry the labels of both. One label is summed, one is the column, and
/// one the row; without a batch there may be more or none. An ellipsis is not looked into.
pub(crate) fn contraction(equation: &str) -> Option<[Vec<usize>; 5]> {
    let plain: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = plain.split_once("->")?;
    let (left, right) = inputs.split_once(',')?;
    let is_plain = |side: &&str| {
        let labels: BTreeSet<char> = side.chars().collect();
        labels.len() == side.len() && labels.iter().all(char::is_ascii_alphabetic)
    };
    if ![left, right, output].iter().all(is_plain) {
        return None;
    }
    let (batch, rows): (Vec<char>, Vec<char>) =
        output.chars().filter(|c| left.contains(*c)).partition(|c| right.contains(*c));
    let columns: Vec<char> = output.chars().filter(|c| !left.contains(*c)).collect();
    let inner: Vec<char> = left.chars().filter(|c| !output.contains(*c)).collect();
    let ([column], [summed]) = (columns.as_slice(), inner.as_slice()) else { return None };
    let is_product = rows.len() == 1 || batch.is_empty();
    if !is_product || left.len() != batch.len() + rows.len() + 1 || right.len() != batch.len() + 2 {
        return None;
    }
    let axes = |of: &str, order: &[&[char]]| -> Option<Vec<usize>> {
        order.concat().into_iter().map(|label| of.find(label)).collect()
    };
    let product: String = [&batch[..], &rows, &[*column]].concat().into_iter().collect();
    let result: Vec<char> = output.chars().collect();
    Some([
        axes(left, &[&batch, &rows, &[*summed]])?,
        axes(right, &[&batch, &[*summed, *column]])?,
        axes(&product, &[&result])?,
        axes(left, &[&batch, &[*summed]])?,
        axes(right, &[&batch, &[*summed]])?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &str) -> Vec<Dim> {
        let dim = |t: &str| match t.trim().split_once('*') {
            Some((n, s)) => Dim::known(n.parse().unwrap()).mul(&Dim::symbol(s)),
            None => t.trim().parse().map_or_else(|_| Dim::symbol(t.trim()), Dim::known),
        };
        text.split(',').map(dim).collect()
    }

    #[test]
    fn heads_of_multi_head_attention_factor() {
        let factors = refine(&dims("s,8*b,16"), &dims("s,b,128")).unwrap();
        let found: Vec<String> = factors.iter().map(|f| format!("{}:{}>{}", f.size, f.from, f.to)).collect();
        assert_eq!(found, ["s:0>0", "b:1>1", "8:1>2", "16:2>2"]);
        assert_eq!(refine(&dims("6"), &dims("4,2")), None);
    }

    #[test]
    fn a_split_moves_before_a_transpose() {
        // K transposed through rank 3, as torch exports scaled_dot_product_attention.
        let (shape, perm, exact) =
            before_transpose(&dims("12*b,s,64"), &[0, 2, 1], &dims("b,12,64,s")).unwrap();
        assert_eq!((shape, perm, exact), (dims("b,12,s,64"), vec![0, 1, 3, 2], true));
        let (shape, perm, exact) =
            before_transpose(&dims("6,1500,64"), &[0, 2, 1], &dims("1,6,64,1500")).unwrap();
        assert_eq!((shape, perm, exact), (dims("1,6,1500,64"), vec![0, 1, 3, 2], true));
        assert_eq!(before_transpose(&dims("2,3,4"), &[1, 0, 2], &dims("3,8")), None);
    }

    #[test]
    fn heads_split_and_joined_again_are_not_split() {
        let (shape, perm) =
            around_transpose(&dims("b,s,128"), &dims("b,s,8,16"), &[1, 0, 2, 3], &dims("s,b,128")).unwrap();
        assert_eq!((shape, perm), (dims("b,s,128"), vec![1, 0, 2]));
        assert_eq!(around_transpose(&dims("b,s,8"), &dims("b,s,2,4"), &[0, 2, 1, 3], &dims("b,2,s,4")), None);
        let (shape, perm) =
            around_transpose(&dims("1,4,s,8"), &dims("4,s,8"), &[0, 2, 1], &dims("1,4,8,s")).unwrap();
        assert_eq!((shape, perm), (dims("1,4,s,8"), vec![0, 1, 3, 2]));
    }

    #[test]
    fn reshape_constants_and_slices() {
        assert_eq!(reshape_constant(&dims("b,s,128"), &dims("b,s,4,32")), Some(vec![0, 0, 4, 32]));
        assert_eq!(reshape_constant(&dims("s,b,128"), &dims("s,8*b,16")), Some(vec![0, -1, 16]));
        assert_eq!(reshape_constant(&dims("s,b,128"), &dims("b,s,128")), None);
        assert_eq!(slice_before_reshape(&dims("b,17,192"), &dims("b,17,3,4,16"), 2), Some((2, 64)));
        assert_eq!(slice_before_reshape(&dims("b,17,192"), &dims("b,17,3,4,16"), 3), None);
    }

    #[test]
    fn masks_that_cannot_enlarge_scores() {
        let clipped = Dim::symbol("s").smaller(&Dim::known(128));
        assert_eq!(broadcasts(&[clipped], &dims("s")), Some(true));
        assert_eq!(broadcasts(&dims("n"), &dims("s")), None);
        assert_eq!(broadcasts(&dims("n"), &dims("7")), Some(true));
        assert_eq!(broadcasts(&dims("b,1,1,s"), &dims("b,12,s,s")), Some(true));
        assert_eq!(broadcasts(&dims("5,1"), &dims("1")), Some(false));
        assert_eq!(broadcasts(&dims("1,1"), &dims("3")), Some(false));
    }

    #[test]
    fn equations_that_are_products() {
        let perms = |equation: &str| {
            let lists = contraction(equation)?;
            let digits = |axes: &Vec<usize>| axes.iter().map(usize::to_string).collect::<String>();
            Some(lists.iter().map(digits).collect::<Vec<_>>().join(" "))
        };
        for (equation, expected) in [
            ("B G H I D, B G H J D -> B G H I J", "01234 01243 01234 0124 0124"),
            ("bhij,bhjd->bhid", "0123 0123 0123 013 012"),
            ("bthd,bshd->bhts", "0213 0231 0123 023 023"),
            ("bhts,bshd->bthd", "0123 0213 0213 013 021"),
            ("ij,jk->ki", "01 01 10 1 0"),
            ("bsd,ed->bse", "012 10 012 2 1"),
            ("i,ij->j", "0 01 0 0 0"),
        ] {
            assert_eq!(perms(equation).as_deref(), Some(expected), "{equation}");
        }
        // A trace, an ellipsis, a sum of one operand alone, an outer product, two columns, two rows of a batch.
        for other in [
            "ii,ij->ij",
            "...ij,...jk->...ik",
            "bij->bi",
            "ijl,jk->ik",
            "ij,jkl->ik",
            "i,j->ij",
            "ij,jkl->ikl",
            "bijk,bkl->bijl",
            "ij,jk",
        ] {
            assert_eq!(contraction(other), None, "{other}");
        }
    }
}
