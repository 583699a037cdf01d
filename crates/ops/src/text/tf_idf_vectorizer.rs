//! `TfIdfVectorizer`: how often each n-gram of a pool of integers occurs in a row, skips between its members allowed.
//!
//! Pools of strings are typed but not evaluated. A weight belongs to a column of the output, as the reference
//! implementation of ONNX has it. Spec: <https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html>.

use crate::attributes::{INT, INTS, OTHER, TEXT};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::view::one;
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attr, Attrs, DType, Dim, Tensor, TensorType};
use std::collections::BTreeMap;

static SCHEMA: Schema = Schema::onnx("TfIdfVectorizer", &[9], (1, 1), (1, 1)).with(&[
    ("max_gram_length", INT),
    ("max_skip_count", INT),
    ("min_gram_length", INT),
    ("mode", TEXT),
    ("ngram_counts", INTS),
    ("ngram_indexes", INTS),
    ("pool_int64s", INTS),
    ("pool_strings", OTHER),
    ("weights", OTHER),
]);

pub(crate) struct TfIdfVectorizer;

fn wrong(name: &str, expected: &str) -> InferError {
    InferError::Attribute { name: name.into(), expected: expected.into() }
}

fn count(attrs: &Attrs, name: &str, least: i64) -> Result<usize, InferError> {
    let value = attrs.int(name).filter(|value| *value >= least);
    let size = value.and_then(|value| usize::try_from(value).ok());
    size.ok_or_else(|| wrong(name, &format!("an integer of at least {least}")))
}

/// Columns of the output: one more than the largest index.
fn columns(attrs: &Attrs) -> Result<usize, InferError> {
    let refused = || wrong("ngram_indexes", "one or more indices of output columns, none of them negative");
    let indices = attrs.ints("ngram_indexes").ok_or_else(refused)?;
    let largest = indices.iter().all(|index| *index >= 0).then(|| indices.iter().max()).flatten();
    let columns = largest.and_then(|largest| usize::try_from(*largest).ok()?.checked_add(1));
    columns.ok_or_else(refused)
}

/// Column of each n-gram. Of one that is listed twice the last column counts.
type Pool<'a> = BTreeMap<&'a [i64], usize>;

/// The n-grams of the lengths asked for.
fn pool(attrs: &Attrs, least: usize, most: usize) -> Result<Pool<'_>, InferError> {
    let items = attrs.ints("pool_int64s").ok_or_else(|| wrong("pool_int64s", "n-grams of integers"))?;
    let indices = attrs.ints("ngram_indexes").unwrap_or(&[]);
    let starts = attrs.ints("ngram_counts").ok_or_else(|| wrong("ngram_counts", "integers"))?;
    let refused = || wrong("ngram_counts", "ascending starts of the 1-grams, 2-grams, … in the pool");
    let (mut pool, mut number) = (Pool::new(), 0);
    for (at, start) in starts.iter().enumerate() {
        let length = at + 1;
        let end = starts.get(length).map_or(Some(items.len()), |end| usize::try_from(*end).ok());
        let start = usize::try_from(*start).ok();
        let range = start.zip(end).map(|(start, end)| start..end).ok_or_else(refused)?;
        let grams =
            items.get(range).filter(|grams| grams.len().is_multiple_of(length)).ok_or_else(refused)?;
        for gram in grams.chunks_exact(length) {
            let column = indices.get(number).and_then(|index| usize::try_from(*index).ok());
            let column = column.ok_or_else(|| wrong("ngram_indexes", "a column for each n-gram"))?;
            if (least..=most).contains(&length) {
                pool.insert(gram, column);
            }
            number += 1;
        }
    }
    Ok(pool)
}

