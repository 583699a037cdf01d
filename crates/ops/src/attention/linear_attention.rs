//! `LinearAttention`: attention through a matrix-valued state per head, which each token decays, corrects and adds to.
//!
//! Decay is given as its logarithm, per head or per element of the key; query heads share the state of a key head.
//! Spec: <https://onnx.ai/onnx/operators/onnx__LinearAttention.html>.

use crate::attributes::{INT, float, int, text};
use crate::inference::{FLOATS, expect, expect_same};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::view::{from_f64, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, Tensor, TensorType};
use ndarray::{ArrayD, IxDyn};

static SCHEMA: Schema = Schema::onnx("LinearAttention", &[27], (3, 6), (2, 2)).with(&[
    ("chunk_size", int(64)),
    ("kv_num_heads", INT),
    ("q_num_heads", INT),
    ("scale", float(0.0)),
    ("update_rule", text("gated_delta")),
]);

pub(crate) struct LinearAttention;

struct Options {
    queries: usize,
    heads: usize,
    decays: bool,
    corrects: bool,
}

fn options(attrs: &Attrs) -> Result<Options, InferError> {
    let wrong =
        |name: &str, expected: &str| InferError::Attribute { name: name.into(), expected: expected.into() };
    let count = |name: &str| {
        let count = attrs.int(name).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
        count.ok_or_else(|| wrong(name, "given and positive"))
    };
    let (queries, heads) = (count("q_num_heads")?, count("kv_num_heads")?);
    if queries % heads != 0 {
        return Err(wrong("q_num_heads", "a multiple of kv_num_heads"));
    }
    let (decays, corrects) = match attrs.str("update_rule").unwrap_or("gated_delta") {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        _ => return Err(wrong("update_rule", "linear, gated, delta or gated_delta")),
    };
    Ok(Options { queries, heads, decays, corrects })
}

/// Rows of `[batch, tokens, width]`.
struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    /// Reads an input with the given batch and tokens.
    fn read(tensor: &Tensor, name: &str, tokens: [usize; 2]) -> Result<Self, EvalError> {
        match tensor.shape() {
            [batch, count, width] if [*batch, *count] == tokens => {
                Ok(Self { values: to_f64(tensor)?.into_iter().collect(), width: *width })
            }
            found => {
                let [batch, count] = tokens;
                let reason = format!("{name} must have shape [{batch}, {count}, …], found {found:?}");
                Err(EvalError::value(reason))
            }
        }
    }

    /// Head `head` of `heads` in a row.
    fn head(&self, row: usize, head: usize, heads: usize) -> &[f64] {
        let width = self.width / heads;
        &self.values[row * self.width + head * width..][..width]
    }
}

/// One token's write into the state `[keys, values]` of a head.
fn update(state: &mut [f64], key: &[f64], value: &[f64], decay: Option<&[f64]>, rate: Option<f64>) {
    let width = value.len();
    if let Some(decay) = decay {
        for (index, row) in state.chunks_exact_mut(width).enumerate() {
            let factor = decay[index % decay.len()].exp();
            row.iter_mut().for_each(|cell| *cell *= factor);
        }
    }
    let mut written = value.to_vec();
    if let Some(rate) = rate {
        for (column, value) in written.iter_mut().enumerate() {
            let known: f64 = key.iter().enumerate().map(|(row, key)| state[row * width + column] * key).sum();
            *value = rate * (*value - known);
        }
    }
    for (row, key) in state.chunks_exact_mut(width).zip(key) {
        row.iter_mut().zip(&written).for_each(|(cell, value)| *cell += key * value);
    }
}

/// An input that the update rule needs, or that it must not have.
fn gate(
    cx: &Eval<'_>,
    index: usize,
    name: &str,
    is_needed: bool,
    tokens: [usize; 2],
) -> Result<Option<Rows>, EvalError> {
    match (cx.optional(index)?, is_needed) {
        (Some(tensor), true) => Rows::read(tensor, name, tokens).map(Some),
        (None, false) => Ok(None),
        (Some(_), false) => Err(EvalError::value(format!("this update rule takes no {name}"))),
        (None, true) => Err(EvalError::value(format!("this update rule needs {name}"))),
    }
}

