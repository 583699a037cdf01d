//! `Attention(q, k, v, mask?)`: `softmax(cap(scale·q·kᵀ) + mask)·v` per head. ai.fusebox, since 1.
//!
//! Attribute `layout`: `bhsd` (default) has q `[B, H, S, D]`, k `[B, KV, T, D]`, v `[B, KV, T, E]`, result
//! `[B, H, S, E]`; `bsd` has q `[B, S, H·D]`, k `[B, T, KV·D]`, v `[B, T, KV·E]`, result `[B, S, H·E]`. `q_heads` (H) and
//! `kv_heads` (KV) are required in `bsd`; where KV < H, query head `h` reads key head `h/(H/KV)`. `scale` is 1/√D by
//! default. `causal` = 1 lets query `i` see keys `j ≤ i` (aligned at the first key, as in ONNX Attention). `softcap` > 0
//! replaces scores `s` by `softcap·tanh(s/softcap)` before the mask. `nan_to_zero` = 1 makes 0 of softmax weights that
//! are NaN, as they are where every key of a query is hidden; by default such a row of the result is NaN. mask: bool (false hides) or of the type of q (added),
//! broadcastable to `[B, H, S, T]`.

use super::emit::Emit;
use super::epilogue::show;
use crate::attributes::{FLOAT, INT, float, int, text};
use crate::op::{Body, Infer, Inferred, Op, Schema};
use crate::{InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, Graph, OpName, Tensor, TensorType, Type, ValueId};

/// The operator.
pub struct Attention;

static SCHEMA: Schema = Schema::fusebox("Attention", (3, 4), (1, 1)).with(&[
    ("causal", int(0)),
    ("kv_heads", INT),
    ("layout", text("bhsd")),
    ("nan_to_zero", int(0)),
    ("q_heads", INT),
    ("scale", FLOAT),
    ("softcap", float(0.0)),
]);

/// Where heads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[batch, heads, sequence, depth]`.
    Bhsd,
    /// `[batch, sequence, heads·depth]`.
    Bsd,
}

/// Attributes of the operator with everything resolved that types can tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionAttrs {
    /// Where heads are.
    pub layout: Layout,
    /// Heads of q, when known (always in `bsd`).
    pub q_heads: Option<i64>,
    /// Heads of k and v, when known (always in `bsd`).
    pub kv_heads: Option<i64>,
    /// Factor of the scores; `None` when it is the default and D is not known.
    pub scale: Option<f32>,
    /// Whether query `i` sees only keys `j ≤ i`.
    pub causal: bool,
    /// Bound of the scores, 0 for none.
    pub softcap: f32,
    /// Whether weights that are NaN (all keys hidden) count as 0.
    pub nan_to_zero: bool,
}

impl AttentionAttrs {
    /// Reads the attributes; `q` and `k` are types of the first two inputs, as far as known.
    ///
    /// # Errors
    /// An unknown layout, head counts that are absent, not positive or do not divide each other.
    pub fn new(attrs: &Attrs, q: Option<&TensorType>, k: Option<&TensorType>) -> Result<Self, InferError> {
        let wrong = |name: &str, expected: &str| InferError::Attribute {
            name: name.into(),
            expected: expected.into(),
        };
        let layout = match attrs.get("layout").map(|_| attrs.str("layout")) {
            None | Some(Some("bhsd")) => Layout::Bhsd,
            Some(Some("bsd")) => Layout::Bsd,
            Some(_) => return Err(wrong("layout", "bhsd or bsd")),
        };
        let axis = |ty: Option<&TensorType>, axis: usize| ty?.shape.as_ref()?.get(axis)?.value();
        let heads = |name: &str, ty: Option<&TensorType>| match (attrs.int(name), layout) {
            (Some(count), _) if count < 1 => Err(wrong(name, "positive")),
            (Some(count), _) => Ok(Some(count)),
            (None, Layout::Bsd) => Err(wrong(name, "given, as the layout is bsd")),
            (None, Layout::Bhsd) => Ok(axis(ty, 1)),
        };
        let (q_heads, kv_heads) = (heads("q_heads", q)?, heads("kv_heads", k)?);
        if let (Some(q), Some(kv)) = (q_heads, kv_heads)
            && (kv < 1 || q % kv != 0)
        {
            return Err(wrong("q_heads", &format!("a multiple of kv_heads: {q} is none of {kv}")));
        }
        let depth = match layout {
            Layout::Bhsd => axis(q, 3),
            Layout::Bsd => axis(q, 2).zip(q_heads).map(|(width, heads)| width / heads),
        };
        let default = depth.filter(|d| *d > 0).map(|d| (1.0 / (d as f64).sqrt()) as f32);
        let (scale, softcap) = (attrs.float("scale").or(default), attrs.float_or("softcap", 0.0));
        let flag = |name: &str| attrs.int_or(name, 0) != 0;
        let (causal, nan_to_zero) = (flag("causal"), flag("nan_to_zero"));
        Ok(Self { layout, q_heads, kv_heads, scale, causal, softcap, nan_to_zero })
    }

