//! Builds right sides in the e-graph and joins them with what they equal, keeping a log of who made what.
//!
//! A right side that cannot be built (a size that is not known, an operator that refuses its operands, a `const!` that
//! is not constant) leaves the e-graph without a new equality.

use crate::egraph::analysis::Egg;
use crate::egraph::node::{Code, ENode};
use crate::expr::{Expr, Scope, Subst};
use crate::rule::{Make, Rule, Template, TemplateCall, Variant};
use crate::search::{Match, bind_where};
use crate::value::{Operand, Value};
use egg::Id;
use fusebox_ir::{Attr, Attrs, DType, OpName, Tensor};
use fusebox_ops::attributes::{self, AttrSpec};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

/// One application of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Position of the rule in its set.
    pub(crate) rule: usize,
    /// E-nodes that the left side went through.
    pub(crate) sources: Vec<ENode>,
}

/// What the applications of all rules did.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<Event>,
    /// E-nodes that did not exist before, each with its event.
    pub(crate) created: Vec<(ENode, usize)>,
    /// E-nodes at the root of a right side, with their event: also those that existed before.
    pub(crate) results: Vec<(Id, usize)>,
    /// Sites whose right side was built: building it again would find the same e-nodes.
    pub(crate) done: HashSet<u64>,
    /// Classes that group rules made: they are no sites for another group.
    pub(crate) merged: Vec<Id>,
}

/// Applies a rule at one site. Returns whether the e-graph learnt an equality.
pub(crate) fn apply(
    egraph: &mut Egg,
    index: usize,
    rule: &Rule,
    variant: &Variant,
    site: &Match,
    log: &mut Log,
) -> bool {
    let key = fingerprint(index, variant, site);
    if log.done.contains(&key) {
        return false;
    }
    let mut builder = Builder::new(egraph, variant, std::slice::from_ref(&site.subst), site.root);
    let Some(root) = builder.build(&variant.rhs) else { return builder.give_up() };
    let mut more = Vec::new();
    for (slot, template) in &variant.also {
        let (Some(class), Some(other)) = (builder.class(*slot, 0), builder.build(template)) else {
            return builder.give_up();
        };
        more.push((class, other));
    }
    let created = std::mem::take(&mut builder.created);
    let event = log.events.len();
    egraph.analysis.rule.clone_from(&rule.name);
    let mut changed = egraph.union(site.root, root);
    for (class, other) in more {
        changed |= egraph.union(class, other);
    }
    log.done.insert(key);
    if changed {
        log.events.push(Event { rule: index, sources: site.nodes.clone() });
        log.created.extend(created.into_iter().map(|n| (n, event)));
        log.results.push((root, event));
    }
    changed
}

/// Names a site: rule, variant, class and variables.
fn fingerprint(index: usize, variant: &Variant, site: &Match) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    (index, variant.number, site.root).hash(&mut hasher);
    site.subst.hash(&mut hasher);
    hasher.finish()
}

/// Applies a group rule to sites that share everything but their `[i]` variables.
pub(crate) fn apply_group(
    egraph: &mut Egg,
    index: usize,
    rule: &Rule,
    variant: &Variant,
    sites: &[Match],
    log: &mut Log,
) -> bool {
    let mut substs: Vec<Subst> = sites.iter().map(|s| s.subst.clone()).collect();
    for (slots, value) in &variant.wheres {
        let scope = Scope { egraph, subst: &substs[0], group: &substs };
        let Some(value) = value.eval(scope) else { return false };
        if bind_where(&mut substs[0], slots, value).is_none() {
            return false;
        }
    }
    let scope = Scope { egraph, subst: &substs[0], group: &substs };
    if !variant.guards.iter().all(|g| g.proved(scope)) {
        return false;
    }
    let mut builder = Builder::new(egraph, variant, &substs, sites[0].root);
    builder.root_outputs = u32::try_from(sites.len()).expect("groups are small");
    let Some(tuple) = builder.build(&variant.rhs) else { return builder.give_up() };
    let mut created = std::mem::take(&mut builder.created);
    let event = log.events.len();
    log.merged.extend(created.iter().filter_map(|n| egraph.lookup(n.clone())));
    egraph.analysis.rule.clone_from(&rule.name);
    let mut changed = false;
    for (position, site) in sites.iter().enumerate() {
        let mut output = ENode::leaf(Code::PROJ, position as u32);
        output.children.push(tuple);
        created.push(output.clone());
        let output = egraph.add(output);
        changed |= egraph.union(site.root, output);
        log.results.push((output, event));
    }
    let sources = sites.iter().flat_map(|s| s.nodes.iter().cloned()).collect();
    log.events.push(Event { rule: index, sources });
    log.created.extend(created.into_iter().map(|n| (n, event)));
    changed
}

