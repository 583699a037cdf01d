//! Layers against the defining equations in f64, over every cell, direction, optional operand and instruction set.

use super::*;
use crate::Isa;
use crate::fixture::{Fixture, values};
use proptest::prelude::*;

/// A layer in plain numbers.
#[derive(Clone, Debug)]
struct Case {
    cell: Cell,
    clip: Option<f32>,
    steps: usize,
    batch: usize,
    hidden: usize,
    reverses: Vec<bool>,
    lengths: Option<Vec<i32>>,
    has_initial: bool,
    has_extra: bool,
    batch_first: bool,
    threads: usize,
}

impl Case {
    fn count(&self) -> usize {
        self.reverses.len()
    }

    fn states(&self) -> usize {
        self.count() * self.batch * self.hidden
    }

    fn functions(&self) -> Vec<Activation> {
        [Activation::Sigmoid, Activation::Tanh, Activation::Tanh][..self.cell.functions()].to_vec()
    }

    fn direction(&self, index: usize) -> Direction {
        let is_lstm = matches!(self.cell, Cell::Lstm { .. });
        let resets_late = self.cell == Cell::Gru { linear_before_reset: true };
        let functions = match self.cell {
            Cell::Rnn => vec![Activation::Tanh],
            _ => self.functions(),
        };
        Direction {
            is_reverse: self.reverses[index],
            functions,
            peepholes: (is_lstm && self.has_extra).then(|| values(3 * self.hidden, 10 + index as u64)),
            reset_bias: (resets_late && self.has_extra).then(|| values(self.hidden, 20 + index as u64)),
        }
    }
}

/// Everything a layer gives: every state, last states, last cells.
type Results = [Vec<f64>; 3];

/// The equations of the ONNX specification, neuron by neuron.
fn expected(case: &Case, inputs: &[f32], weights: &[f32], initial: [&[f32]; 2]) -> Results {
    let Case { steps, batch, hidden, .. } = *case;
    let (count, gates) = (case.count(), case.cell.gates());
    let mut results = [vec![0.0; steps * case.states()], vec![0.0; case.states()], vec![0.0; case.states()]];
    for (d, n) in (0..count).flat_map(|d| (0..batch).map(move |n| (d, n))) {
        let direction = case.direction(d);
        let at = (d * batch + n) * hidden;
        let wide = |values: &[f32]| values[at..][..hidden].iter().map(|x| f64::from(*x)).collect();
        let mut state: Vec<f64> = wide(initial[0]);
        let mut memory: Vec<f64> = wide(initial[1]);
        let length = case.lengths.as_ref().map_or(steps, |lengths| lengths[n] as usize);
        for position in 0..length {
            let t = if direction.is_reverse { length - 1 - position } else { position };
            let input = |gate: usize, j: usize| {
                f64::from(inputs[(t * batch + n) * count * gates * hidden + (d * gates + gate) * hidden + j])
            };
            let product = |gate: usize, j: usize, state: &[f64]| -> f64 {
                let row = &weights[((d * gates + gate) * hidden + j) * hidden..][..hidden];
                row.iter().zip(state).map(|(w, h)| f64::from(*w) * h).sum()
            };
            let apply = |function: usize, x: f64| {
                let limit = case.clip.map_or(f64::INFINITY, f64::from);
                direction.functions[function].apply_exact(x.clamp(-limit, limit))
            };
            let extra =
                |vector: &Option<Vec<f32>>, at: usize| vector.as_ref().map_or(0.0, |v| f64::from(v[at]));
            let sum = |gate: usize, j: usize| input(gate, j) + product(gate, j, &state);
            let next: Vec<f64> = match case.cell {
                Cell::Rnn => (0..hidden).map(|j| apply(0, sum(0, j))).collect(),
                Cell::Gru { linear_before_reset } => {
                    let reset: Vec<f64> = (0..hidden).map(|j| apply(0, sum(1, j))).collect();
                    let kept: Vec<f64> = reset.iter().zip(&state).map(|(r, h)| r * h).collect();
                    let candidate = |j: usize| {
                        let from_state = if linear_before_reset {
                            reset[j] * (product(2, j, &state) + extra(&direction.reset_bias, j))
                        } else {
                            product(2, j, &kept)
                        };
                        apply(1, input(2, j) + from_state)
                    };
                    let update = |j: usize| apply(0, sum(0, j));
                    (0..hidden).map(|j| (1.0 - update(j)) * candidate(j) + update(j) * state[j]).collect()
                }
                Cell::Lstm { couples } => {
                    let peephole = |gate: usize, j: usize| extra(&direction.peepholes, gate * hidden + j);
                    let neuron = |j: usize| {
                        let i = apply(0, sum(0, j) + peephole(0, j) * memory[j]);
                        let f = apply(0, sum(2, j) + peephole(2, j) * memory[j]);
                        let f = if couples { 1.0 - i } else { f };
                        let cell = f * memory[j] + i * apply(1, sum(3, j));
                        (cell, apply(0, sum(1, j) + peephole(1, j) * cell) * apply(2, cell))
                    };
                    let both: Vec<(f64, f64)> = (0..hidden).map(neuron).collect();
                    memory = both.iter().map(|both| both.0).collect();
                    both.iter().map(|both| both.1).collect()
                }
            };
            state = next;
            results[0][t * case.states() + at..][..hidden].copy_from_slice(&state);
        }
        results[1][at..][..hidden].copy_from_slice(&state);
        results[2][at..][..hidden].copy_from_slice(&memory);
    }
    results
}

