//! Random compositions of fragments, for property tests.
//!
//! A plan is small data that prints in a line or two and shrinks; the graph is built from it. A step that does not fit
//! the flow it meets is adapted or left out, so every plan gives a valid graph.

use super::activation::{Activation, Gelu, HardSwish, Plain, Silu, activation};
use super::attention::{Attention, KeyTranspose, Mask, Projection, Scale, attention};
use super::conv::{Bias, Conv, GlobalAverage, Pool, conv, pool, squeeze_excite, to_sequence, to_vector};
use super::elementwise::{Noise, noise, residual, softmax};
use super::linear::{Linear, linear};
use super::movement::{Chain, ShapeChain, chain, shape_chain};
use super::norm::{Affine, LayerNorm, RmsNorm, layer_norm, rms_norm};
use super::{Flow, SIZES, Sketch};
use fusebox_ir::Graph;
use proptest::prelude::*;
use proptest::sample::select;

/// One fragment of a plan.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each holds the arguments of its fragment")]
pub enum Step {
    Linear(usize, Linear),
    Activation(Activation),
    LayerNorm(LayerNorm, Affine),
    RmsNorm(RmsNorm, Affine),
    /// Attention of the flow to itself.
    SelfAttention(Attention),
    /// Attention to another input of so many rows.
    CrossAttention(usize, Attention),
    Conv(Conv),
    SqueezeExcite(GlobalAverage, bool),
    Pool(Pool),
    Chain(Chain),
    Shape(ShapeChain),
    Noise(Noise),
    Softmax,
    /// Image to sequence.
    ToSequence,
    /// Image to vector.
    ToVector(GlobalAverage),
    /// Steps whose result is added to what went in, brought back to its width.
    Residual(Vec<Step>, bool),
}

/// A random graph as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Sizes of the first input: 2, 3 or 4 of them.
    pub shape: Vec<usize>,
    /// Whether the batch is symbolic.
    pub dynamic: bool,
    /// The fragments.
    pub steps: Vec<Step>,
    /// Whether the flow after the first step is an output as well: a fusion must not swallow it.
    pub tapped: bool,
    /// Where parameters come from.
    pub seed: u64,
}

impl Plan {
    /// The graph.
    pub fn build(&self) -> Graph {
        let mut s = Sketch { dynamic: self.dynamic, ..Sketch::new(self.seed) };
        let mut flow = s.input(&self.shape);
        let mut tap = None;
        for step in &self.steps {
            flow = step.apply(&mut s, &flow);
            if tap.is_none() && self.tapped {
                tap = Some(flow.clone());
            }
        }
        let tap = tap.filter(|tap| *tap != flow && !s.builder.graph.inputs.contains(&tap.value));
        let outputs: Vec<&Flow> = std::iter::once(&flow).chain(&tap).collect();
        s.finish(&outputs)
    }
}