struct Builder<'a> {
    egraph: &'a mut Egg,
    variant: &'a Variant,
    substs: &'a [Subst],
    /// Class of the left side: its element type is that of constants made here.
    root: Id,
    created: Vec<ENode>,
    /// Outputs of the outermost operator.
    root_outputs: u32,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn new(egraph: &'a mut Egg, variant: &'a Variant, substs: &'a [Subst], root: Id) -> Self {
        egraph.analysis.refused = false;
        Self { egraph, variant, substs, root, created: Vec::new(), root_outputs: 1, depth: 0 }
    }

    fn give_up(&mut self) -> bool {
        self.egraph.analysis.refused = false;
        false
    }

    fn eval(&self, expr: &Expr, member: usize) -> Option<Value> {
        expr.eval(Scope { egraph: self.egraph, subst: &self.substs[member], group: self.substs })
    }

    fn add(&mut self, node: ENode) -> Option<Id> {
        if self.egraph.lookup(node.clone()).is_none() {
            self.created.push(node.clone());
        }
        let id = self.egraph.add(node);
        (!self.egraph.analysis.refused).then_some(id)
    }

    fn absent(&mut self) -> Option<Id> {
        self.add(ENode::leaf(Code::NONE, 0))
    }

    fn constant(&mut self, tensor: &Tensor) -> Option<Id> {
        let number = self.egraph.analysis.tables.constant(tensor);
        self.add(ENode::leaf(Code::CONST, number))
    }

    fn build(&mut self, template: &Template) -> Option<Id> {
        self.build_for(template, 0)
    }

    fn build_for(&mut self, template: &Template, member: usize) -> Option<Id> {
        match template {
            Template::Class(slot) => self.class(*slot, member),
            Template::All(_) => None,
            Template::Absent => self.absent(),
            Template::Scalar(value) => {
                let value = self.eval(value, member)?;
                self.scalar(&value, self.dtype(self.root))
            }
            Template::Ints(list) => {
                let values = self.eval(list, member)?.as_ints()?;
                self.constant(&Tensor::vector(values))
            }
            Template::Make(make, args) => self.make(*make, args, member),
            Template::Const(inner) => {
                let id = self.build_for(inner, member)?;
                self.egraph[id].data.constant.then_some(id)
            }
            Template::Proj(inner, index) => {
                let tag = u32::try_from(self.eval(index, member)?.as_int()?).ok()?;
                let outputs = std::mem::replace(&mut self.root_outputs, tuple_outputs(inner));
                let depth = std::mem::replace(&mut self.depth, 0);
                let tuple = self.build_for(inner, member);
                (self.root_outputs, self.depth) = (outputs, depth);
                let tuple = tuple?;
                let mut node = ENode::leaf(Code::PROJ, tag);
                node.children.push(tuple);
                self.add(node)
            }
            Template::Call(call) => self.call(call, member),
        }
    }

    fn class(&mut self, slot: usize, member: usize) -> Option<Id> {
        match self.substs[member].classes[slot]? {
            Operand::Class(id) => Some(id),
            Operand::Absent => match &self.variant.defaults[slot] {
                Some(default) => self.build_for(default, member),
                None => self.absent(),
            },
        }
    }

    fn dtype(&self, id: Id) -> Option<DType> {
        self.egraph[id].data.tensor().map(|t| t.dtype)
    }

    fn scalar(&mut self, value: &Value, dtype: Option<DType>) -> Option<Id> {
        let tensor = scalar(value, dtype.unwrap_or(DType::F32))?;
        self.constant(&tensor)
    }

    fn make(&mut self, make: Make, args: &[Expr], member: usize) -> Option<Id> {
        let value = self.eval(args.first()?, member)?;
        let dtype = self.dtype(self.root).filter(|d| d.is_float()).unwrap_or(DType::F32);
        match make {
            Make::Ints => self.constant(&Tensor::vector(value.as_ints()?)),
            Make::Int => self.constant(&Tensor::scalar(value.as_int()?)),
            Make::Float => self.scalar(&Value::Float(value.as_float()?), Some(dtype)),
            Make::Zeros | Make::Ones => {
                let fill = if make == Make::Ones { 1.0 } else { 0.0 };
                let shape: Option<Vec<usize>> =
                    value.as_ints()?.into_iter().map(|v| usize::try_from(v).ok()).collect();
                self.constant(&filled(shape?, fill, dtype)?)
            }
        }
    }

    fn call(&mut self, call: &TemplateCall, member: usize) -> Option<Id> {
        let outputs = if self.depth == 0 { self.root_outputs } else { 1 };
        self.depth += 1;
        let children = self.operands(call, member);
        self.depth -= 1;
        let children = children?;
        let attrs = self.attrs(call, member)?;
        let attrs = self.egraph.analysis.tables.record(attrs);
        self.add(ENode { code: call.code, attrs, tag: 0, outputs, children })
    }

    /// Operands in order; numbers take the element type of the tensors beside them.
    fn operands(&mut self, call: &TemplateCall, member: usize) -> Option<SmallVec<[Id; 6]>> {
        let mut ids: Vec<Vec<Option<Id>>> = Vec::new();
        for arg in &call.args {
            ids.push(match arg {
                Template::Scalar(_) => vec![None],
                Template::All(slot) => {
                    (0..self.substs.len()).map(|m| self.class(*slot, m).map(Some)).collect::<Option<_>>()?
                }
                other => vec![Some(self.build_for(other, member)?)],
            });
        }
        let neighbour =
            ids.iter().flatten().flatten().find_map(|id| self.dtype(*id).filter(|d| *d != DType::Bool));
        let dtype = neighbour.or_else(|| self.dtype(self.root));
        for (arg, slot) in call.args.iter().zip(&mut ids) {
            if let Template::Scalar(value) = arg {
                let value = self.eval(value, member)?;
                slot[0] = Some(self.scalar(&value, dtype)?);
            }
        }
        let mut children: SmallVec<[Id; 6]> = ids.into_iter().flatten().collect::<Option<_>>()?;
        // Trailing absent operands are trimmed, so that there is one spelling.
        while children
            .last()
            .is_some_and(|id| self.egraph[*id].nodes.first().map(|n| n.code) == Some(Code::NONE))
        {
            children.pop();
        }
        Some(children)
    }

    fn attrs(&self, call: &TemplateCall, member: usize) -> Option<Attrs> {
        let mut attrs = Attrs::new();
        for slot in &call.records {
            let record = self.egraph.analysis.tables.attrs(self.substs[member].records[*slot]?);
            for (name, attr) in record.iter() {
                if attributes::spec(&call.op, name).is_some() {
                    attrs.set(name, attr.clone());
                }
            }
        }
        for (name, value) in &call.fields {
            match self.eval(value, member)? {
                Value::None => {
                    attrs.remove(name);
                }
                value => attrs.set(name, attribute(&call.op, name, &value)?),
            }
        }
        Some(with_defaults(&call.op, attrs))
    }
}