/// `[steps, directions, batch, hidden]` in the order of the case.
fn output_layout(case: &Case) -> Layout {
    let (steps, batch, count, hidden) = (case.steps, case.batch, case.count(), case.hidden);
    let dense = Layout::contiguous(&[steps, count, batch, hidden]);
    if !case.batch_first {
        return dense;
    }
    let [d, n, t] = [hidden, steps * count * hidden, count * hidden].map(usize::cast_signed);
    Layout { strides: vec![t, d, n, 1], ..dense }
}

fn check(case: &Case, isa: Isa) {
    let Case { steps, batch, hidden, .. } = *case;
    let (count, gates, states) = (case.count(), case.cell.gates(), case.states());
    let is_lstm = matches!(case.cell, Cell::Lstm { .. });
    let inputs = values(steps * batch * count * gates * hidden, 1);
    // Larger weights make a layer chaotic: each position would multiply the rounding of the one before.
    let scale = 0.4 / (hidden as f32).sqrt();
    let weights: Vec<f32> = values(count * gates * hidden * hidden, 2).iter().map(|w| w * scale).collect();
    let initial = [values(states, 3), values(states, 4)];
    let zeros = vec![0.0; states];
    let given = if case.has_initial { [&initial[0][..], &initial[1]] } else { [&zeros[..], &zeros] };
    let expected = expected(case, &inputs, &weights, given);
    let mut fixture = Fixture::default();
    let dense = Layout::contiguous(&[count, batch, hidden]);
    let inputs_layout = Layout::contiguous(&[steps, batch, count * gates * hidden]);
    let inputs = fixture.input(&inputs);
    let lengths = case.lengths.as_ref().map(|lengths| fixture.input(lengths));
    let initial = initial.map(|values| fixture.input(&values));
    let state = |at: usize| case.has_initial.then(|| (initial[at].into(), dense.clone()));
    let [output, last, cells] = [steps * states, states, states].map(|count| fixture.output::<f32>(count));
    let scratch = fixture.output::<u8>(RecurrentSpec::scratch_bytes(states));
    let spec = RecurrentSpec {
        cell: case.cell,
        clip: case.clip,
        directions: (0..count).map(|index| case.direction(index)).collect(),
        weights: Arc::new(RecurrentWeights::pack(&weights, hidden).unwrap()),
        inputs: (inputs.into(), inputs_layout),
        lengths: lengths.map(Operand::from),
        initial_hidden: state(0),
        initial_cell: state(1).filter(|_| is_lstm),
        output: Some((output, output_layout(case))),
        last_hidden: Some((last, dense.clone())),
        last_cell: is_lstm.then(|| (cells, dense.clone())),
        scratch,
    };
    let build = || RecurrentStep::new(spec.clone(), Some(isa)).unwrap();
    let all: Vec<f32> = fixture.run(build(), output);
    let layout = output_layout(case);
    let mut worst = 0.0f64;
    for (flat, expected) in expected[0].iter().enumerate() {
        let [t, d, n, j] =
            [flat / states, flat / (batch * hidden) % count, flat / hidden % batch, flat % hidden];
        let at: isize = [t, d, n, j]
            .iter()
            .zip(&layout.strides)
            .map(|(index, stride)| index.cast_signed() * stride)
            .sum();
        worst = worst.max((f64::from(all[at.unsigned_abs()]) - expected).abs());
    }
    let threaded = fixture.try_run(build(), case.threads).unwrap();
    let single = fixture.try_run(build(), 1).unwrap();
    assert_eq!(threaded.bytes(output), single.bytes(output), "the number of threads changes results");
    let spans = [(last, &expected[1]), (cells, &expected[2])];
    for (span, expected) in spans.into_iter().take(1 + usize::from(is_lstm)) {
        let found: &[f32] = bytemuck::cast_slice(single.bytes(span));
        for (found, expected) in found.iter().zip(expected) {
            worst = worst.max((f64::from(*found) - expected).abs());
        }
    }
    assert!(worst < 2e-5, "{isa}: off by {worst}");
}

