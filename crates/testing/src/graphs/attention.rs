//! Multi-head attention: wherever the scale is applied, however K is transposed, whatever masks the scores.

use super::linear::{Linear, linear};
use super::{Flow, Sketch};
use fusebox_ir::{Attrs, DType, Tensor, ValueId};

/// Where the scale `1/√d` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Q times the scale.
    Query,
    /// K times the scale.
    Key,
    /// Q and K times its root: torch's `scaled_dot_product_attention`.
    Both,
    /// Scores times the scale.
    ScoresMul,
    /// Scores divided by `√d`.
    ScoresDiv,
    /// Q divided by `√d`.
    QueryDiv,
    /// None: a scale of 1.
    Absent,
}

impl Scale {
    /// Every place.
    pub const ALL: &'static [Self] =
        &[Self::Query, Self::Key, Self::Both, Self::ScoresMul, Self::ScoresDiv, Self::QueryDiv, Self::Absent];
}

/// How K comes to have its sequence last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTranspose {
    /// perm [0, 2, 1, 3] to heads, then [0, 1, 3, 2].
    TwoSteps,
    /// perm [0, 2, 3, 1] straight from batch, sequence, heads, width.
    Straight,
    /// To heads, then by rank 3: Reshape, Transpose, Reshape back: dynamo's `scaled_dot_product_attention`.
    RankThree,
}

impl KeyTranspose {
    /// Every way.
    pub const ALL: &'static [Self] = &[Self::TwoSteps, Self::Straight, Self::RankThree];
}

/// What masks the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Nothing.
    None,
    /// An input of zeros and large negatives, batch × 1 × 1 × keys, added.
    Padding,
    /// A constant causal mask, added.
    Causal,
    /// A boolean input, batch × 1 × 1 × keys, that selects the scores or a large negative.
    Where,
    /// As `Where`, with rows that are masked throughout turned to zero: IsNaN and Where after the softmax.
    Safe,
}

impl Mask {
    /// Every mask.
    pub const ALL: &'static [Self] = &[Self::None, Self::Padding, Self::Causal, Self::Where, Self::Safe];
}

/// How Q, K and V are projected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Three linear layers.
    Separate,
    /// One linear layer three times as wide, split along the last axis.
    MergedSplit,
    /// One linear layer, reshaped to batch × sequence × 3 × heads × width, transposed once, split and squeezed: timm.
    MergedTranspose,
}

impl Projection {
    /// Every way.
    pub const ALL: &'static [Self] = &[Self::Separate, Self::MergedSplit, Self::MergedTranspose];
}

/// A way to write attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Where the scale is.
    pub scale: Scale,
    /// How K is transposed; merged projections by one transpose have K in heads already.
    pub key: KeyTranspose,
    /// What masks the scores.
    pub mask: Mask,
    /// How Q, K and V are projected.
    pub projection: Projection,
    /// How the linear layers are written.
    pub linear: Linear,
}

impl Attention {
    /// A plain form, to vary one thing at a time from.
    pub fn plain() -> Self {
        Self {
            heads: 2,
            head_width: 4,
            scale: Scale::ScoresDiv,
            key: KeyTranspose::TwoSteps,
            mask: Mask::None,
            projection: Projection::Separate,
            linear: Linear::MatMulAdd,
        }
    }

    /// Every spelling of every part, the other parts plain; and every pair of scale and transpose.
    pub fn variations() -> Vec<Self> {
        let plain = Self::plain();
        let pairs = Scale::ALL.iter().flat_map(|scale| {
            KeyTranspose::ALL.iter().map(move |key| Self { scale: *scale, key: *key, ..plain })
        });
        pairs
            .chain(Mask::ALL.iter().map(|mask| Self { mask: *mask, ..plain }))
            .chain(Projection::ALL.iter().map(|projection| Self { projection: *projection, ..plain }))
            .chain(Linear::ALL.iter().map(|linear| Self { linear: *linear, ..plain }))
            .collect()
    }
}

/// Attention of `x` to itself with its output projection. `x` is batch × sequence × width.
pub fn self_attention(s: &mut Sketch, x: &Flow, how: &Attention) -> Flow {
    attention(s, x, x, how)
}

/// Attention of `x` to `memory`, both batch × sequence × width. Merged projections need the two to be one; otherwise
/// the projections are separate.
pub fn attention(s: &mut Sketch, x: &Flow, memory: &Flow, how: &Attention) -> Flow {
    let inner = how.heads * how.head_width;
    let merged = if x == memory { how.projection } else { Projection::Separate };
    let [q, k, v] = match merged {
        Projection::Separate => {
            let q = linear(s, x, inner, how.linear);
            let k = linear(s, memory, inner, how.linear);
            let v = linear(s, memory, inner, how.linear);
            [q, k, v].map(|flow| split_heads(s, &flow, how))
        }
        Projection::MergedSplit => {
            let all = linear(s, x, 3 * inner, how.linear);
            let sizes = s.integers(&[inner as i64; 3]);
            let parts = s.ops("Split", &[all.value, sizes], 3, Attrs::new().with("axis", -1));
            let shape = vec![x.shape[0], x.shape[1], inner];
            let part = |index: usize| Flow { value: parts[index], shape: shape.clone() };
            [part(0), part(1), part(2)].map(|flow| split_heads(s, &flow, how))
        }
        Projection::MergedTranspose => merged_transpose(s, x, how),
    };
    let in_heads = merged == Projection::MergedTranspose;
    let context = core(s, q, k, v, in_heads, how);
    let back = s.transpose(&context, &[0, 2, 1, 3]);
    let joined = s.reshape_rest(&back, &[x.shape[1], inner]);
    linear(s, &joined, x.width(), how.linear)
}