impl Step {
    /// Appends the fragment to a sketch.
    pub fn apply(&self, s: &mut Sketch, x: &Flow) -> Flow {
        let image = x.rank() == 4;
        match self {
            Self::Linear(width, spelling) => linear(s, x, *width, *spelling),
            Self::Activation(which) => activation(s, x, *which),
            Self::LayerNorm(spelling, form) => layer_norm(s, x, *spelling, *form),
            Self::RmsNorm(spelling, form) => rms_norm(s, x, *spelling, *form),
            Self::SelfAttention(how) if x.rank() == 3 => attention(s, x, x, how),
            Self::CrossAttention(rows, how) if x.rank() == 3 => {
                let memory = s.input(&[x.shape[0], *rows, x.width()]);
                attention(s, x, &memory, how)
            }
            Self::Conv(how) if image => conv(s, x, how),
            Self::SqueezeExcite(how, hard) if image => squeeze_excite(s, x, *how, *hard),
            Self::Pool(how) if image => pool(s, x, *how),
            Self::ToSequence if image => to_sequence(s, x),
            Self::ToVector(how) if image => to_vector(s, x, *how),
            Self::Chain(which) => chain(s, x, *which),
            Self::Shape(how) => shape_chain(s, x, *how),
            Self::Noise(which) => noise(s, x, *which),
            Self::Softmax => softmax(s, x),
            Self::Residual(steps, swap) => {
                let mut branch = x.clone();
                for step in steps {
                    let next = step.apply(s, &branch);
                    // Only the last axis can be brought back, by a projection.
                    if next.rank() == x.rank() && next.shape[..x.rank() - 1] == x.shape[..x.rank() - 1] {
                        branch = next;
                    }
                }
                if branch.width() != x.width() {
                    branch = linear(s, &branch, x.width(), Linear::MatMulAdd);
                }
                residual(s, x, &branch, *swap)
            }
            _ => x.clone(),
        }
    }
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(items: &'static [T]) -> impl Strategy<Value = T> + Clone {
    select(items)
}

fn activations() -> impl Strategy<Value = Activation> + Clone {
    prop_oneof![
        3 => one_of(Gelu::ALL).prop_map(Activation::Gelu),
        1 => one_of(Silu::ALL).prop_map(Activation::Silu),
        1 => one_of(HardSwish::ALL).prop_map(Activation::HardSwish),
        2 => one_of(Plain::ALL).prop_map(Activation::Plain),
    ]
}

fn attentions() -> impl Strategy<Value = Attention> + Clone {
    let sizes = (select(vec![1usize, 2, 3]), select(vec![1usize, 2, 4, 8]));
    let parts = (one_of(Scale::ALL), one_of(KeyTranspose::ALL), one_of(Mask::ALL), one_of(Projection::ALL));
    (sizes, parts, one_of(Linear::ALL)).prop_map(
        |((heads, head_width), (scale, key, mask, projection), linear)| Attention {
            heads,
            head_width,
            scale,
            key,
            mask,
            projection,
            linear,
        },
    )
}

fn convs() -> impl Strategy<Value = Conv> + Clone {
    let sizes = (one_of(SIZES), select(vec![1usize, 3]), select(vec![1usize, 1, 2]), any::<bool>());
    let after = (one_of(Bias::ALL), any::<bool>(), prop::option::of(activations()), any::<bool>());
    (sizes, prop::bool::weighted(0.3), after).prop_map(
        |((channels, kernel, stride, padded), depthwise, (bias, batch_norm, activation, residual))| Conv {
            channels,
            kernel,
            stride,
            padded,
            depthwise,
            bias,
            batch_norm,
            activation,
            residual,
        },
    )
}

fn steps() -> impl Strategy<Value = Step> + Clone {
    let simple = prop_oneof![
        4 => (one_of(SIZES), one_of(Linear::ALL)).prop_map(|(width, how)| Step::Linear(width, how)),
        4 => activations().prop_map(Step::Activation),
        2 => (one_of(LayerNorm::ALL), one_of(Affine::ALL)).prop_map(|(how, form)| Step::LayerNorm(how, form)),
        2 => (one_of(RmsNorm::ALL), one_of(Affine::ALL)).prop_map(|(how, form)| Step::RmsNorm(how, form)),
        3 => attentions().prop_map(Step::SelfAttention),
        1 => (one_of(SIZES), attentions()).prop_map(|(rows, how)| Step::CrossAttention(rows, how)),
        4 => convs().prop_map(Step::Conv),
        1 => (one_of(GlobalAverage::ALL), any::<bool>()).prop_map(|(how, hard)| Step::SqueezeExcite(how, hard)),
        1 => one_of(Pool::ALL).prop_map(Step::Pool),
        2 => one_of(Chain::ALL).prop_map(Step::Chain),
        1 => one_of(ShapeChain::ALL).prop_map(Step::Shape),
        2 => one_of(Noise::ALL).prop_map(Step::Noise),
        1 => Just(Step::Softmax),
        1 => Just(Step::ToSequence),
        1 => one_of(GlobalAverage::ALL).prop_map(Step::ToVector),
    ];
    simple.prop_recursive(2, 6, 3, |inner| {
        (prop::collection::vec(inner, 1..4), any::<bool>())
            .prop_map(|(steps, swap)| Step::Residual(steps, swap))
    })
}

fn shapes() -> impl Strategy<Value = Vec<usize>> + Clone {
    let size = || one_of(SIZES);
    prop_oneof![
        2 => (size(), size()).prop_map(|(a, b)| vec![a, b]),
        3 => (select(vec![1usize, 2, 3]), size(), size()).prop_map(|(a, b, c)| vec![a, b, c]),
        3 => (select(vec![1usize, 2]), size(), select(vec![2usize, 3, 5, 8]), select(vec![2usize, 3, 5, 8]))
            .prop_map(|(a, b, c, d)| vec![a, b, c, d]),
    ]
}

/// Random plans of up to six fragments. Tests should draw plans rather than graphs: a failing plan prints in a line.
pub fn plans() -> impl Strategy<Value = Plan> + Clone {
    (shapes(), any::<bool>(), prop::collection::vec(steps(), 1..7), any::<bool>(), any::<u64>())
        .prop_map(|(shape, dynamic, steps, tapped, seed)| Plan { shape, dynamic, steps, tapped, seed })
}

/// The graphs of [`plans`].
pub fn graphs() -> impl Strategy<Value = Graph> + Clone {
    plans().prop_map(|plan| plan.build())
}
