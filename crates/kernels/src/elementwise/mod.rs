//! Fused elementwise chains: many operations over broadcast operands in one pass over cache-sized blocks.
//!
//! Contract: a [`ChainSpec`] evaluates its [`Chain`] at every index of `dims`; inputs are read through their layouts
//! (stride 0 broadcasts), floats are computed in f32, integers in wrapping i64. An output may take the place of an
//! input of the same layout. Knows no operator: exec spells ONNX in the operations of [`Op`].

mod chain;
mod functions;
mod portable;
mod reference;
mod schedule;
#[cfg(test)]
mod tests;
mod transfer;

pub use chain::{Binary, Chain, Compare, Kind, Logic, Op, Unary, Value};
pub use transfer::kind_of;

use crate::arena::{Memory, Span};
use crate::element::Element;
use crate::isa::{Isa, Kernel, Method, VECTOR_KERNELS, select};
use crate::layout::Layout;
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use crate::scratch::{Slot, with_slots};
use portable::{BLOCK, Evaluate};
use schedule::{Instruction, Schedule, schedule};

/// Elements of a tile.
const TILE: usize = 8 * BLOCK;

/// Best first.
pub static KERNELS: &[Kernel<Method>] = VECTOR_KERNELS;

/// An input of a chain.
#[derive(Clone, Debug)]
pub struct ChainInput {
    /// Type of its elements.
    pub element: Element,
    /// Where they are.
    pub operand: Operand,
    /// Their layout, over the chain's dims.
    pub layout: Layout,
}

/// An output of a chain.
#[derive(Clone, Debug)]
pub struct ChainOutput {
    /// The value to store.
    pub value: Value,
    /// Type to store it as; of the value's kind.
    pub element: Element,
    /// Where to.
    pub span: Span,
    /// Layout over the chain's dims, no two indices on one element.
    pub layout: Layout,
}

/// A chain with its operands.
#[derive(Clone, Debug)]
pub struct ChainSpec {
    /// Extents of the index space.
    pub dims: Vec<usize>,
    /// What to compute.
    pub chain: Chain,
    /// One per input of the chain.
    pub inputs: Vec<ChainInput>,
    /// At least one.
    pub outputs: Vec<ChainOutput>,
}

struct Input {
    element: Element,
    source: Source<u8>,
    layout: Layout,
}

struct Output {
    element: Element,
    value: Value,
    target: Target<u8>,
    layout: Layout,
}

/// A [`ChainSpec`] ready to run.
pub struct ChainStep {
    count: usize,
    chain: Chain,
    schedule: Schedule,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    slot_bytes: usize,
    in_place: bool,
    isa: Isa,
    method: Method,
}

impl ChainStep {
    /// Checks the spec and schedules the chain.
    ///
    /// # Errors
    /// Types that do not fit the chain, layouts that leave their operands, outputs that overlap an input other than by
    /// taking its exact place, or a `FUSEBOX_KERNEL` this CPU cannot run.
    pub fn new(spec: ChainSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        let ChainSpec { dims, chain, inputs, outputs } = spec;
        if inputs.len() != chain.inputs {
            let reason = format!("a chain of {} inputs got {}", chain.inputs, inputs.len());
            return Err(SpecError::new(reason));
        }
        let in_place = takes_place(&inputs, &outputs)?;
        let whole = Layout::contiguous(&dims);
        whole.reach("chain")?;
        let count = whole.count().expect("reach proved that the extents multiply");
        let values: Vec<Value> = outputs.iter().map(|output| output.value).collect();
        let inputs: Result<Vec<_>, _> =
            inputs.into_iter().enumerate().map(|(i, input)| bind_input(i, input, &dims, &chain)).collect();
        let outputs: Result<Vec<_>, _> = outputs
            .into_iter()
            .enumerate()
            .map(|(i, output)| bind_output(i, output, &dims, &chain))
            .collect();
        let (inputs, outputs) = (inputs?, outputs?);
        let uniform: Vec<bool> = inputs.iter().map(|input| input.layout.dims.is_empty()).collect();
        let schedule = schedule(&chain, &uniform, &values);
        let wide = chain.kinds.contains(&Kind::Int);
        let slot_bytes = BLOCK * if wide { size_of::<i64>() } else { size_of::<f32>() };
        Ok(Self { count, chain, schedule, inputs, outputs, slot_bytes, in_place, isa, method })
    }

    /// One copy of the evaluator per instruction set: it is by far the largest kernel.
    #[inline(never)]
    fn evaluate(&self, instructions: &[Instruction], slots: &mut [Slot], lanes: usize) {
        match self.method {
            Method::Vector(level) => level.dispatch(Evaluate { instructions, slots, lanes }),
            Method::Scalar => reference::evaluate(instructions, slots, lanes),
        }
    }