fn cells() -> impl Strategy<Value = Cell> {
    prop_oneof![
        any::<bool>().prop_map(|couples| Cell::Lstm { couples }),
        any::<bool>().prop_map(|linear_before_reset| Cell::Gru { linear_before_reset }),
        Just(Cell::Rnn),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..7, 1_usize..16, 1_usize..40);
    let reverses = prop_oneof![Just(vec![false]), Just(vec![true]), Just(vec![false, true])];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (cells(), sizes, reverses, flags, prop::collection::vec(0_i32..7, 16), 1_usize..4).prop_map(
        |(cell, (steps, batch, hidden), reverses, flags, lengths, threads)| {
            let lengths = lengths.iter().take(batch).map(|length| length % (steps as i32 + 1)).collect();
            Case {
                cell,
                clip: flags.0.then_some(0.4),
                steps,
                batch,
                hidden,
                reverses,
                lengths: flags.1.then_some(lengths),
                has_initial: flags.2,
                has_extra: flags.3,
                batch_first: flags.4,
                threads,
            }
        },
    )
}

proptest! {
    #[test]
    fn layers_match_their_equations(case in cases()) {
        for isa in Isa::available() {
            check(&case, isa);
        }
    }
}

#[test]
fn many_neurons_take_several_tiles() {
    let case = Case {
        cell: Cell::Lstm { couples: false },
        clip: None,
        steps: 3,
        batch: 13,
        hidden: 150,
        reverses: vec![false, true],
        lengths: None,
        has_initial: true,
        has_extra: true,
        batch_first: true,
        threads: 3,
    };
    Isa::available().for_each(|isa| check(&case, isa));
    let gru = Case { cell: Cell::Gru { linear_before_reset: false }, ..case };
    Isa::available().for_each(|isa| check(&gru, isa));
}

#[test]
fn a_wrong_length_is_named() {
    let mut fixture = Fixture::default();
    let inputs = fixture.input(&[0f32; 4]);
    let lengths = fixture.input(&[2, 3]);
    let output = fixture.output::<f32>(4);
    let scratch = fixture.output::<u8>(RecurrentSpec::scratch_bytes(2));
    let direction =
        Direction { is_reverse: false, functions: vec![Activation::Tanh], peepholes: None, reset_bias: None };
    let spec = RecurrentSpec {
        cell: Cell::Rnn,
        clip: None,
        directions: vec![direction],
        weights: Arc::new(RecurrentWeights::pack(&[1.0], 1).unwrap()),
        inputs: (inputs.into(), Layout::contiguous(&[2, 2, 1])),
        lengths: Some(lengths.into()),
        initial_hidden: None,
        initial_cell: None,
        output: Some((output, Layout::contiguous(&[2, 1, 2, 1]))),
        last_hidden: None,
        last_cell: None,
        scratch,
    };
    let error =
        fixture.try_run(RecurrentStep::new(spec.clone(), None).unwrap(), 1).err().unwrap().to_string();
    assert_eq!(error, "step 0: sequence_lens: 3 at position 1 is outside 0..=2");
    let doubled = Some((output, Layout { strides: vec![0, 1, 1, 1], ..Layout::contiguous(&[2, 1, 2, 1]) }));
    let refused = RecurrentStep::new(RecurrentSpec { output: doubled, ..spec }, None).err().unwrap();
    assert!(refused.reason.contains("share a place"), "{refused}");
}