/// Adds to `counts` what a row holds. Single items are counted once, whatever the skips.
fn scan(row: &[i64], pool: &Pool<'_>, least: usize, skips: usize, counts: &mut [u64]) {
    let most = pool.keys().map(|gram| gram.len()).max().unwrap_or(0);
    let mut gram = Vec::with_capacity(most.min(row.len()));
    for step in 1..=row.len().min(skips.saturating_add(1)) {
        let least = if step == 1 { least } else { least.max(2) };
        if least > most {
            return;
        }
        for start in 0..row.len() {
            gram.clear();
            for item in row[start..].iter().step_by(step).take(most) {
                gram.push(*item);
                if let Some(column) = pool.get(&gram[..]).filter(|_| gram.len() >= least) {
                    counts[*column] += 1;
                }
            }
        }
    }
}

/// What a count becomes in its column.
fn weigh<'a>(attrs: &'a Attrs, columns: usize) -> Result<impl Fn(usize, u64) -> f32 + 'a, InferError> {
    let weights: &[f32] = match attrs.get("weights") {
        Some(Attr::Floats(weights)) if weights.len() >= columns => weights,
        Some(Attr::Floats(weights)) if weights.is_empty() => &[],
        Some(_) => return Err(wrong("weights", &format!("a float for each of {columns} columns"))),
        None => &[],
    };
    let (weighs, once) = match attrs.str("mode") {
        Some("TF") => (false, false),
        Some("IDF") => (true, true),
        Some("TFIDF") => (true, false),
        _ => return Err(wrong("mode", "TF, IDF or TFIDF")),
    };
    Ok(move |column: usize, count: u64| {
        let count = if once { count.min(1) } else { count } as f32;
        if weighs { weights.get(column).map_or(count, |weight| weight * count) } else { count }
    })
}

