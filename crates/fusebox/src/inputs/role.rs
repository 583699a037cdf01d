//! What an input is for, found by following it forward through the graph to the operators that decide.
//!
//! A name only breaks ties: whether a mask is wanted as ones or as zeros follows from which branch of a Where holds
//! the large negative number, not from how the mask is called.

use fusebox_ir::graph::FUSEBOX;
use fusebox_ir::{DType, Graph, Node, NodeId, TensorType, ValueId};
use serde::Serialize;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::fmt;

/// What an input is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Indices into a table.
    Ids {
        /// Rows of the smallest table that they index.
        below: i64,
    },
    /// Positions along the last axis, in order.
    Positions {
        /// Rows of the table that they index.
        below: i64,
    },
    /// A mask that hides nothing, or only the end of the last axis where padding is wanted.
    Mask {
        /// The number that keeps a position.
        keep: i64,
        /// The number that hides it.
        hide: i64,
    },
    /// The same number everywhere: switches, sizes.
    Constant {
        /// The number.
        value: i64,
    },
    /// Raw bytes, 0 to 255.
    Bytes,
    /// An image, normalised.
    Image,
    /// Numbers from a normal distribution.
    Normal,
    /// Whatever the caller gave.
    Given,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ids { below } => write!(f, "random indices below {below}"),
            Self::Positions { .. } => f.write_str("positions in order"),
            Self::Mask { keep: 1, .. } => f.write_str("mask of ones"),
            Self::Mask { keep: 0, .. } => f.write_str("mask of zeros, which keeps everything"),
            Self::Mask { keep, .. } => write!(f, "mask of {keep}"),
            Self::Constant { value } => write!(f, "{value} everywhere"),
            Self::Bytes => f.write_str("random bytes"),
            Self::Image => f.write_str("random image, mean 0, deviation 1"),
            Self::Normal => f.write_str("random, mean 0, deviation 1"),
            Self::Given => f.write_str("given"),
        }
    }
}

/// Large enough in magnitude to erase a score under softmax.
const ERASES: f64 = -1e3;

/// What the walk found.
#[derive(Default)]
struct Uses {
    /// Rows of tables that it indexes.
    below: Option<i64>,
    /// Values that leave scores alone, as seen by mask-like operators.
    keeps: Option<i64>,
    /// Added to something, so that zero leaves it alone.
    added: bool,
    /// Gives a size, a bound or a count.
    counts: bool,
    /// Says how often a body runs, or divides: zero would hide what happens.
    trips: bool,
    /// Read by a convolution.
    convolved: bool,
}

/// Finds the role of an input. The graph should be typed: tables are recognised by their sizes.
pub(super) fn of(graph: &Graph, input: ValueId) -> Role {
    let value = graph.value(input);
    let Some(ty) = value.ty.tensor() else { return Role::Normal };
    let name = value.name.to_lowercase();
    let uses = Walk::new(graph).from(input);
    let is_mask = name.contains("mask");
    if ty.dtype == DType::Bool {
        return mask(uses.keeps.unwrap_or(1));
    }
    if ty.dtype.is_float() {
        return float_role(ty, &uses, is_mask);
    }
    if let Some(below) = uses.below {
        return if name.contains("pos") { Role::Positions { below } } else { Role::Ids { below } };
    }
    match uses.keeps {
        Some(keep) => mask(keep),
        None if is_rate(&name, ty) => Role::Constant { value: 16_000 },
        None if is_mask => mask(1),
        // More than once, so that what a body carries over is seen too.
        None if uses.trips => Role::Constant { value: 3 },
        None if uses.counts => Role::Constant { value: 1 },
        None if name.contains("pos") => Role::Positions { below: i64::MAX },
        None if matches!(ty.dtype, DType::U8 | DType::I8) => Role::Bytes,
        None => Role::Ids { below: 2 },
    }
}

/// Whether an input is how many samples of sound there are per second: its number alone decides between models inside,
/// and the graph does not say for what.
fn is_rate(name: &str, ty: &TensorType) -> bool {
    let is_single = ty.shape.as_ref().is_some_and(|s| s.iter().all(|dim| dim.value() == Some(1)));
    is_single && matches!(name, "sr" | "sample_rate" | "sampling_rate" | "samplerate")
}

/// A mask of zeros and ones.
fn mask(keep: i64) -> Role {
    Role::Mask { keep, hide: 1 - keep }
}