/// batch × sequence × heads × width.
fn split_heads(s: &mut Sketch, x: &Flow, how: &Attention) -> Flow {
    s.reshape_rest(x, &[x.shape[1], how.heads, how.head_width])
}

fn merged_transpose(s: &mut Sketch, x: &Flow, how: &Attention) -> [Flow; 3] {
    let all = linear(s, x, 3 * how.heads * how.head_width, how.linear);
    let five = s.reshape_rest(&all, &[x.shape[1], 3, how.heads, how.head_width]);
    let first = s.transpose(&five, &[2, 0, 3, 1, 4]);
    let ones = s.integers(&[1; 3]);
    let parts = s.ops("Split", &[first.value, ones], 3, Attrs::new().with("axis", 0));
    let shape = first.shape[1..].to_vec();
    [0, 1, 2].map(|index| {
        let axes = s.integers(&[0]);
        Flow { value: s.op("Squeeze", &[parts[index], axes]), shape: shape.clone() }
    })
}

/// From Q, K and V as batch × sequence × heads × width (or in heads already) to batch × heads × sequence × width.
fn core(s: &mut Sketch, q: Flow, k: Flow, v: Flow, in_heads: bool, how: &Attention) -> Flow {
    let heads = |s: &mut Sketch, x: Flow| if in_heads { x } else { s.transpose(&x, &[0, 2, 1, 3]) };
    let q = heads(s, q);
    let v = heads(s, v);
    let k = match how.key {
        KeyTranspose::Straight if !in_heads => s.transpose(&k, &[0, 2, 3, 1]),
        KeyTranspose::RankThree => {
            let k = heads(s, k);
            rank_three_transpose(s, &k)
        }
        _ => {
            let k = heads(s, k);
            s.transpose(&k, &[0, 1, 3, 2])
        }
    };
    let (q, k) = scale_operands(s, q, k, how);
    let product = s.op("MatMul", &[q.value, k.value]);
    let scores = Flow { value: product, shape: vec![q.shape[0], how.heads, q.shape[2], v.shape[2]] };
    let scores = scale_scores(s, scores, how);
    let weights = masked_softmax(s, &scores, how.mask);
    let value = s.op("MatMul", &[weights, v.value]);
    Flow { value, shape: q.shape }
}

fn rank_three_transpose(s: &mut Sketch, k: &Flow) -> Flow {
    let [batch, heads, length, width] = [k.shape[0], k.shape[1], k.shape[2], k.shape[3]];
    let flat = s.reshape(k.value, &[-1, length as i64, width as i64]);
    let turned = s.op_with("Transpose", &[flat], Attrs::new().with("perm", vec![0, 2, 1]));
    let value = s.reshape(turned, &[-1, heads as i64, width as i64, length as i64]);
    Flow { value, shape: vec![batch, heads, width, length] }
}

fn scale_operands(s: &mut Sketch, q: Flow, k: Flow, how: &Attention) -> (Flow, Flow) {
    let root = (how.head_width as f32).sqrt();
    let by = |s: &mut Sketch, x: Flow, op: &str, factor: f32| {
        let factor = s.scalar(factor);
        let value = s.op(op, &[x.value, factor]);
        x.with(value)
    };
    match how.scale {
        Scale::Query => (by(s, q, "Mul", 1.0 / root), k),
        Scale::QueryDiv => (by(s, q, "Div", root), k),
        Scale::Key => (q, by(s, k, "Mul", 1.0 / root)),
        Scale::Both => (by(s, q, "Mul", 1.0 / root.sqrt()), by(s, k, "Mul", 1.0 / root.sqrt())),
        Scale::ScoresMul | Scale::ScoresDiv | Scale::Absent => (q, k),
    }
}

fn scale_scores(s: &mut Sketch, scores: Flow, how: &Attention) -> Flow {
    let root = (how.head_width as f32).sqrt();
    let (op, factor) = match how.scale {
        Scale::ScoresMul => ("Mul", 1.0 / root),
        Scale::ScoresDiv => ("Div", root),
        _ => return scores,
    };
    let factor = s.scalar(factor);
    let value = s.op(op, &[scores.value, factor]);
    scores.with(value)
}

fn masked_softmax(s: &mut Sketch, scores: &Flow, mask: Mask) -> ValueId {
    let [batch, rows, keys] = [scores.shape[0], scores.shape[2], scores.shape[3]];
    let name = format!("mask{}", s.builder.graph.inputs.len());
    let masked = match mask {
        Mask::None => scores.value,
        Mask::Padding => {
            let mask = s.typed_input(&name, DType::F32, &[batch, 1, 1, keys]);
            s.op("Add", &[scores.value, mask.value])
        }
        Mask::Causal => {
            let open = |index: usize| if index % keys <= index / keys { 0.0 } else { f32::MIN };
            let table = (0..rows * keys).map(open).collect();
            let table = Tensor::from_vec(vec![1, 1, rows, keys], table).expect("one element per row and key");
            let mask = s.constant(table);
            s.op("Add", &[scores.value, mask])
        }
        Mask::Where | Mask::Safe => {
            let open = s.typed_input(&name, DType::Bool, &[batch, 1, 1, keys]);
            // Only the safe form can stand a row that is masked throughout.
            let low = if mask == Mask::Safe { f32::NEG_INFINITY } else { f32::MIN };
            let low = s.scalar(low);
            s.op("Where", &[open.value, scores.value, low])
        }
    };
    let weights = s.op_with("Softmax", &[masked], Attrs::new().with("axis", -1));
    if mask != Mask::Safe {
        return weights;
    }
    let zero = s.scalar(0.0);
    let lost = s.op("IsNaN", &[weights]);
    s.op("Where", &[lost, zero, weights])
}