    /// Query heads per key head; 1 when the counts are not known.
    pub fn group(&self) -> i64 {
        self.q_heads.zip(self.kv_heads).map_or(1, |(q, kv)| q / kv)
    }
}

impl Op for Attention {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let attrs = AttentionAttrs::new(cx.attrs, cx.tensor(0), cx.tensor(1))?;
        let Some(q) = cx.tensor(0) else { return Ok(vec![Inferred::default()]) };
        for index in [1, 2] {
            if let Some(found) = cx.dtype(index)?.filter(|d| *d != q.dtype) {
                return Err(InferError::DType { index, expected: q.dtype.to_string(), found });
            }
        }
        if let Some(found) = cx.tensor(3).map(|m| m.dtype).filter(|d| *d != q.dtype && *d != DType::Bool) {
            return Err(InferError::DType { index: 3, expected: format!("bool or {}", q.dtype), found });
        }
        let shape = |index: usize| cx.tensor(index).and_then(|ty| ty.shape.as_deref());
        match (shape(0), shape(1), shape(2)) {
            (Some(q_dims), Some(k), Some(v)) => {
                let output = output_shape(&attrs, q_dims, k, v)?;
                Ok(vec![TensorType::new(q.dtype, output).into()])
            }
            _ => Ok(vec![TensorType::unranked(q.dtype).into()]),
        }
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let ty = |index: usize| shapes.inputs.get(index).copied().flatten();
        let Ok(attrs) = AttentionAttrs::new(shapes.attrs, ty(0), ty(1)) else { return 0.0 };
        let (Some(q), Some(k)) = (shapes.input(0), shapes.input(1)) else { return 0.0 };
        let [.., keys, _] = k.as_slice() else { return 0.0 };
        let heads = attrs.q_heads.unwrap_or(1) as f64;
        let rows = match attrs.layout {
            Layout::Bhsd => q.iter().take(3).product(),
            Layout::Bsd => q.iter().take(2).product::<f64>() * heads,
        };
        // Two products, and one operation per score for the softmax.
        2.0 * keys * (shapes.input_elements(0) + shapes.output_elements(0)) + rows * keys
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let ty = |index: usize| cx.inputs.get(index).copied().flatten().and_then(Type::tensor);
        let attrs = AttentionAttrs::new(cx.attrs, ty(0), ty(1)).ok()?;
        let mut e = Emit::new(cx, &["q", "k", "v", "mask"])?;
        let y = emit_microsoft(&mut e, &attrs).or_else(|| emit_attention(&mut e, &attrs))?;
        Some(e.finish(&[y]))
    }
}