fn float_role(ty: &TensorType, uses: &Uses, is_mask: bool) -> Role {
    if let Some(keep) = uses.keeps {
        return mask(keep);
    }
    if is_mask {
        return if uses.added { Role::Mask { keep: 0, hide: ERASES as i64 } } else { mask(1) };
    }
    let channels = ty.shape.as_ref().filter(|s| s.len() == 4).and_then(|s| s[1].value());
    if uses.convolved && matches!(channels, Some(1 | 3 | 4)) { Role::Image } else { Role::Normal }
}

/// A value on the way, with what became of the input's zeros and ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    value: ValueId,
    /// Whether ones of the input are zeros here.
    flipped: bool,
    /// Whether it is still the input's elements, and not a result of comparing them.
    verbatim: bool,
}

struct Walk<'g> {
    graph: &'g Graph,
    readers: Vec<SmallVec<[NodeId; 2]>>,
    uses: Uses,
    seen: BTreeSet<Step>,
    stack: Vec<Step>,
}

impl<'g> Walk<'g> {
    fn new(graph: &'g Graph) -> Self {
        let (readers, uses) = (graph.readers(), Uses::default());
        Self { graph, readers, uses, seen: BTreeSet::new(), stack: Vec::new() }
    }

    fn from(mut self, input: ValueId) -> Uses {
        self.stack.push(Step { value: input, flipped: false, verbatim: true });
        while let Some(step) = self.stack.pop() {
            if !self.seen.insert(step) {
                continue;
            }
            for reader in self.readers[step.value.0 as usize].clone() {
                let node = self.graph.node(reader);
                for (slot, _) in node.inputs.iter().enumerate().filter(|(_, v)| **v == Some(step.value)) {
                    self.visit(node, slot, step);
                }
            }
        }
        self.uses
    }

    fn visit(&mut self, node: &Node, slot: usize, step: Step) {
        match (&*node.op.name, slot) {
            // An optimized model is given what its original is given.
            ("Conv", 0) => self.uses.convolved = true,
            ("Attention", 3) if &*node.op.domain == FUSEBOX => self.uses.added |= step.verbatim,
            _ if !node.op.domain.is_empty() => {}
            ("Gather" | "GatherElements", 1) => self.index(node, node.attrs.int_or("axis", 0), step),
            ("RoiAlign", 2) => self.index(node, 0, step),
            // Zero is no divisor of integers.
            ("Div" | "Mod", 1) => self.uses.trips |= step.verbatim,
            ("Loop", 0) => self.uses.trips |= step.verbatim,
            ("OneHot", 0) => self.limit(node.input(1).and_then(|v| self.scalar(v)).map(|d| d as i64), step),
            (
                "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Transpose"
                | "Expand" | "Slice" | "Gather" | "GatherND" | "Tile" | "Split" | "CastLike" | "And" | "Or"
                | "Clip" | "GatherElements",
                0,
            )
            | ("And" | "Or", 1) => self.follow(node, step),
            ("Concat", _) => self.follow(node, step),
            ("Not", 0) => self.follow(node, Step { flipped: !step.flipped, verbatim: false, ..step }),
            ("Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual", _) => {
                self.compare(node, slot, step);
            }
            ("Where", 0) => self.choose(node, step),
            ("Sub", 1) => self.complement(node, step),
            ("Mul", _) => self.scale(node, step),
            ("Add", _) => self.uses.added |= step.verbatim,
            ("Reshape" | "Expand" | "Tile" | "Slice" | "TopK" | "Split" | "Pad" | "Resize", _)
            | ("ConstantOfShape" | "Range", _) => self.uses.counts = true,
            _ => {}
        }
    }

    fn follow(&mut self, node: &Node, step: Step) {
        self.stack.extend(node.outputs.iter().flatten().map(|value| Step { value: *value, ..step }));
    }

    fn index(&mut self, node: &Node, axis: i64, step: Step) {
        let shape = node.input(0).and_then(|data| self.graph.value(data).ty.tensor()?.shape.clone());
        let rows = shape.and_then(|shape| {
            let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
            shape.get(usize::try_from(axis).ok()?)?.value()
        });
        self.limit(rows, step);
    }

    fn limit(&mut self, rows: Option<i64>, step: Step) {
        if let Some(rows) = rows.filter(|_| step.verbatim) {
            self.uses.below = Some(self.uses.below.map_or(rows, |below| below.min(rows)));
        }
    }

