//! The step: checks a spec, splits every position into tiles, multiplies states and hands tiles to the cell.
//!
//! Phase 0 copies the initial state into scratch; each position then takes one phase, or two. States before and after a
//! position lie in two halves of scratch that change places.

use super::cell::Tile as CellTile;
use super::{Cell, Direction, RecurrentSpec};
use crate::arena::{Memory, Span};
use crate::gemm::{Block, Micros, PANEL, Precision, best_shape, micros};
use crate::isa::{Isa, IsaError, Level};
use crate::layout::Layout;
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use crate::scratch::with_slots;

/// A read operand and where its elements are.
struct Read(Source<f32>, Layout);

/// A written operand and where its elements are.
struct Write(Target<f32>, Layout);

impl Read {
    fn new((operand, layout): (Operand, Layout), dims: &[usize], what: &str) -> Result<Self, SpecError> {
        let needed = checked(&layout, dims, what)?;
        Ok(Self(Source::new(operand, needed, what)?, layout))
    }

    /// # Safety
    /// The index is inside the layout's dims, and nothing writes there.
    unsafe fn at(&self, memory: &Memory<'_>, index: &[usize]) -> *const f32 {
        // SAFETY: `new` checked that every index of the layout is inside the operand.
        unsafe { self.0.locate(memory).offset(position(&self.1, index)) }
    }
}

impl Write {
    fn new((span, layout): (Span, Layout), dims: &[usize], what: &str) -> Result<Self, SpecError> {
        let needed = checked(&layout, dims, what)?;
        if !layout.is_injective() {
            return Err(SpecError::new(format!("{what}: two of its elements share a place")));
        }
        Ok(Self(Target::new(span, needed, what)?, layout))
    }

    /// # Safety
    /// The index is inside the layout's dims.
    unsafe fn at(&self, memory: &Memory<'_>, index: &[usize]) -> *mut f32 {
        // SAFETY: `new` checked that every index of the layout is inside the operand.
        unsafe { self.0.locate(memory).offset(position(&self.1, index)) }
    }
}

/// Elements that a layout of these dims needs; the last dim must be contiguous.
fn checked(layout: &Layout, dims: &[usize], what: &str) -> Result<usize, SpecError> {
    if layout.dims != dims {
        return Err(SpecError::new(format!("{what} must be {dims:?}, it is {:?}", layout.dims)));
    }
    if layout.strides.last() != Some(&1) && dims.last().is_some_and(|last| *last > 1) {
        return Err(SpecError::new(format!("{what}: its rows are not contiguous")));
    }
    layout.reach(what)
}

fn position(layout: &Layout, index: &[usize]) -> isize {
    let steps = index.iter().zip(&layout.strides).map(|(index, stride)| index.cast_signed() * stride);
    layout.offset.cast_signed() + steps.sum::<isize>()
}

/// A [`RecurrentSpec`] ready to run.
pub struct RecurrentStep {
    cell: Cell,
    clip: Option<f32>,
    directions: Vec<Direction>,
    weights: std::sync::Arc<super::RecurrentWeights>,
    inputs: Read,
    lengths: Option<Source<i32>>,
    initial: [Option<Read>; 2],
    output: Option<Write>,
    last: [Option<Write>; 2],
    scratch: Target<f32>,
    steps: usize,
    batch: usize,
    hidden: usize,
    /// Sequences and neurons of a tile.
    rows: usize,
    columns: usize,
    isa: Isa,
    level: Level,
    micros: &'static Micros,
}

/// Which neurons of which sequences a tile computes, at which position.
struct Place {
    /// Position within each sequence, in the order in which it is walked.
    position: usize,
    direction: usize,
    first_row: usize,
    rows: usize,
    first: usize,
    width: usize,
    /// Elements of a row in working memory.
    stride: usize,
}

impl Place {
    fn length(&self) -> usize {
        self.rows * self.stride
    }
}

