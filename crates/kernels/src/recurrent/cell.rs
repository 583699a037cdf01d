//! What happens between the products and the new state: activations and gates, elementwise over a tile.
//!
//! Refuses to know where a tile comes from. All slices of a tile have one length: rows of a common stride.

use super::{Cell, Direction};
use crate::math::{Activation, Lane, LaneVisitor, map_in_place};
use pulp::Simd;

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
        map_in_place(self.0, self.1, |x| f.apply(x));
    }
}

#[inline(always)]
fn activate<S: Simd>(simd: S, clip: Option<f32>, function: Activation, values: &mut [f32]) {
    if let Some(limit) = clip {
        Activation::Clip { lo: -limit, hi: limit }.visit(simd, Lanes(simd, values));
    }
    function.visit(simd, Lanes(simd, values));
}

/// `gate += weights[neuron]·memory` in every row.
#[inline(always)]
fn peep(gate: &mut [f32], memory: &[f32], weights: &[f32], stride: usize) {
    for (gate, memory) in gate.chunks_exact_mut(stride).zip(memory.chunks_exact(stride)) {
        for ((gate, memory), weight) in gate.iter_mut().zip(memory).zip(weights) {
            *gate += weight * memory;
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn lstm<S: Simd>(self, simd: S, couples: bool) {
        let (direction, first, width) = (self.direction, self.first, self.width);
        let peepholes = [0, 1, 2].map(|gate| {
            let all = direction.peepholes.as_ref()?;
            Some(&all[gate * (all.len() / 3) + first..][..width])
        });
        let (length, stride, clip) = (self.memory.len(), self.stride, self.clip);
        let functions = &self.direction.functions;
        let (input, rest) = self.gates.split_at_mut(length);
        let (output, rest) = rest.split_at_mut(length);
        let (forget, candidate) = rest.split_at_mut(length);
        let candidate = &mut candidate[..length];
        if let Some(weights) = peepholes[0] {
            peep(input, self.memory, weights, stride);
        }
        activate(simd, clip, functions[0], input);
        if couples {
            forget.iter_mut().zip(&*input).for_each(|(forget, input)| *forget = 1.0 - input);
        } else {
            if let Some(weights) = peepholes[2] {
                peep(forget, self.memory, weights, stride);
            }
            activate(simd, clip, functions[0], forget);
        }
        activate(simd, clip, functions[1], candidate);
        for (((cell, forget), input), candidate) in
            self.memory.iter_mut().zip(&*forget).zip(&*input).zip(candidate)
        {
            *candidate = *forget * *cell + *input * *candidate;
            *cell = *candidate;
        }
        if let Some(weights) = peepholes[1] {
            peep(output, self.memory, weights, stride);
        }
        activate(simd, clip, functions[0], output);
        activate(simd, clip, functions[2], self.memory);
        self.memory.iter_mut().zip(&*output).for_each(|(cell, output)| *cell *= output);
    }

    /// Update and reset gates; the third slice becomes the state as far as it is kept.
    #[inline(always)]
    fn gru_gates<S: Simd>(self, simd: S) {
        let length = self.memory.len();
        let (update, rest) = self.gates.split_at_mut(length);
        let (reset, _) = rest.split_at_mut(length);
        activate(simd, self.clip, self.direction.functions[0], update);
        activate(simd, self.clip, self.direction.functions[0], reset);
        reset.iter_mut().zip(&*self.memory).for_each(|(reset, old)| *reset *= old);
    }

    /// The new state from an update gate and a candidate's sum.
    #[inline(always)]
    fn gru_state<S: Simd>(self, simd: S) {
        let length = self.memory.len();
        let (update, rest) = self.gates.split_at_mut(length);
        let (_, rest) = rest.split_at_mut(length);
        let candidate = &mut rest[..length];
        activate(simd, self.clip, self.direction.functions[1], candidate);
        for ((state, update), candidate) in self.memory.iter_mut().zip(&*update).zip(&*candidate) {
            *state = (1.0 - update) * candidate + update * *state;
        }
    }

    /// The reset gate scales the product with the state.
    #[inline(always)]
    fn gru_after_product<S: Simd>(self, simd: S) {
        let (length, stride) = (self.memory.len(), self.stride);
        let (update, rest) = self.gates.split_at_mut(length);
        let (reset, rest) = rest.split_at_mut(length);
        let (candidate, input) = rest.split_at_mut(length);
        activate(simd, self.clip, self.direction.functions[0], update);
        activate(simd, self.clip, self.direction.functions[0], reset);
        if let Some(bias) = &self.direction.reset_bias {
            let bias = &bias[self.first..][..self.width];
            for row in candidate.chunks_exact_mut(stride) {
                row.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
            }
        }
        for ((candidate, reset), input) in candidate.iter_mut().zip(&*reset).zip(&*input) {
            *candidate = *reset * *candidate + input;
        }
        self.gru_state(simd);
    }
}

impl pulp::WithSimd for Tile<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.cell, self.part) {
            (Cell::Lstm { couples }, _) => self.lstm(simd, couples),
            (Cell::Gru { linear_before_reset: true }, _) => self.gru_after_product(simd),
            (Cell::Gru { .. }, 0) => self.gru_gates(simd),
            (Cell::Gru { .. }, _) => self.gru_state(simd),
            (Cell::Rnn, _) => {
                activate(simd, self.clip, self.direction.functions[0], self.gates);
                self.memory.copy_from_slice(self.gates);
            }
        }
    }
}