    /// A comparison with a number: what it makes of zeros and of ones.
    fn compare(&mut self, node: &Node, slot: usize, step: Step) {
        let other = node.input(1 - slot.min(1));
        if let Some(codes) = other.filter(|_| &*node.op.name == "Equal").and_then(|v| self.codes(v)) {
            return self.limit(Some(codes), step);
        }
        let Some(other) = other.and_then(|v| self.scalar(v)) else { return };
        let truth = |x: f64| {
            let (a, b) = if slot == 0 { (x, other) } else { (other, x) };
            match &*node.op.name {
                "Equal" => a == b,
                "Greater" => a > b,
                "GreaterOrEqual" => a >= b,
                "Less" => a < b,
                _ => a <= b,
            }
        };
        let (zero, one) = (truth(0.0), truth(1.0));
        if zero != one {
            self.follow(node, Step { flipped: step.flipped != zero, verbatim: false, ..step });
        }
    }

    /// How many codes a one-hot encoding has that is spelled as a comparison with 0, 1, 2, ….
    fn codes(&self, value: ValueId) -> Option<i64> {
        let tensor = self.graph.constant(value).filter(|tensor| tensor.len() > 2)?;
        let codes = crate::metrics::numbers(tensor)?;
        let is_ramp = codes.iter().enumerate().all(|(index, code)| *code == index as f64);
        is_ramp.then_some(codes.len() as i64)
    }

    /// A Where with a large negative number in one branch wants the condition that takes the other.
    fn choose(&mut self, node: &Node, step: Step) {
        let erases = |slot: usize| node.input(slot).and_then(|v| self.scalar(v)).is_some_and(|x| x <= ERASES);
        let wanted = match (erases(1), erases(2)) {
            (true, false) => false,
            (false, true) => true,
            // A mask may first become another mask: `Where(cond, mask, 0)`.
            _ => return self.follow(node, Step { verbatim: false, ..step }),
        };
        self.uses.keeps = Some(i64::from(wanted != step.flipped));
    }

    /// `1 - mask`.
    fn complement(&mut self, node: &Node, step: Step) {
        if node.input(0).and_then(|v| self.scalar(v)) == Some(1.0) {
            self.follow(node, Step { flipped: !step.flipped, verbatim: false, ..step });
        }
    }

    /// `mask * -10000`, to be added to scores.
    fn scale(&mut self, node: &Node, step: Step) {
        let factor = node.inputs.iter().flatten().find_map(|v| self.scalar(*v));
        if factor.is_some_and(|factor| factor <= ERASES) {
            self.uses.keeps = Some(i64::from(step.flipped));
        }
    }

