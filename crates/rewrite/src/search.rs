//! Finds matches of left sides in the e-graph, by backtracking over the nodes of classes.
//!
//! Guards are part of the search: a match that is not proved to satisfy them is never returned, so nothing that counts
//! or limits matches ever sees it. Matches come in the order of class ids, then of nodes in their class, then of
//! alternatives as written: the same in every run.

use crate::egraph::analysis::Egg;
use crate::egraph::node::{Code, ENode};
use crate::expr::{Scope, Subst};
use crate::rule::{Pat, PatAttr, PatCall, PatIndex, Preset, Variant};
use crate::value::{Operand, Value, close, equal};
use egg::Id;
use std::ops::ControlFlow;

/// A match.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    /// Class of the left side.
    pub(crate) root: Id,
    /// Variables.
    pub(crate) subst: Subst,
    /// E-nodes that the pattern went through, root first.
    pub(crate) nodes: Vec<ENode>,
}

/// What remains to be matched: a linked list on the stack.
#[derive(Clone, Copy)]
struct Goal<'a> {
    task: Task<'a>,
    rest: Option<&'a Goal<'a>>,
}

#[derive(Clone, Copy)]
enum Task<'a> {
    Term(&'a Pat, Id),
    /// Operands of a node from a position on; swapped in the second order of `~`.
    Operands {
        call: &'a PatCall,
        node: &'a ENode,
        from: usize,
        swapped: bool,
    },
    /// The pattern of a let was matched: its slot is bound after it, so that it cannot refer to itself.
    Bind(usize, Id),
}

struct State {
    subst: Subst,
    nodes: Vec<ENode>,
}

struct Search<'a> {
    egraph: &'a Egg,
    variant: &'a Variant,
    found: &'a mut dyn FnMut(&State) -> ControlFlow<()>,
    /// Steps left at this class, against patterns that backtrack without end.
    steps: usize,
}

/// Backtracking steps that a pattern may take at one class.
const MAX_STEPS: usize = 200_000;

/// Matches of a variant, at most `limit`; the flag says that there were more or that a class was given up.
pub(crate) fn search(egraph: &Egg, variant: &Variant, limit: usize) -> (Vec<Match>, bool) {
    let mut ids: Vec<Id> = Vec::new();
    for code in &variant.roots {
        ids.extend(egraph.classes_for_op(code).into_iter().flatten());
    }
    ids.sort_unstable();
    ids.dedup();
    let mut matches: Vec<Match> = Vec::new();
    let mut cut = false;
    for root in ids {
        cut |= search_class(egraph, variant, root, limit, &mut matches);
        if matches.len() >= limit {
            return (matches, true);
        }
    }
    (matches, cut)
}

