//! Assigns the values of a chain to slots of block size.
//!
//! Values that are the same everywhere (immediates, broadcast scalars) keep a slot for a whole tile; the others share
//! slots as soon as their last use is past. The slot of a result is never one of its operands'.

use super::chain::{Chain, Kind, Op, Value};

/// One operation with the slots of its result and operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) op: Op,
    /// Kind of the numbers it works on: of the alternatives for `Where`, of the first operand for the others.
    pub(super) kind: Kind,
    pub(super) result: usize,
    pub(super) operands: [usize; 3],
}

#[derive(Debug)]
pub(super) struct Schedule {
    /// Number of slots.
    pub(super) slots: usize,
    /// Slot of each value; unused values have one too.
    pub(super) slot_of: Vec<usize>,
    /// Which inputs some operation or output reads.
    pub(super) used: Vec<bool>,
    /// Immediates, evaluated once per tile.
    pub(super) immediates: Vec<Instruction>,
    /// The rest, evaluated per block.
    pub(super) body: Vec<Instruction>,
}

/// Schedules a chain. `uniform` tells which inputs are scalars, `outputs` which values are stored.
pub(super) fn schedule(chain: &Chain, uniform: &[bool], outputs: &[Value]) -> Schedule {
    let values = chain.kinds.len();
    let live = live(chain, outputs);
    let lives = |position: usize| live[chain.inputs + position];
    // A value dies after the last operation that reads it; outputs never die.
    let mut last = vec![0; values];
    for (position, op) in chain.ops.iter().enumerate().filter(|(position, _)| lives(*position)) {
        for operand in op.operands() {
            last[operand.0] = position + 1;
        }
    }
    for output in outputs {
        last[output.0] = usize::MAX;
    }
    let used = last[..chain.inputs].iter().map(|&position| position > 0).collect();
    for (input, _) in uniform.iter().enumerate().filter(|(_, uniform)| **uniform) {
        last[input] = usize::MAX;
    }
    let mut slots = chain.inputs;
    let mut slot_of: Vec<usize> = (0..values).collect();
    let mut free = Vec::new();
    let (mut immediates, mut body) = (Vec::new(), Vec::new());
    for (position, op) in chain.ops.iter().enumerate().filter(|(position, _)| lives(*position)) {
        let value = chain.inputs + position;
        let pinned = matches!(op, Op::Float(_) | Op::Int(_));
        let reused = if pinned { None } else { free.pop() };
        slot_of[value] = reused.unwrap_or_else(|| {
            slots += 1;
            slots - 1
        });
        let mut operands = [0; 3];
        let mut dying = Vec::new();
        for (place, operand) in operands.iter_mut().zip(op.operands()) {
            *place = slot_of[operand.0];
            let immediate = operand.0 >= chain.inputs
                && matches!(chain.ops[operand.0 - chain.inputs], Op::Float(_) | Op::Int(_));
            if last[operand.0] == position + 1 && !immediate && !dying.contains(place) {
                dying.push(*place);
            }
        }
        free.extend(dying);
        let list = if pinned { &mut immediates } else { &mut body };
        let decisive = match *op {
            Op::Where(_, value, _) => Some(value),
            op => op.operands().next(),
        };
        let kind = decisive.map_or(Kind::Float, |value| chain.kinds[value.0]);
        list.push(Instruction { op: *op, kind, result: slot_of[value], operands });
    }
    Schedule { slots, slot_of, used, immediates, body }
}

/// Which values the outputs need: what replaced an operation may have left it without a reader.
fn live(chain: &Chain, outputs: &[Value]) -> Vec<bool> {
    let mut live = vec![false; chain.kinds.len()];
    outputs.iter().for_each(|output| live[output.0] = true);
    for (position, op) in chain.ops.iter().enumerate().rev() {
        if live[chain.inputs + position] {
            op.operands().for_each(|operand| live[operand.0] = true);
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::chain::{Binary, Kind, Unary};

    #[test]
    fn what_nobody_reads_is_not_computed() {
        let mut chain = Chain::new(&[Kind::Float]);
        let x = chain.input(0).unwrap();
        let idle = chain.push(Op::Convert(Kind::Int, x)).unwrap();
        chain.push(Op::Unary(Unary::Neg, idle)).unwrap();
        let y = chain.push(Op::Unary(Unary::Neg, x)).unwrap();
        assert_eq!(schedule(&chain, &[false], &[y]).body.len(), 1);
    }

    #[test]
    fn slots_are_shared_but_never_with_an_operand() {
        let mut chain = Chain::new(&[Kind::Float]);
        let mut value = chain.input(0).unwrap();
        let two = chain.push(Op::Float(2.0)).unwrap();
        for _ in 0..10 {
            value = chain.push(Op::Unary(Unary::Neg, value)).unwrap();
            value = chain.push(Op::Binary(Binary::Mul, value, two)).unwrap();
        }
        let schedule = schedule(&chain, &[false], &[value]);
        assert!(schedule.slots <= 4, "{schedule:?}");
        for instruction in &schedule.body {
            let count = instruction.op.operands().count();
            assert!(!instruction.operands[..count].contains(&instruction.result), "{instruction:?}");
        }
    }
}