fn output_shape(attrs: &AttentionAttrs, q: &[Dim], k: &[Dim], v: &[Dim]) -> Result<Vec<Dim>, InferError> {
    let rank = if attrs.layout == Layout::Bhsd { 4 } else { 3 };
    if [q, k, v].iter().any(|shape| shape.len() != rank) {
        let reason = format!("q {}, k {}, v {} must have {rank} axes", show(q), show(k), show(v));
        return Err(InferError::shape(reason));
    }
    let differ = |a: &Dim, b: &Dim| a.value().is_some() && b.value().is_some() && a != b;
    let keys = rank - 2;
    if differ(&k[keys], &v[keys]) || differ(&q[0], &k[0]) || differ(&q[0], &v[0]) {
        let reason = format!("q {}, k {}, v {} differ in batch or number of keys", show(q), show(k), show(v));
        return Err(InferError::shape(reason));
    }
    if attrs.layout == Layout::Bhsd {
        if differ(&q[3], &k[3]) || differ(&k[1], &v[1]) {
            let reason = format!("q {}, k {}, v {} differ in depth or heads", show(q), show(k), show(v));
            return Err(InferError::shape(reason));
        }
        return Ok(vec![q[0].clone(), q[1].clone(), q[2].clone(), v[3].clone()]);
    }
    let (heads, kv_heads) = (attrs.q_heads.unwrap_or(1), attrs.kv_heads.unwrap_or(1));
    let divides = |width: &Dim, heads: i64| width.value().is_none_or(|width| width % heads == 0);
    if !divides(&q[2], heads) || !divides(&k[2], kv_heads) || !divides(&v[2], kv_heads) {
        let reason =
            format!("widths of q {}, k {}, v {} are no multiple of the heads", show(q), show(k), show(v));
        return Err(InferError::shape(reason));
    }
    let depth = |width: &Dim, heads: i64| width.value().map(|width| width / heads);
    if let (Some(a), Some(b)) = (depth(&q[2], heads), depth(&k[2], kv_heads))
        && a != b
    {
        return Err(InferError::shape(format!("q has depth {a} per head but k has {b}")));
    }
    let width = v[2].mul(&Dim::known(heads / kv_heads));
    Ok(vec![q[0].clone(), q[1].clone(), width])
}

/// com.microsoft MultiHeadAttention, where it means the same.
fn emit_microsoft(e: &mut Emit<'_>, attrs: &AttentionAttrs) -> Option<ValueId> {
    let heads = attrs.q_heads?;
    let is_plain = attrs.layout == Layout::Bsd && attrs.group() == 1 && attrs.softcap == 0.0;
    if !e.is_onnxruntime() || !is_plain || e.dtype != DType::F32 || attrs.causal || attrs.nan_to_zero {
        return None;
    }
    let (q, k, v) = (e.input(0)?, e.input(1)?, e.input(2)?);
    let node = Attrs::new().with("num_heads", heads).with("scale", attrs.scale?);
    let mask = match e.input(3) {
        None => None,
        Some(mask) => {
            // The operator wants all of [B or 1, H or 1, S, T] with the last two in full.
            let (q_ty, k_ty, m_ty) = (e.ty(0)?.shape.as_ref()?, e.ty(1)?.shape.as_ref()?, e.ty(3)?);
            let m = m_ty.shape.as_ref().filter(|m| m.len() == 4 && m_ty.dtype == DType::F32)?;
            let one = |dim: &Dim| dim.value() == Some(1);
            let fits = (m[0] == q_ty[0] || one(&m[0])) && (one(&m[1]) || m[1].value() == Some(heads));
            if !fits || m[2] != q_ty[1] || m[3] != k_ty[1] {
                return None;
            }
            Some(mask)
        }
    };
    let inputs = [Some(q), Some(k), Some(v), None, None, mask];
    let inputs = if mask.is_some() { &inputs[..] } else { &inputs[..3] };
    Some(e.b.node(OpName::new("com.microsoft", "MultiHeadAttention"), inputs, 1, node)[0])
}