impl Op for LinearAttention {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let options = options(cx.attrs)?;
        expect(cx, 0, FLOATS)?;
        [1, 2, 4, 5].into_iter().try_for_each(|index| expect_same(cx, 0, index))?;
        let Some(query) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let axes = |index: usize| match cx.tensor(index).and_then(|ty| ty.shape.as_deref()) {
            Some(shape) if shape.len() != 3 => {
                Err(InferError::shape(format!("input {index} must have three axes, its shape is {shape:?}")))
            }
            shape => Ok(shape),
        };
        let (query_shape, value_shape) = (axes(0)?, axes(2)?);
        axes(1)?;
        let (queries, heads) = (Dim::known(options.queries as i64), Dim::known(options.heads as i64));
        let fresh = || (cx.fresh)();
        let size = |axis: usize| query_shape.map_or_else(fresh, |shape| shape[axis].clone());
        let values = value_shape.map_or_else(fresh, |shape| shape[2].floor_div(&heads));
        let keys = query_shape.map_or_else(fresh, |shape| shape[2].floor_div(&queries));
        let output = TensorType::new(query.dtype, [size(0), size(1), queries.mul(&values)]);
        let state = match (cx.tensor(3), cx.input(3)) {
            (Some(past), _) => TensorType::new(past.dtype, [size(0), heads, keys, values]).into(),
            (None, None) => TensorType::new(query.dtype, [size(0), heads, keys, values]).into(),
            (None, Some(_)) => Inferred::default(),
        };
        Ok([output.into(), state].into_iter().take(cx.outputs).collect())
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let Options { queries, heads, decays, corrects } = options(cx.attrs)?;
        let query = cx.tensor(0)?;
        let &[batch, count, _] = query.shape() else {
            return Err(EvalError::value(format!(
                "query must have three axes, its shape is {:?}",
                query.shape()
            )));
        };
        let tokens = [batch, count];
        let q = Rows::read(query, "query", tokens)?;
        let (k, v) = (Rows::read(cx.tensor(1)?, "key", tokens)?, Rows::read(cx.tensor(2)?, "value", tokens)?);
        let (keys, values) = (q.width / queries, v.width / heads);
        if q.width % queries != 0 || v.width % heads != 0 || k.width != heads * keys {
            let reason = format!(
                "widths {}, {} and {} do not split into {queries} query and {heads} key heads",
                q.width, k.width, v.width
            );
            return Err(EvalError::value(reason));
        }
        let decay = gate(cx, 4, "decay", decays, tokens)?;
        let beta = gate(cx, 5, "beta", corrects, tokens)?;
        let fits = decay.as_ref().is_none_or(|d| d.width == heads || d.width == heads * keys)
            && beta.as_ref().is_none_or(|b| b.width == heads || b.width == 1);
        if !fits {
            return Err(EvalError::value(
                "decay or beta has neither a value per head nor another allowed width",
            ));
        }
        let state_shape = [batch, heads, keys, values];
        let mut state = match cx.optional(3)? {
            None => vec![0f64; checked_count(DType::F64, &state_shape)?],
            Some(past) if past.shape() == state_shape => to_f64(past)?.into_iter().collect(),
            Some(past) => {
                let found = past.shape();
                let reason = format!("past_state must have shape {state_shape:?}, found {found:?}");
                return Err(EvalError::value(reason));
            }
        };
        let scale = match f64::from(cx.attrs.float_or("scale", 0.0)) {
            0.0 => 1.0 / (keys as f64).sqrt(),
            scale => scale,
        };
        let shape = [batch, count, queries * values];
        let mut output = Vec::with_capacity(checked_count(DType::F64, &shape)?);
        for row in 0..batch * count {
            let states = &mut state[row / count * heads * keys * values..][..heads * keys * values];
            for head in 0..heads {
                let rate =
                    beta.as_ref().map(|b| b.head(row, if b.width == 1 { 0 } else { head }, b.width)[0]);
                let decay = decay.as_ref().map(|d| d.head(row, head, heads));
                let state = &mut states[head * keys * values..][..keys * values];
                if values > 0 {
                    update(state, k.head(row, head, heads), v.head(row, head, heads), decay, rate);
                }
            }
            for (head, column) in (0..queries).flat_map(|head| (0..values).map(move |column| (head, column)))
            {
                let state = &states[head / (queries / heads) * keys * values..][..keys * values];
                let query = q.head(row, head, queries).iter().enumerate();
                output.push(scale * query.map(|(at, q)| q * state[at * values + column]).sum::<f64>());
            }
        }
        let dtype = cx.optional(3)?.map_or(query.dtype(), Tensor::dtype);
        let output = from_f64(query.dtype(), &ArrayD::from_shape_vec(IxDyn(&shape), output)?)?;
        let state = from_f64(dtype, &ArrayD::from_shape_vec(IxDyn(&state_shape), state)?)?;
        Ok(vec![output.into(), state.into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let keys = shapes.attrs.int("q_num_heads").map_or(1.0, |heads| heads.max(1) as f64);
        let keys = shapes.input(0).and_then(|sizes| sizes.last().copied()).unwrap_or(0.0) / keys;
        8.0 * keys * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run_all, t};

    fn attrs(rule: &str) -> Attrs {
        Attrs::new()
            .with("q_num_heads", 2)
            .with("kv_num_heads", 1)
            .with("update_rule", rule)
            .with("scale", 1f32)
    }

    fn inputs(decay: Option<&[f32]>, beta: Option<&[f32]>) -> Vec<Option<Tensor>> {
        let gate = |values: Option<&[f32]>| values.map(|values| t(&[1, 2, 1], values));
        vec![
            Some(t(&[1, 2, 2], &[1f32, 2., 3., 4.])),
            Some(t(&[1, 2, 1], &[1f32, 2.])),
            Some(t(&[1, 2, 1], &[5f32, 7.])),
            Some(t(&[1, 1, 1, 1], &[10f32])),
            gate(decay),
            gate(beta),
        ]
    }

    #[test]
    fn rules_of_update() {
        let ln_half = 0.5f32.ln();
        let run = |rule: &str, inputs: &[Option<Tensor>]| {
            run_all(&LinearAttention, &attrs(rule), inputs, 2).unwrap()
        };
        // State: 10 → 15 → 29.
        let found = run("linear", &inputs(None, None));
        close(&found[0], &[15., 30., 87., 116.]);
        close(&found[1], &[29.]);
        // 10 → 10 → 19.
        close(&run("gated", &inputs(Some(&[ln_half, ln_half]), None))[1], &[19.]);
        // 10 + 0.5 (5 - 10) = 7.5, 7.5 + 2 · 0.25 (7 - 15) = 3.5.
        close(&run("delta", &inputs(None, Some(&[0.5, 0.25])))[1], &[3.5]);
        // 5 + 0.5 (5 - 5) = 5, 2.5 + 2 · 0.25 (7 - 5) = 3.5.
        close(&run("gated_delta", &inputs(Some(&[ln_half, ln_half]), Some(&[0.5, 0.25])))[1], &[3.5]);
    }

    #[test]
    fn gates_must_fit_the_rule() {
        let all: Vec<Tensor> = inputs(None, None).into_iter().flatten().collect();
        assert_eq!(refusal(&LinearAttention, &attrs("gated"), &all), "this update rule needs decay");
        assert!(refusal(&LinearAttention, &Attrs::new(), &all).contains("\"q_num_heads\" must be given"));
    }
}