    /// # Safety
    /// The range lies below `count`, and no other thread writes the inputs or accesses the outputs there.
    unsafe fn block(&self, start: usize, lanes: usize, slots: &mut [Slot], memory: &Memory<'_>, first: bool) {
        for (index, input) in self.inputs.iter().enumerate() {
            let uniform = input.layout.dims.is_empty();
            if (uniform && !first) || !self.schedule.used[index] {
                continue;
            }
            let (start, lanes) = if uniform { (0, BLOCK) } else { (start, lanes) };
            // SAFETY: the layout was checked against the operand; the caller excludes writers.
            unsafe {
                let source = input.source.locate(memory);
                transfer::load(input.element, source, &input.layout, start, lanes, &mut slots[index]);
            }
        }
        self.evaluate(&self.schedule.body, slots, lanes);
        for output in &self.outputs {
            let slot = &slots[self.schedule.slot_of[output.value.0]];
            // SAFETY: as above, and the caller vouches for exclusive access.
            unsafe {
                let target = output.target.locate(memory);
                transfer::store(output.element, slot, target, &output.layout, start, lanes);
            }
        }
    }
}

fn bind_input(index: usize, input: ChainInput, dims: &[usize], chain: &Chain) -> Result<Input, SpecError> {
    let ChainInput { element, operand, layout } = input;
    let what = format!("chain input {index}");
    check_dims(&what, &layout, dims)?;
    if kind_of(element) != chain.kinds[index] {
        let reason = format!("{what} is {:?}, its elements are {}", chain.kinds[index], element.name());
        return Err(SpecError::new(reason));
    }
    let needed = bytes(layout.reach(&what)?, element, &what)?;
    let source = Source::for_elements(operand, element, needed, &what)?;
    Ok(Input { element, source, layout: layout.collapsed() })
}

fn bind_output(
    index: usize,
    output: ChainOutput,
    dims: &[usize],
    chain: &Chain,
) -> Result<Output, SpecError> {
    let ChainOutput { value, element, span, layout } = output;
    let what = format!("chain output {index}");
    check_dims(&what, &layout, dims)?;
    let kind = chain.kind(value)?;
    if kind_of(element) != kind {
        return Err(SpecError::new(format!("{what} is {kind:?}, stored as {}", element.name())));
    }
    if !layout.is_injective() && layout.count() != Some(0) {
        return Err(SpecError::new(format!("{what}: {layout:?} writes elements twice")));
    }
    let needed = bytes(layout.reach(&what)?, element, &what)?;
    let target = Target::for_elements(span, element, needed, &what)?;
    Ok(Output { element, value, target, layout: layout.collapsed() })
}

fn check_dims(what: &str, layout: &Layout, dims: &[usize]) -> Result<(), SpecError> {
    if layout.dims == dims {
        return Ok(());
    }
    Err(SpecError::new(format!("{what} has dims {:?}, the chain {dims:?}", layout.dims)))
}

fn bytes(elements: usize, element: Element, what: &str) -> Result<usize, SpecError> {
    let overflow = || SpecError::new(format!("{what}: {elements} elements overflow"));
    elements.checked_mul(element.size()).ok_or_else(overflow)
}

/// Whether some output takes the place of an input. That is sound only where both walk the span in the same way.
fn takes_place(inputs: &[ChainInput], outputs: &[ChainOutput]) -> Result<bool, SpecError> {
    let mut found = false;
    for (o, output) in outputs.iter().enumerate() {
        for (i, input) in inputs.iter().enumerate() {
            let Some(span) = input.operand.span().filter(|span| span.overlaps(output.span)) else { continue };
            let same = span == output.span
                && input.layout == output.layout
                && input.element.size() == output.element.size();
            if !same {
                let reason = format!("chain output {o} overlaps input {i} without taking its exact place");
                return Err(SpecError::new(reason));
            }
            found = true;
        }
    }
    Ok(found)
}

// SAFETY: every layout was checked against its operand, output layouts name no element twice, and tiles are disjoint
// ranges of the index space. An output that shares an input's span has that input's layout, and a block is loaded
// before it is stored.
unsafe impl Step for ChainStep {
    fn name(&self) -> String {
        format!("elementwise.{}.{}", self.isa, self.chain.len())
    }
    fn reads(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = self.inputs.iter().filter_map(|input| input.source.span()).collect();
        spans.sort_unstable();
        spans.dedup();
        spans
    }
    fn writes(&self) -> Vec<Span> {
        self.outputs.iter().map(|output| output.target.span()).collect()
    }
    fn in_place(&self) -> bool {
        self.in_place
    }
    fn tiles(&self, _: usize) -> usize {
        self.count.div_ceil(TILE)
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let start = tile.index * TILE;
        let end = (start + TILE).min(self.count);
        with_slots(self.schedule.slots, self.slot_bytes, |slots| {
            self.evaluate(&self.schedule.immediates, slots, BLOCK);
            for block in (start..end).step_by(BLOCK) {
                // SAFETY: the block is inside this tile, which no other thread works on.
                unsafe { self.block(block, BLOCK.min(end - block), slots, memory, block == start) };
            }
        });
        Ok(())
    }
}