fn emit_attention(e: &mut Emit<'_>, attrs: &AttentionAttrs) -> Option<ValueId> {
    let (mut q, mut k, mut v) = (e.input(0)?, e.input(1)?, e.input(2)?);
    if attrs.layout == Layout::Bsd {
        let (heads, kv_heads) = (attrs.q_heads?, attrs.kv_heads?);
        q = split_heads(e, q, heads);
        k = split_heads(e, k, kv_heads);
        v = split_heads(e, v, kv_heads);
    }
    if attrs.group() > 1 {
        k = repeat_heads(e, k, attrs.group());
        v = repeat_heads(e, v, attrs.group());
    }
    let keys = e.transpose(k, &[0, 1, 3, 2]);
    let scale = e.scalar(f64::from(attrs.scale?));
    let scaled = e.op("Mul", &[q, scale]);
    let mut scores = e.op("MatMul", &[scaled, keys]);
    scores = emit_softcap(e, scores, attrs.softcap);
    scores = emit_mask(e, scores);
    if attrs.causal {
        scores = emit_causal(e, scores, q, k);
    }
    let mut weights = e.op_with("Softmax", &[scores], Attrs::new().with("axis", -1));
    if attrs.nan_to_zero {
        let (is_nan, zero) = (e.op("IsNaN", &[weights]), e.scalar(0.0));
        weights = e.op("Where", &[is_nan, zero, weights]);
    }
    let y = e.op("MatMul", &[weights, v]);
    if attrs.layout == Layout::Bhsd {
        return Some(y);
    }
    let rows = e.transpose(y, &[0, 2, 1, 3]);
    Some(e.reshape(rows, &[0, 0, -1]))
}

/// `[B, S, H·D]` to `[B, H, S, D]`.
pub(crate) fn split_heads(e: &mut Emit<'_>, x: ValueId, heads: i64) -> ValueId {
    let split = e.reshape(x, &[0, 0, heads, -1]);
    e.transpose(split, &[0, 2, 1, 3])
}

/// `[B, KV, T, D]` to `[B, KV·group, T, D]`. The heads go last before they are merged, so that no size besides their
/// count needs to be known.
pub(crate) fn repeat_heads(e: &mut Emit<'_>, x: ValueId, group: i64) -> ValueId {
    let column = e.unsqueeze(x, &[2]);
    let shape = e.b.i64s(&[1, 1, group, 1, 1]);
    let repeated = e.op("Expand", &[column, shape]);
    let last = e.transpose(repeated, &[0, 3, 4, 1, 2]);
    let merged = e.reshape(last, &[0, 0, 0, -1]);
    e.transpose(merged, &[0, 3, 1, 2])
}

/// `cap·tanh(scores/cap)` where the cap is positive.
pub(crate) fn emit_softcap(e: &mut Emit<'_>, scores: ValueId, cap: f32) -> ValueId {
    if cap <= 0.0 {
        return scores;
    }
    let cap = e.scalar(f64::from(cap));
    let bounded = e.op("Div", &[scores, cap]);
    let bounded = e.op("Tanh", &[bounded]);
    e.op("Mul", &[bounded, cap])
}

fn emit_mask(e: &mut Emit<'_>, scores: ValueId) -> ValueId {
    let Some(mask) = e.input(3) else { return scores };
    if e.ty(3).is_some_and(|ty| ty.dtype == DType::Bool) {
        let hidden = e.scalar(f64::NEG_INFINITY);
        return e.op("Where", &[mask, scores, hidden]);
    }
    e.op("Add", &[scores, mask])
}

pub(crate) fn emit_causal(e: &mut Emit<'_>, scores: ValueId, q: ValueId, k: ValueId) -> ValueId {
    let (zero, one) = (e.b.constant(Tensor::scalar(0i64)), e.b.constant(Tensor::scalar(1i64)));
    let (rows, columns) = (e.size_of(q, 2), e.size_of(k, 2));
    let rows = e.op("Range", &[zero, rows, one]);
    let rows = e.unsqueeze(rows, &[1]);
    let columns = e.op("Range", &[zero, columns, one]);
    let is_later = e.op("Greater", &[columns, rows]);
    let hidden = e.scalar(f64::NEG_INFINITY);
    e.op("Where", &[is_later, hidden, scores])
}