impl RecurrentStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// Operands that are too small or of the wrong shape, parameters whose number does not fit the cell, or a
    /// `FUSEBOX_KERNEL` this CPU cannot run.
    pub fn new(spec: RecurrentSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, micros) = micros(Precision::F32, force)?;
        let level = isa.level().ok_or(IsaError::Missing { isa })?;
        let RecurrentSpec { cell, clip, directions, weights, .. } = spec;
        let (count, hidden, gates) = (directions.len(), weights.hidden, cell.gates());
        let &[steps, batch, _] = &spec.inputs.1.dims[..] else {
            return Err(SpecError::new("recurrent: the inputs must have three dims"));
        };
        if steps == 0 {
            return Err(SpecError::new("recurrent: no positions"));
        }
        check_directions(cell, &directions, hidden, weights.gates.len())?;
        let states = [count, batch, hidden];
        let scratch = Layout::contiguous(&[4, count, batch, hidden]).reach("recurrent scratch")?;
        let read = |operand: Option<(Operand, Layout)>, what| {
            operand.map(|operand| Read::new(operand, &states, what)).transpose()
        };
        let write = |operand: Option<(Span, Layout)>, what| {
            operand.map(|operand| Write::new(operand, &states, what)).transpose()
        };
        let output = spec
            .output
            .map(|operand| Write::new(operand, &[steps, count, batch, hidden], "recurrent output"));
        let lengths = spec.lengths.map(|operand| Source::new(operand, batch, "recurrent lengths"));
        let (nv, mr) = best_shape(micros, batch, hidden);
        Ok(Self {
            inputs: Read::new(spec.inputs, &[steps, batch, count * gates * hidden], "recurrent inputs")?,
            lengths: lengths.transpose()?,
            initial: [
                read(spec.initial_hidden, "recurrent initial state")?,
                read(spec.initial_cell, "recurrent initial cell")?,
            ],
            output: output.transpose()?,
            last: [
                write(spec.last_hidden, "recurrent last state")?,
                write(spec.last_cell, "recurrent last cell")?,
            ],
            scratch: Target::new(spec.scratch, scratch, "recurrent scratch")?,
            // Equal blocks of rows: a remainder of one would run at a fraction of the speed.
            rows: batch.div_ceil(batch.div_ceil(mr).max(1)).max(1),
            columns: nv * PANEL,
            cell,
            clip,
            directions,
            weights,
            steps,
            batch,
            hidden,
            isa,
            level,
            micros,
        })
    }

    fn states(&self) -> usize {
        self.directions.len() * self.batch * self.hidden
    }

    /// First neuron of a sequence in part `part` of scratch: 0 and 1 hold the states of even and odd positions.
    ///
    /// # Safety
    /// The neuron is one of the layer's, `part` below 4.
    unsafe fn kept(&self, memory: &Memory<'_>, part: usize, direction: usize, row: usize) -> *mut f32 {
        let at = part * self.states() + (direction * self.batch + row) * self.hidden;
        // SAFETY: `new` checked that scratch holds four times every state.
        unsafe { self.scratch.locate(memory).add(at) }
    }

    /// Positions of a sequence.
    fn length(&self, memory: &Memory<'_>, row: usize) -> usize {
        let Some(lengths) = &self.lengths else { return self.steps };
        // SAFETY: there is a length per sequence, and nothing writes them.
        let length = unsafe { *lengths.locate(memory).add(row) };
        usize::try_from(length).unwrap_or(0).min(self.steps)
    }

    fn check_lengths(&self, memory: &Memory<'_>) -> Result<(), StepError> {
        let Some(lengths) = &self.lengths else { return Ok(()) };
        for row in 0..self.batch {
            // SAFETY: there is a length per sequence, and nothing writes them.
            let length = unsafe { *lengths.locate(memory).add(row) };
            if usize::try_from(length).map_or(true, |length| length > self.steps) {
                let steps = self.steps;
                let reason = format!("sequence_lens: {length} at position {row} is outside 0..={steps}");
                return Err(StepError(reason));
            }
        }
        Ok(())
    }

    /// Copies the initial states into scratch.
    fn begin(&self, memory: &Memory<'_>) {
        let parts = if matches!(self.cell, Cell::Lstm { .. }) { &[0, 2][..] } else { &[0] };
        for (initial, part) in self.initial.iter().zip(parts) {
            for (direction, row) in
                (0..self.directions.len()).flat_map(|d| (0..self.batch).map(move |row| (d, row)))
            {
                // SAFETY: both rows are in bounds; phase 0 has one tile, so nothing else touches scratch.
                unsafe {
                    let target = self.kept(memory, *part, direction, row);
                    match initial {
                        Some(initial) => {
                            let source = initial.at(memory, &[direction, row, 0]);
                            target.copy_from_nonoverlapping(source, self.hidden);
                        }
                        None => target.write_bytes(0, self.hidden),
                    }
                }
            }
        }
    }

    fn place(&self, position: usize, index: usize) -> Place {
        let (row_blocks, column_blocks) =
            (self.batch.div_ceil(self.rows), self.hidden.div_ceil(self.columns));
        let (first_row, rest) = (index % row_blocks * self.rows, index / row_blocks);
        let first = rest % column_blocks * self.columns;
        let width = self.columns.min(self.hidden - first);
        Place {
            position,
            direction: rest / column_blocks,
            first_row,
            rows: self.rows.min(self.batch - first_row),
            first,
            width,
            stride: width.next_multiple_of(PANEL),
        }
    }

    /// Time of a sequence at a position, `None` behind its end.
    fn time(&self, place: &Place, length: usize) -> Option<usize> {
        let is_reverse = self.directions[place.direction].is_reverse;
        let time = if is_reverse { length.checked_sub(place.position + 1) } else { Some(place.position) };
        time.filter(|_| place.position < length)
    }

    /// Copies `part` of scratch into a tile, padding with zeros.
    fn load_kept(&self, memory: &Memory<'_>, place: &Place, part: usize, tile: &mut [f32]) {
        for (row, target) in tile.chunks_exact_mut(place.stride).enumerate() {
            // SAFETY: the neurons are in bounds, and whoever writes this part in this phase is this tile.
            let source = unsafe {
                let source = self.kept(memory, part, place.direction, place.first_row + row);
                std::slice::from_raw_parts(source.add(place.first), place.width)
            };
            target[..place.width].copy_from_slice(source);
            target[place.width..].fill(0.0);
        }
    }

    /// Copies the products with the inputs of one gate into a tile, padding with zeros.
    fn load_inputs(&self, memory: &Memory<'_>, place: &Place, gate: usize, tile: &mut [f32]) {
        for (row, target) in tile.chunks_exact_mut(place.stride).enumerate() {
            let sequence = place.first_row + row;
            let time = self.time(place, self.length(memory, sequence));
            let column = (place.direction * self.cell.gates() + gate) * self.hidden + place.first;
            // A sequence that has ended computes with any input: its result is not taken.
            let index = [time.unwrap_or(0), sequence, column];
            // SAFETY: the index is in bounds, and nothing writes the inputs.
            let source = unsafe { std::slice::from_raw_parts(self.inputs.at(memory, &index), place.width) };
            target[..place.width].copy_from_slice(source);
            target[place.width..].fill(0.0);
        }
    }

    /// Product of `part` of scratch with the weights of a gate, into a tile or added to it.
    fn multiply(
        &self,
        memory: &Memory<'_>,
        place: &Place,
        (gate, part): (usize, usize),
        tile: &mut [f32],
        accumulate: bool,
    ) {
        let packed = &self.weights.gates[place.direction * self.cell.gates() + gate];
        let kernel = (self.micros.get)(place.stride / PANEL, place.rows);
        let kernel = kernel.expect("tables hold every size below a shape");
        assert!(tile.len() >= place.length(), "a tile holds its rows");
        // SAFETY: rows of states are in bounds and written by nobody in this phase; panels hold `hidden` rows of 16
        // columns up to the last one's padding; the tile holds rows × stride elements; micros were detected.
        unsafe {
            kernel(&Block {
                groups: self.hidden,
                a: self.kept(memory, part, place.direction, place.first_row).cast_const().cast(),
                a_row: self.hidden,
                b: packed.as_ptr().add(place.first / PANEL * self.hidden * PANEL * size_of::<f32>()),
                b_panel: self.hidden * PANEL,
                c: tile.as_mut_ptr(),
                c_row: place.stride,
                accumulate,
            });
        }
    }

    /// Writes the new state of a tile's neurons; sequences that have ended keep the old one and give zeros.
    fn store(&self, memory: &Memory<'_>, place: &Place, hidden: &[f32], cell: Option<&[f32]>) {
        let (old, new) = (place.position % 2, (place.position + 1) % 2);
        for row in 0..place.rows {
            let sequence = place.first_row + row;
            let time = self.time(place, self.length(memory, sequence));
            let state = [place.direction, sequence, place.first];
            // SAFETY: all neurons are in bounds and this tile's; layouts that are written are injective.
            unsafe {
                let kept = |part| self.kept(memory, part, place.direction, sequence).add(place.first);
                let (before, target) = (kept(old).cast_const(), kept(new));
                let source = if time.is_some() { hidden.as_ptr().add(row * place.stride) } else { before };
                target.copy_from_nonoverlapping(source, place.width);
                if let (Some(cell), Some(_)) = (cell, time) {
                    kept(2).copy_from_nonoverlapping(cell.as_ptr().add(row * place.stride), place.width);
                }
                if let Some(output) = &self.output {
                    let at = [time.unwrap_or(place.position), place.direction, sequence, place.first];
                    let to = output.at(memory, &at);
                    match time {
                        Some(_) => to.copy_from_nonoverlapping(target, place.width),
                        None => to.write_bytes(0, place.width),
                    }
                }
                if place.position + 1 == self.steps {
                    for (last, source) in self.last.iter().zip([target, kept(2)]) {
                        if let Some(last) = last {
                            last.at(memory, &state).copy_from_nonoverlapping(source, place.width);
                        }
                    }
                }
            }
        }
    }

    /// One tile of a position; `part` counts the phases that a position takes.
    fn advance(&self, memory: &Memory<'_>, place: &Place, part: usize) {
        let (length, old) = (place.length(), place.position % 2);
        let has_ended = |row| self.time(place, self.length(memory, place.first_row + row)).is_none();
        if (0..place.rows).all(has_ended) {
            if part + 1 == self.cell.phases() {
                self.store(memory, place, &[], None);
            }
            return;
        }
        with_slots(2, 4 * length * size_of::<f32>(), |slots| {
            let [gates, kept] = slots else { return };
            let (gates, kept) = (&mut gates.floats_mut()[..4 * length], &mut kept.floats_mut()[..length]);
            let memory_part = if matches!(self.cell, Cell::Lstm { .. }) { 2 } else { old };
            self.load_kept(memory, place, memory_part, kept);
            let used = self.sums(memory, place, part, gates);
            CellTile {
                cell: self.cell,
                clip: self.clip,
                direction: &self.directions[place.direction],
                first: place.first,
                width: place.width,
                stride: place.stride,
                gates: &mut gates[..used * length],
                memory: &mut *kept,
                part,
            }
            .finish(self.level);
            match self.cell {
                Cell::Lstm { .. } => self.store(memory, place, kept, Some(&gates[3 * length..])),
                Cell::Gru { linear_before_reset: false } if part == 0 => {
                    self.keep(memory, place, 2, &gates[..length]);
                    self.keep(memory, place, 3, &gates[length..2 * length]);
                }
                _ => self.store(memory, place, kept, None),
            }
        });
    }

    /// Fills the sums of the gates of a phase and returns how many there are.
    fn sums(&self, memory: &Memory<'_>, place: &Place, part: usize, gates: &mut [f32]) -> usize {
        let (length, old) = (place.length(), place.position % 2);
        let mut add = |gate: usize, source: usize| {
            let tile = &mut gates[gate * length..][..length];
            self.load_inputs(memory, place, gate, tile);
            self.multiply(memory, place, (gate, source), tile, true);
        };
        match (self.cell, part) {
            (Cell::Gru { linear_before_reset: true }, _) => {
                (0..2).for_each(|gate| add(gate, old));
                self.multiply(memory, place, (2, old), &mut gates[2 * length..3 * length], false);
                self.load_inputs(memory, place, 2, &mut gates[3 * length..]);
                4
            }
            (Cell::Gru { .. }, 0) => {
                (0..2).for_each(|gate| add(gate, old));
                2
            }
            (Cell::Gru { .. }, _) => {
                add(2, 3);
                self.load_kept(memory, place, 2, &mut gates[..length]);
                3
            }
            (cell, _) => {
                (0..cell.gates()).for_each(|gate| add(gate, old));
                cell.gates()
            }
        }
    }

    /// Copies a tile into `part` of scratch.
    fn keep(&self, memory: &Memory<'_>, place: &Place, part: usize, tile: &[f32]) {
        for (row, source) in tile.chunks_exact(place.stride).enumerate() {
            // SAFETY: the neurons are in bounds and this tile's.
            let target = unsafe {
                let target = self.kept(memory, part, place.direction, place.first_row + row);
                std::slice::from_raw_parts_mut(target.add(place.first), place.width)
            };
            target.copy_from_slice(&source[..place.width]);
        }
    }
}