/// Adds the matches at one class.
pub(crate) fn search_class(
    egraph: &Egg,
    variant: &Variant,
    root: Id,
    limit: usize,
    matches: &mut Vec<Match>,
) -> bool {
    let first = matches.len();
    let mut found = |state: &State| {
        let subst = finish(egraph, variant, &state.subst);
        if let Some(subst) = subst
            && !matches[first..].iter().any(|m| m.subst == subst)
        {
            matches.push(Match { root, subst, nodes: state.nodes.clone() });
        }
        if matches.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut search = Search { egraph, variant, found: &mut found, steps: MAX_STEPS };
    let mut state = State {
        subst: Subst {
            classes: vec![None; variant.classes.len()],
            scalars: vec![None; variant.scalars.len()],
            records: vec![None; variant.records.len()],
        },
        nodes: Vec::new(),
    };
    let goal = Goal { task: Task::Term(&variant.lhs, root), rest: None };
    search.run(Some(&goal), &mut state).is_break()
}

/// Computes `where` values and checks guards; groups check them over all sites instead.
pub(crate) fn finish(egraph: &Egg, variant: &Variant, subst: &Subst) -> Option<Subst> {
    let mut subst = subst.clone();
    if variant.each.contains(&true) {
        return Some(subst);
    }
    let group = [];
    for (slots, value) in &variant.wheres {
        let value = value.eval(Scope { egraph, subst: &subst, group: &group })?;
        bind_where(&mut subst, slots, value)?;
    }
    let scope = Scope { egraph, subst: &subst, group: &group };
    variant.guards.iter().all(|g| g.proved(scope)).then_some(subst)
}

/// Binds the names of one `where`.
pub(crate) fn bind_where(subst: &mut Subst, slots: &[usize], value: Value) -> Option<()> {
    if let [slot] = slots {
        subst.scalars[*slot] = Some(value);
        return Some(());
    }
    let items = value.as_list().filter(|items| items.len() == slots.len())?;
    for (slot, item) in slots.iter().zip(items) {
        subst.scalars[*slot] = Some(item.clone());
    }
    Some(())
}

impl Search<'_> {
    fn run(&mut self, goal: Option<&Goal<'_>>, state: &mut State) -> ControlFlow<()> {
        let Some(goal) = goal else { return (self.found)(state) };
        if self.steps == 0 {
            return ControlFlow::Break(());
        }
        self.steps -= 1;
        match goal.task {
            Task::Term(pat, id) => self.term(pat, id, goal.rest, state),
            Task::Operands { call, node, from, swapped } => {
                if from == call.args.len() {
                    return self.run(goal.rest, state);
                }
                let position = if swapped { 1 - from } else { from };
                let rest =
                    Goal { task: Task::Operands { call, node, from: from + 1, swapped }, rest: goal.rest };
                match node.children.get(position) {
                    Some(id) => {
                        let id = self.egraph.find(*id);
                        let next = Goal { task: Task::Term(&call.args[from], id), rest: Some(&rest) };
                        self.run(Some(&next), state)
                    }
                    None => self.absent(&call.args[from], Some(&rest), state),
                }
            }
            Task::Bind(slot, id) => self.with_class(slot, Operand::Class(id), goal.rest, state),
        }
    }

    fn absent(&mut self, pat: &Pat, rest: Option<&Goal<'_>>, state: &mut State) -> ControlFlow<()> {
        match pat {
            Pat::Absent | Pat::Any => self.run(rest, state),
            Pat::Class(slot, true) => self.with_class(*slot, Operand::Absent, rest, state),
            _ => ControlFlow::Continue(()),
        }
    }

    fn with_class(
        &mut self,
        slot: usize,
        operand: Operand,
        rest: Option<&Goal<'_>>,
        state: &mut State,
    ) -> ControlFlow<()> {
        match state.subst.classes[slot] {
            Some(bound) if bound == operand => self.run(rest, state),
            Some(_) => ControlFlow::Continue(()),
            None => {
                state.subst.classes[slot] = Some(operand);
                let flow = self.run(rest, state);
                state.subst.classes[slot] = None;
                flow
            }
        }
    }

    fn with_scalar(
        &mut self,
        slot: usize,
        value: Value,
        rest: Option<&Goal<'_>>,
        state: &mut State,
    ) -> ControlFlow<()> {
        match &state.subst.scalars[slot] {
            Some(bound) if equal(bound, &value) == Some(true) => self.run(rest, state),
            Some(_) => ControlFlow::Continue(()),
            None => {
                state.subst.scalars[slot] = Some(value);
                let flow = self.run(rest, state);
                state.subst.scalars[slot] = None;
                flow
            }
        }
    }

    fn term(&mut self, pat: &Pat, id: Id, rest: Option<&Goal<'_>>, state: &mut State) -> ControlFlow<()> {
        let class = &self.egraph[id];
        if class.nodes.first().map(|n| n.code) == Some(Code::NONE) {
            return self.absent(pat, rest, state);
        }
        match pat {
            Pat::Any => self.run(rest, state),
            Pat::Absent => ControlFlow::Continue(()),
            Pat::Class(slot, _) => self.with_class(*slot, Operand::Class(id), rest, state),
            Pat::Let(index) => {
                let shared = &self.variant.lets[*index];
                match state.subst.classes[shared.slot] {
                    Some(bound) if bound == Operand::Class(id) => self.run(rest, state),
                    Some(_) => ControlFlow::Continue(()),
                    None => {
                        let bind = Goal { task: Task::Bind(shared.slot, id), rest };
                        self.run(Some(&Goal { task: Task::Term(&shared.pat, id), rest: Some(&bind) }), state)
                    }
                }
            }
            Pat::Scalar(slot) => match self.number(id) {
                Some(value) => self.with_scalar(*slot, value, rest, state),
                None => ControlFlow::Continue(()),
            },
            Pat::Vector(slot) => match self.vector(id) {
                Some(value) => self.with_scalar(*slot, value, rest, state),
                None => ControlFlow::Continue(()),
            },
            Pat::Value(value) => {
                if self.is_value(id, value) {
                    return self.run(rest, state);
                }
                ControlFlow::Continue(())
            }
            Pat::Call(call) => self.call(call, id, rest, state),
            Pat::Either(pats) => {
                for pat in pats {
                    self.run(Some(&Goal { task: Task::Term(pat, id), rest }), state)?;
                }
                ControlFlow::Continue(())
            }
            Pat::Opt(call, through, presets) => {
                self.call(call, id, rest, state)?;
                self.without(&call.args[*through], id, presets, rest, state)
            }
            Pat::Proj(inner, index) => self.projection(inner, index, id, rest, state),
        }
    }

    /// The optional operator is absent: its defaults hold and the class itself is the operand.
    fn without(
        &mut self,
        through: &Pat,
        id: Id,
        presets: &[Preset],
        rest: Option<&Goal<'_>>,
        state: &mut State,
    ) -> ControlFlow<()> {
        let saved = state.subst.clone();
        let mut fits = true;
        for preset in presets {
            match preset {
                Preset::Scalar(slot, value) => match &state.subst.scalars[*slot] {
                    Some(bound) => fits &= equal(bound, value) == Some(true),
                    None => state.subst.scalars[*slot] = Some(value.clone()),
                },
                Preset::Absent(slot) => match state.subst.classes[*slot] {
                    Some(bound) => fits &= bound == Operand::Absent,
                    None => state.subst.classes[*slot] = Some(Operand::Absent),
                },
            }
        }
        let goal = Goal { task: Task::Term(through, id), rest };
        let flow = if fits { self.run(Some(&goal), state) } else { ControlFlow::Continue(()) };
        state.subst = saved;
        flow
    }

    fn projection(
        &mut self,
        inner: &Pat,
        index: &PatIndex,
        id: Id,
        rest: Option<&Goal<'_>>,
        state: &mut State,
    ) -> ControlFlow<()> {
        let egraph = self.egraph;
        for node in egraph[id].nodes.iter().filter(|n| n.code == Code::PROJ) {
            state.nodes.push(node.clone());
            let tuple = Goal { task: Task::Term(inner, egraph.find(node.children[0])), rest };
            let flow = match index {
                PatIndex::Is(wanted) if *wanted != node.tag => ControlFlow::Continue(()),
                PatIndex::Is(_) => self.run(Some(&tuple), state),
                PatIndex::Bind(slot) => {
                    self.with_scalar(*slot, Value::from(i64::from(node.tag)), Some(&tuple), state)
                }
            };
            state.nodes.pop();
            flow?;
        }
        ControlFlow::Continue(())
    }

    fn call(
        &mut self,
        call: &PatCall,
        id: Id,
        rest: Option<&Goal<'_>>,
        state: &mut State,
    ) -> ControlFlow<()> {
        let egraph = self.egraph;
        for node in egraph[id].nodes.iter().filter(|n| n.code == call.code) {
            if node.children.len() > call.args.len() || !self.scalars_fit(call, node) {
                continue;
            }
            let saved = state.subst.clone();
            if self.attrs(call, node, &mut state.subst) {
                let bound = match call.bind {
                    Some(slot) => state.subst.classes[slot]
                        .replace(Operand::Class(id))
                        .is_none_or(|bound| bound == Operand::Class(id)),
                    None => true,
                };
                if bound {
                    state.nodes.push(node.clone());
                    for swapped in [false, true] {
                        if !swapped || call.either_order {
                            let task = Task::Operands { call, node, from: 0, swapped };
                            self.run(Some(&Goal { task, rest }), state)?;
                        }
                    }
                    state.nodes.pop();
                }
            }
            state.subst = saved;
        }
        ControlFlow::Continue(())
    }

    /// A constant of one element may stand for a scalar only where broadcasting it cannot raise the rank.
    fn scalars_fit(&self, call: &PatCall, node: &ENode) -> bool {
        let scalar = |pat: &Pat| matches!(pat, Pat::Scalar(_) | Pat::Value(Value::Int(_) | Value::Float(_)));
        if !call.args.iter().any(scalar) {
            return true;
        }
        let rank = |id: &Id| self.egraph[*id].data.shape().map(smallvec::SmallVec::len);
        let constant = |id: &&Id| self.egraph[**id].data.value.is_some() && rank(id).is_some_and(|r| r <= 8);
        let one = |id: &Id| self.number(*id).is_some();
        let largest =
            node.children.iter().filter(|id| !one(id)).map(rank).try_fold(0, |m, r| Some(m.max(r?)));
        node.children.iter().filter(constant).filter(|id| one(id)).all(|id| {
            let mine = rank(id).unwrap_or(0);
            mine == 0 || largest.is_some_and(|largest| mine <= largest)
        })
    }

    fn attrs(&self, call: &PatCall, node: &ENode, subst: &mut Subst) -> bool {
        let attrs = self.egraph.analysis.tables.attrs(node.attrs);
        let rank = || self.egraph[*node.children.first()?].data.shape().map(|s| s.len() as i64);
        call.attrs.iter().all(|pattern| match pattern {
            PatAttr::Record(slot) => match subst.records[*slot] {
                Some(bound) => bound == node.attrs,
                None => {
                    subst.records[*slot] = Some(node.attrs);
                    true
                }
            },
            PatAttr::Bind(name, slot) => {
                let Some(value) = attrs.get(name).map_or(Some(Value::None), Value::from_attr) else {
                    return false;
                };
                match &subst.scalars[*slot] {
                    Some(bound) => equal(bound, &value) == Some(true),
                    None => {
                        subst.scalars[*slot] = Some(value);
                        true
                    }
                }
            }
            PatAttr::Equal(name, wanted) => {
                let value = attrs.get(name).map_or(Some(Value::None), Value::from_attr);
                value.is_some_and(|v| equal(&v, wanted) == Some(true) || same_axis(name, &v, wanted, rank()))
            }
        })
    }

    /// Value of a constant of one element.
    fn number(&self, id: Id) -> Option<Value> {
        let tensor = self.egraph.analysis.tables.tensor(self.egraph[id].data.value?);
        if tensor.len() != 1 {
            return None;
        }
        if let Some(values) = tensor.integers() {
            return values.first().copied().map(Value::from);
        }
        tensor.floats()?.first().copied().map(Value::Float)
    }

    /// Elements of a constant vector of integers.
    fn vector(&self, id: Id) -> Option<Value> {
        let tensor = self.egraph.analysis.tables.tensor(self.egraph[id].data.value?);
        if tensor.shape().len() > 1 || tensor.len() > 64 {
            return None;
        }
        tensor.integers().map(Value::ints)
    }

    fn is_value(&self, id: Id, wanted: &Value) -> bool {
        match wanted {
            Value::List(_) => self.vector(id).is_some_and(|v| equal(&v, wanted) == Some(true)),
            _ => match (self.number(id).and_then(|v| v.as_float()), wanted.as_float()) {
                (Some(value), Some(wanted)) => close(value, wanted),
                _ => false,
            },
        }
    }
}

/// Attributes that name one axis mean the same written from the front and from the back.
fn same_axis(name: &str, value: &Value, wanted: &Value, rank: Option<i64>) -> bool {
    if name != "axis" {
        return false;
    }
    let (Some(value), Some(wanted), Some(rank)) = (value.as_int(), wanted.as_int(), rank) else {
        return false;
    };
    value.rem_euclid(rank.max(1)) == wanted.rem_euclid(rank.max(1))
}