/// Outputs of an operator of which a template takes one: all that it can have.
fn tuple_outputs(template: &Template) -> u32 {
    let Template::Call(call) = template else { return 1 };
    let most = call.code.index().map_or(1, |index| fusebox_ops::ops()[index].schema().outputs.1);
    u32::try_from(most).unwrap_or(1)
}

/// A value as an attribute of the kind that the operator declares.
pub(crate) fn attribute(op: &OpName, name: &str, value: &Value) -> Option<Attr> {
    Some(match attributes::spec(op, name)? {
        AttrSpec::Int(_) => {
            let whole = || value.as_float().filter(|v| v.fract() == 0.0 && v.abs() < 1e15).map(|v| v as i64);
            Attr::Int(value.as_int().or_else(|| value.as_bool().map(i64::from)).or_else(whole)?)
        }
        AttrSpec::Float(_) => Attr::Float(value.as_float()? as f32),
        AttrSpec::Str(_) => match value {
            Value::Str(text) => Attr::from(text.as_str()),
            _ => return None,
        },
        AttrSpec::Ints => Attr::Ints(value.as_ints()?),
        AttrSpec::Other => return None,
    })
}

/// A record with the defaults of its operator filled in.
pub(crate) fn with_defaults(op: &OpName, mut attrs: Attrs) -> Attrs {
    for (name, spec) in attributes::of(op) {
        if attrs.get(name).is_none()
            && let Some(default) = spec.default()
        {
            attrs.set(name, default);
        }
    }
    attrs
}

/// A scalar constant.
fn scalar(value: &Value, dtype: DType) -> Option<Tensor> {
    if let (Some(value), true) = (value.as_int(), dtype.is_integer()) {
        return match dtype {
            DType::I64 => Some(Tensor::scalar(value)),
            DType::I32 => i32::try_from(value).ok().map(Tensor::scalar),
            _ => None,
        };
    }
    filled(Vec::new(), value.as_float()?, dtype)
}

/// A float constant whose elements are all equal.
fn filled(shape: Vec<usize>, value: f64, dtype: DType) -> Option<Tensor> {
    let count = fusebox_ir::tensor::element_count(&shape).filter(|n| *n <= 1 << 24)?;
    match dtype {
        DType::F32 => Tensor::from_vec(shape, vec![value as f32; count]).ok(),
        DType::F64 => Tensor::from_vec(shape, vec![value; count]).ok(),
        DType::F16 => Tensor::from_vec(shape, vec![half::f16::from_f64(value); count]).ok(),
        DType::BF16 => Tensor::from_vec(shape, vec![half::bf16::from_f64(value); count]).ok(),
        _ => None,
    }
}