fn check_directions(
    cell: Cell,
    directions: &[Direction],
    hidden: usize,
    gates: usize,
) -> Result<(), SpecError> {
    let expected = directions.len() * cell.gates();
    if gates != expected {
        let reason = format!("recurrent: weights of {gates} gates, {expected} are needed");
        return Err(SpecError::new(reason));
    }
    for direction in directions {
        if direction.functions.len() != cell.functions() {
            let (given, expected) = (direction.functions.len(), cell.functions());
            return Err(SpecError::new(format!("recurrent: {given} functions, {expected} are needed")));
        }
        let lengths = [(&direction.peepholes, 3 * hidden), (&direction.reset_bias, hidden)];
        for (values, expected) in lengths {
            if values.as_ref().is_some_and(|values| values.len() != expected) {
                return Err(SpecError::new(format!("recurrent: a vector that must hold {expected} values")));
            }
        }
    }
    Ok(())
}

// SAFETY: `new` checked that every index of every operand is inside it. Phase 0 has one tile. In the others a tile writes
// the new state, the kept values, the outputs of its own neurons of its own sequences: output layouts are injective, and
// every (position, sequence) has another time. What it reads of other tiles, states of the other half of scratch and the
// reset state of the phase before, nobody writes in its phase.
unsafe impl Step for RecurrentStep {
    fn name(&self) -> String {
        format!("{}.{}.{}x{}", self.cell.name(), self.isa, self.rows, self.columns)
    }

    fn reads(&self) -> Vec<Span> {
        let initial = self.initial.iter().flatten().filter_map(|read| read.0.span());
        let lengths = self.lengths.as_ref().and_then(Source::span);
        self.inputs.0.span().into_iter().chain(lengths).chain(initial).collect()
    }

    fn writes(&self) -> Vec<Span> {
        let outputs = self.output.iter().chain(self.last.iter().flatten()).map(|write| write.0.span());
        std::iter::once(self.scratch.span()).chain(outputs).collect()
    }

    fn phases(&self) -> usize {
        1 + self.steps * self.cell.phases()
    }

    fn tiles(&self, phase: usize) -> usize {
        let blocks = self.batch.div_ceil(self.rows) * self.hidden.div_ceil(self.columns);
        if phase == 0 { 1 } else { self.directions.len() * blocks }
    }

    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let Some(phase) = tile.phase.checked_sub(1) else {
            self.check_lengths(memory)?;
            self.begin(memory);
            return Ok(());
        };
        let phases = self.cell.phases();
        self.advance(memory, &self.place(phase / phases, tile.index), phase % phases);
        Ok(())
    }
}