    /// The number that a constant holds everywhere, seen through casts and broadcasts.
    fn scalar(&self, value: ValueId) -> Option<f64> {
        let mut value = value;
        // As many steps as a chain of casts and broadcasts plausibly has.
        for _ in 0..8 {
            if let Some(tensor) = self.graph.constant(value) {
                let numbers = tensor.floats().or_else(|| {
                    let whole = tensor.integers();
                    let bools = || (tensor.dtype() == DType::Bool).then(|| tensor.data().to_vec());
                    whole
                        .map(|v| v.into_iter().map(|x| x as f64).collect())
                        .or_else(|| bools().map(|v| v.into_iter().map(f64::from).collect()))
                })?;
                let first = *numbers.first()?;
                return numbers.iter().all(|x| *x == first).then_some(first);
            }
            let (producer, _) = self.graph.value(value).producer?;
            let node = self.graph.node(producer);
            let sees_through = ["Cast", "CastLike", "Identity", "Expand", "Reshape", "Unsqueeze", "Squeeze"];
            if node.op.is("Constant") || node.op.is("ConstantOfShape") {
                let number = node.attrs.tensor("value").and_then(fusebox_ir::Tensor::floats);
                return number
                    .and_then(|v| v.first().copied())
                    .or_else(|| node.attrs.float("value_float").map(f64::from));
            }
            if !node.op.domain.is_empty() || !sees_through.contains(&&*node.op.name) {
                return None;
            }
            value = node.input(0)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Attrs, Builder, OpName, Tensor};

    fn i64s(b: &mut Builder, name: &str) -> ValueId {
        b.input(name, TensorType::known(DType::I64, &[1, 8]))
    }

    #[test]
    fn ids_are_bounded_by_the_table_behind_a_cast() {
        let mut b = Builder::new();
        let ids = b.input("x", TensorType::known(DType::I32, &[1, 8]));
        let table = b.constant(Tensor::from_vec(vec![30, 2], vec![0f32; 60]).unwrap());
        let cast = b.op_with("Cast", &[ids], Attrs::new().with("to", 7));
        let rows = b.op("Gather", &[table, cast]);
        assert_eq!(of(&b.finish(&[rows]), ids), Role::Ids { below: 30 });
    }

    #[test]
    fn one_hot_codes_spelled_as_a_comparison_bound_ids() {
        let mut b = Builder::new();
        let bytes = b.input("bytes", TensorType::known(DType::I32, &[1, 8, 1]));
        let codes = b.constant(Tensor::from_vec(vec![1, 1, 257], (0..257).collect::<Vec<i32>>()).unwrap());
        let hot = b.op("Equal", &[bytes, codes]);
        assert_eq!(of(&b.finish(&[hot]), bytes), Role::Ids { below: 257 });
    }

    #[test]
    fn bodies_run_more_than_once() {
        let mut b = Builder::new();
        let trips = b.input("n", TensorType::known(DType::I64, &[]));
        let cast = b.op("Identity", &[trips]);
        b.node(OpName::onnx("Loop"), &[Some(cast)], 1, Attrs::new());
        assert_eq!(of(&b.finish(&[]), trips), Role::Constant { value: 3 });
    }

    #[test]
    fn fused_operators_show_what_an_input_is_for() {
        let mut b = Builder::new();
        let image = b.input("x", TensorType::known(DType::F32, &[1, 3, 8, 8]));
        let mask = b.input("attn_mask", TensorType::known(DType::F32, &[8, 8]));
        let weights = b.constant(Tensor::from_vec(vec![2, 3, 1, 1], vec![0f32; 6]).unwrap());
        let mut node = |name: &str, inputs: &[ValueId]| {
            let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
            b.node(OpName::fusebox(name), &inputs, 1, Attrs::new());
        };
        node("Conv", &[image, weights]);
        node("Attention", &[image, image, image, mask]);
        let graph = b.finish(&[]);
        assert_eq!(of(&graph, image), Role::Image);
        assert_eq!(of(&graph, mask), Role::Mask { keep: 0, hide: -1000 });
    }

    #[test]
    fn rates_of_sound_are_what_models_are_made_for() {
        let mut b = Builder::new();
        let rate = b.input("sr", TensorType::known(DType::I64, &[]));
        let wide = b.constant(Tensor::scalar(16_000i64));
        let is_wide = b.op("Equal", &[rate, wide]);
        assert_eq!(of(&b.finish(&[is_wide]), rate), Role::Constant { value: 16_000 });
    }

    #[test]
    fn positions_are_told_from_ids_by_name() {
        let mut b = Builder::new();
        let ids = i64s(&mut b, "position_ids");
        let table = b.constant(Tensor::from_vec(vec![512, 1], vec![0f32; 512]).unwrap());
        let rows = b.op("Gather", &[table, ids]);
        assert_eq!(of(&b.finish(&[rows]), ids), Role::Positions { below: 512 });
    }

    /// A mask whose ones are kept, or erased when `swapped`, by Where.
    fn masked(swapped: bool, not: bool) -> Role {
        let mut b = Builder::new();
        let mask = i64s(&mut b, "padding");
        let one = b.constant(Tensor::scalar(1i64));
        let mut condition = b.op("Equal", &[mask, one]);
        if not {
            condition = b.op("Not", &[condition]);
        }
        let (zero, low) = (b.f32(0.0), b.f32(f32::NEG_INFINITY));
        let branches = if swapped { [condition, low, zero] } else { [condition, zero, low] };
        let bias = b.op("Where", &branches);
        of(&b.finish(&[bias]), mask)
    }

    #[test]
    fn masks_take_the_value_that_erases_nothing() {
        assert_eq!(masked(false, false), mask(1));
        assert_eq!(masked(true, false), mask(0));
        assert_eq!(masked(false, true), mask(0));
        assert_eq!(masked(true, true), mask(1));
    }

    #[test]
    fn additive_masks_by_complement_are_ones_and_plain_ones_are_zeros() {
        let mut b = Builder::new();
        let mask = b.input("mask", TensorType::known(DType::F32, &[1, 8]));
        let direct = b.input("attn_mask", TensorType::known(DType::F32, &[1, 8]));
        let (one, low) = (b.f32(1.0), b.f32(-10000.0));
        let complement = b.op("Sub", &[one, mask]);
        let bias = b.op("Mul", &[complement, low]);
        let sum = b.op("Add", &[bias, direct]);
        let graph = b.finish(&[sum]);
        assert_eq!(of(&graph, mask), super::mask(1));
        assert_eq!(of(&graph, direct), Role::Mask { keep: 0, hide: -1000 });
    }
}
