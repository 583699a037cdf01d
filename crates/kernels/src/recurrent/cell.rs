//! What happens between the products and the new state: activations and gates, elementwise over a tile.
//!
//! Refuses to know where a tile comes from. All slices of a tile have one length: rows of a common stride.

use super::{Cell, Direction};
use crate::isa::Level;
use crate::lanes::map_lanes;
use crate::math::{Activation, Lane, LaneVisitor};
use pulp::{Simd, WithSimd};

/// A tile after its products; `stride` elements per row.
pub(super) struct Tile<'a> {
    pub(super) cell: Cell,
    pub(super) clip: Option<f32>,
    pub(super) direction: &'a Direction,
    /// First neuron of the tile.
    pub(super) first: usize,
    /// Neurons of the tile; the rest of a row is padding.
    pub(super) width: usize,
    pub(super) stride: usize,
    /// Sums of each gate, one after the other. A GRU that resets after the product has four: the last is the product
    /// with the input that belongs to the third.
    pub(super) gates: &'a mut [f32],
    /// What the tile remembers: the cell state of an LSTM, the old state of a GRU. The new hidden state afterwards; an LSTM
    /// leaves its new cell state in the place of the last gate.
    pub(super) memory: &'a mut [f32],
    /// Which part of a position this is, for cells that take two.
    pub(super) part: usize,
}

struct Lanes<'a, S>(S, &'a mut [f32]);

impl<S: Simd> LaneVisitor<S> for Lanes<'_, S> {
    type Output = ();
    #[inline(always)]
    fn visit(self, f: impl Lane<S>) {
        let Self(_, values) = self;
        map_lanes!(S, self.0, values, x => f.apply(x));
    }
}

struct Activate<'a>(Activation, &'a mut [f32]);

impl WithSimd for Activate<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.visit(simd, Lanes(simd, self.1));
    }
}

/// What is done to four slices of one length: plain loops, which vectorise under the features of the level.
#[derive(Clone, Copy)]
enum Rule {
    /// `c = b·a + d·c; a = c`: old cell, forget gate, candidate, input gate. Both become the new cell.
    Remember,
    /// `a = a·b`.
    Scale,
    /// `a = 1 − b`.
    Complement,
    /// `a = (1 − b)·c + b·a`: old state, update gate, candidate.
    Blend,
    /// `a = b·a + c`: candidate's product, reset gate, candidate's input.
    Reset,
}

struct Combine<'a> {
    rule: Rule,
    a: &'a mut [f32],
    b: &'a [f32],
    c: &'a mut [f32],
    d: &'a [f32],
}

impl WithSimd for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rule, a, b, c, d } = self;
        match rule {
            Rule::Remember => {
                for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                    *c = b * *a + d * *c;
                    *a = *c;
                }
            }
            Rule::Scale => {
                for (a, b) in a.iter_mut().zip(b) {
                    *a *= b;
                }
            }
            Rule::Complement => {
                for (a, b) in a.iter_mut().zip(b) {
                    *a = 1.0 - b;
                }
            }
            Rule::Blend => {
                for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                    *a = (1.0 - b) * *c + b * *a;
                }
            }
            Rule::Reset => {
                for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                    *a = b * *a + *c;
                }
            }
        }
    }
}

fn activate(level: Level, clip: Option<f32>, function: Activation, values: &mut [f32]) {
    if let Some(limit) = clip {
        level.dispatch(Activate(Activation::Clip { lo: -limit, hi: limit }, values));
    }
    level.dispatch(Activate(function, values));
}

/// `gate += weights[neuron]·memory` in every row.
fn peep(gate: &mut [f32], memory: &[f32], weights: &[f32], stride: usize) {
    for (gate, memory) in gate.chunks_exact_mut(stride).zip(memory.chunks_exact(stride)) {
        for ((gate, memory), weight) in gate.iter_mut().zip(memory).zip(weights) {
            *gate += weight * memory;
        }
    }
}