impl Op for TfIdfVectorizer {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let expected = "i32, i64 or a string";
        if let Some(found) = cx.dtype(0)?.filter(|t| !matches!(t, DType::I32 | DType::I64 | DType::String)) {
            return Err(InferError::DType { index: 0, expected: expected.into(), found });
        }
        let columns = Dim::known(columns(cx.attrs)? as i64);
        let ty = match cx.tensor(0).and_then(|x| x.shape.as_deref()) {
            None => TensorType::unranked(DType::F32),
            Some([] | [_]) => TensorType::new(DType::F32, [columns]),
            Some([rows, _]) => TensorType::new(DType::F32, [rows.clone(), columns]),
            Some(shape) => {
                return Err(InferError::shape(format!("the input must be [C] or [N, C], it is {shape:?}")));
            }
        };
        Ok(vec![ty.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let items = x.integers().ok_or_else(|| EvalError::unsupported("n-grams of strings"))?;
        let (rows, mut shape) = match x.shape() {
            [] | [_] => (1, vec![]),
            [rows, _] => (*rows, vec![*rows]),
            shape => {
                return Err(EvalError::value(format!("the input must be [C] or [N, C], it is {shape:?}")));
            }
        };
        let columns = columns(cx.attrs)?;
        let (least, most) = (count(cx.attrs, "min_gram_length", 1)?, count(cx.attrs, "max_gram_length", 1)?);
        let skips = count(cx.attrs, "max_skip_count", 0)?;
        let pool = pool(cx.attrs, least, most)?;
        let weigh = weigh(cx.attrs, columns)?;
        shape.push(columns);
        let mut result: Vec<f32> = Vec::with_capacity(checked_count(DType::U64, &shape)?);
        let mut counts = vec![0u64; checked_count(DType::U64, &[columns])?];
        for row in 0..rows {
            let length = items.len() / rows;
            counts.fill(0);
            scan(&items[row * length..(row + 1) * length], &pool, least, skips, &mut counts);
            result.extend(counts.iter().enumerate().map(|(column, count)| weigh(column, *count)));
        }
        one(Tensor::from_vec(shape, result)?)
    }

    /// What a row is compared with depends on the data: an upper bound without skips.
    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.input_elements(0) + shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    /// 2, 3, 5 and 4 as single items; the pairs 5 6, 7 8 and 6 7.
    fn attrs(mode: &str, lengths: (i64, i64), skips: i64) -> Attrs {
        Attrs::new()
            .with("mode", mode)
            .with("min_gram_length", lengths.0)
            .with("max_gram_length", lengths.1)
            .with("max_skip_count", skips)
            .with("ngram_counts", vec![0i64, 4])
            .with("ngram_indexes", vec![0i64, 1, 2, 3, 4, 5, 6])
            .with("pool_int64s", vec![2i64, 3, 5, 4, 5, 6, 7, 8, 6, 7])
    }

    fn counts(attrs: &Attrs, shape: &[usize], row: &[i32]) -> Vec<f64> {
        run(&TfIdfVectorizer, attrs, &[t(shape, row)]).floats().unwrap()
    }

    const ROW: [i32; 12] = [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8];

    #[test]
    fn pairs_and_single_items_are_counted_with_skips() {
        assert_eq!(counts(&attrs("TF", (2, 2), 0), &[12], &ROW), [0., 0., 0., 0., 1., 1., 1.]);
        assert_eq!(counts(&attrs("TF", (2, 2), 5), &[12], &ROW), [0., 0., 0., 0., 1., 3., 1.]);
        assert_eq!(counts(&attrs("TF", (1, 2), 5), &[12], &ROW), [0., 3., 1., 0., 1., 3., 1.]);
        assert_eq!(
            counts(&attrs("TF", (2, 2), 5), &[2, 6], &ROW),
            [0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1.]
        );
        let endless = attrs("TF", (1, 2), i64::MAX);
        assert_eq!(counts(&endless, &[0], &[]), [0.; 7]);
        assert_eq!(counts(&endless, &[0, 3], &[]), []);
        assert_eq!(counts(&endless, &[], &[2]), [1., 0., 0., 0., 0., 0., 0.]);
    }

    #[test]
    fn weights_belong_to_columns() {
        let weights = Attr::Floats(vec![1.0, 0.5, 1.0, 1.0, 1.0, 2.0, 1.0]);
        let of = |mode: &str| counts(&attrs(mode, (1, 2), 5).with("weights", weights.clone()), &[12], &ROW);
        assert_eq!(of("TFIDF"), [0., 1.5, 1., 0., 1., 6., 1.]);
        assert_eq!(of("IDF"), [0., 0.5, 1., 0., 1., 2., 1.]);
        assert_eq!(of("TF"), [0., 3., 1., 0., 1., 3., 1.]);
        assert_eq!(counts(&attrs("IDF", (1, 2), 5), &[12], &ROW), [0., 1., 1., 0., 1., 1., 1.]);
    }

    #[test]
    fn pools_that_do_not_fit_are_refused() {
        let x = t(&[2], &[1i64, 2]);
        let says = |attrs: Attrs, part: &str| {
            let message = refusal(&TfIdfVectorizer, &attrs, std::slice::from_ref(&x));
            assert!(message.contains(part), "{message}");
        };
        says(attrs("TF", (1, 2), 0).with("ngram_counts", vec![0i64, 3]), "ngram_counts");
        says(attrs("TF", (1, 2), 0).with("ngram_counts", vec![0i64, 40]), "ngram_counts");
        says(attrs("TF", (1, 2), 0).with("ngram_indexes", vec![0i64]), "ngram_indexes");
        says(attrs("TF", (1, 2), 0).with("ngram_indexes", vec![0i64, -1]), "ngram_indexes");
        says(attrs("TF", (1, 2), -1), "max_skip_count");
        says(attrs("T", (1, 2), 0), "mode");
        says(attrs("TF", (1, 2), 0).with("weights", Attr::Floats(vec![1.0])), "weights");
        let strings = Tensor::from_strings(vec![1], vec![b"a".to_vec()]).unwrap();
        let message = refusal(&TfIdfVectorizer, &attrs("TF", (1, 2), 0), &[strings]);
        assert!(message.contains("n-grams of strings"), "{message}");
    }
}