impl Tile<'_> {
    /// Activations and gates.
    pub(super) fn finish(self, level: Level) {
        match (self.cell, self.part) {
            (Cell::Lstm { couples }, _) => self.lstm(level, couples),
            (Cell::Gru { linear_before_reset: true }, _) => self.gru_after_product(level),
            (Cell::Gru { .. }, 0) => self.gru_gates(level),
            (Cell::Gru { .. }, _) => self.gru_state(level),
            (Cell::Rnn, _) => {
                activate(level, self.clip, self.direction.functions[0], self.gates);
                self.memory.copy_from_slice(self.gates);
            }
        }
    }

    fn lstm(self, level: Level, couples: bool) {
        let (direction, first, width) = (self.direction, self.first, self.width);
        let peepholes = [0, 1, 2].map(|gate| {
            let all = direction.peepholes.as_ref()?;
            Some(&all[gate * (all.len() / 3) + first..][..width])
        });
        let (length, stride, clip) = (self.memory.len(), self.stride, self.clip);
        let functions = &direction.functions;
        let (input, rest) = self.gates.split_at_mut(length);
        let (output, rest) = rest.split_at_mut(length);
        let (forget, candidate) = rest.split_at_mut(length);
        let candidate = &mut candidate[..length];
        if let Some(weights) = peepholes[0] {
            peep(input, self.memory, weights, stride);
        }
        activate(level, clip, functions[0], input);
        if couples {
            level.dispatch(Combine { rule: Rule::Complement, a: forget, b: input, c: &mut [], d: &[] });
        } else {
            if let Some(weights) = peepholes[2] {
                peep(forget, self.memory, weights, stride);
            }
            activate(level, clip, functions[0], forget);
        }
        activate(level, clip, functions[1], candidate);
        level.dispatch(Combine { rule: Rule::Remember, a: self.memory, b: forget, c: candidate, d: input });
        if let Some(weights) = peepholes[1] {
            peep(output, self.memory, weights, stride);
        }
        activate(level, clip, functions[0], output);
        activate(level, clip, functions[2], self.memory);
        level.dispatch(Combine { rule: Rule::Scale, a: self.memory, b: output, c: &mut [], d: &[] });
    }

    /// Update and reset gates; the second slice becomes the state as far as it is kept.
    fn gru_gates(self, level: Level) {
        let length = self.memory.len();
        let both = &mut self.gates[..2 * length];
        activate(level, self.clip, self.direction.functions[0], both);
        level.dispatch(Combine {
            rule: Rule::Scale,
            a: &mut both[length..],
            b: self.memory,
            c: &mut [],
            d: &[],
        });
    }

    /// The new state from an update gate and a candidate's sum.
    fn gru_state(self, level: Level) {
        let length = self.memory.len();
        let (update, rest) = self.gates.split_at_mut(length);
        let candidate = &mut rest[length..2 * length];
        activate(level, self.clip, self.direction.functions[1], candidate);
        level.dispatch(Combine { rule: Rule::Blend, a: self.memory, b: update, c: candidate, d: &[] });
    }

    /// The reset gate scales the product with the state.
    fn gru_after_product(self, level: Level) {
        let (length, stride) = (self.memory.len(), self.stride);
        let (both, rest) = self.gates.split_at_mut(2 * length);
        let (candidate, input) = rest.split_at_mut(length);
        activate(level, self.clip, self.direction.functions[0], both);
        if let Some(bias) = &self.direction.reset_bias {
            let bias = &bias[self.first..][..self.width];
            for row in candidate.chunks_exact_mut(stride) {
                for (sum, bias) in row.iter_mut().zip(bias) {
                    *sum += bias;
                }
            }
        }
        level.dispatch(Combine { rule: Rule::Reset, a: candidate, b: &both[length..], c: input, d: &[] });
        self.gru_state(level);
    }
}
