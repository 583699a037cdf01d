//! Instances of a rule: graphs of its left side, one per example and alternative, and the check that the rule fires on
//! them with equal types on both sides.
//!
//! The same instances are what the tests evaluate against the reference.

use crate::apply::{Log, apply, apply_group};
use crate::egraph::import::{Imported, import};
use crate::expr::{Scope, Subst};
use crate::lang::ast::{Example, ExampleTensor, ExampleValue, Expr, ExprKind, Kind};
use crate::lang::diag::{RuleError, Span};
use crate::rule::{Pat, PatAttr, PatCall, PatIndex, Rule, Variant};
use crate::search::{Match, search};
use crate::value::Value;
use fusebox_ir::{Attr, Attrs, DType, Dim, Graph, Node, OpName, Tensor, TensorType, Type, ValueId};
use std::collections::HashMap;

/// A left side as a graph.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The graph; its outputs are the sites.
    pub graph: Graph,
    /// Inputs whose elements must be positive, by position.
    pub positive: Vec<bool>,
}

/// All instances of a rule.
///
/// # Errors
/// An example that does not give what the left side needs.
pub fn instances(rule: &Rule) -> Result<Vec<Instance>, Box<RuleError>> {
    let mut all = Vec::new();
    for variant in &rule.variants {
        each(rule, variant, |_, instance| {
            all.push(instance);
            Ok(())
        })?;
    }
    Ok(all)
}

/// Checks a rule on its examples.
///
/// # Errors
/// The left side cannot be typed, the rule does not fire, its right side cannot be built, or the types differ.
pub fn check(rule: &Rule) -> Result<(), Box<RuleError>> {
    rule.variants.iter().try_for_each(|variant| {
        each(rule, variant, |example, instance| check_instance(rule, variant, example, instance))
    })
}

fn each(
    rule: &Rule,
    variant: &Variant,
    mut visit: impl FnMut(&Example, Instance) -> Result<(), Box<RuleError>>,
) -> Result<(), Box<RuleError>> {
    for example in &variant.examples {
        let mut chooser = Chooser::default();
        loop {
            visit(example, build(rule, variant, example, &mut chooser)?)?;
            if !chooser.advance() {
                break;
            }
        }
    }
    Ok(())
}

fn check_instance(
    rule: &Rule,
    variant: &Variant,
    example: &Example,
    mut instance: Instance,
) -> Result<(), Box<RuleError>> {
    let error = |reason: String| {
        RuleError::new(&rule.source, example.span.clone(), format!("rule {}: {reason}", rule.name))
    };
    if let Err(wrong) = fusebox_ops::infer_graph(&mut instance.graph, &[]) {
        return Err(error(format!("its left side cannot be typed on this example: {wrong}")));
    }
    let Ok(mut imported) = import(&instance.graph, 1) else {
        return Err(error("its left side has a cycle".into()));
    };
    let (matches, _) = search(&imported.egraph, variant, 1000);
    let output = instance.graph.outputs[0];
    let root = imported.class_of[output.0 as usize].map(|id| imported.egraph.find(id));
    let matches: Vec<Match> =
        matches.into_iter().filter(|m| rule.kind == Kind::Group || Some(m.root) == root).collect();
    if matches.is_empty() {
        return Err(error(format!("it does not fire on this example{}", first_failing(&imported, variant)))
            .help("change the example or the guards"));
    }
    let mut log = Log::default();
    let egraph = &mut imported.egraph;
    let fired = match rule.kind {
        Kind::Group => apply_group(egraph, 0, rule, variant, &matches, &mut log),
        _ => matches.iter().any(|m| apply(egraph, 0, rule, variant, m, &mut log)),
    };
    egraph.rebuild();
    if let Some(conflict) = &egraph.analysis.conflict {
        let reason = format!("its left side is {}, its right side {}", conflict.left, conflict.right);
        return Err(error(reason).help("both sides must have the same type for every size"));
    }
    if !fired {
        let help = "an operator refuses its operands, a `const!` is not constant, or a size is not known";
        return Err(error("its right side cannot be built on this example".into()).help(help));
    }
    Ok(())
}

/// Says which guard is not proved, when the pattern alone matches.
fn first_failing(imported: &Imported, variant: &Variant) -> String {
    let mut open = variant.clone();
    open.guards.clear();
    open.wheres.clear();
    let (matches, _) = search(&imported.egraph, &open, 100);
    let Some(site) = matches.first() else { return ": the pattern does not match".into() };
    let mut subst: Subst = site.subst.clone();
    for (slots, value) in &variant.wheres {
        let scope = Scope { egraph: &imported.egraph, subst: &subst, group: &[] };
        let bound = value.eval(scope).and_then(|v| crate::search::bind_where(&mut subst, slots, v));
        if bound.is_none() {
            return ": a value of `where` is not known".into();
        }
    }
    let scope = Scope { egraph: &imported.egraph, subst: &subst, group: &[] };
    let failing = variant.guards.iter().position(|g| !g.proved(scope));
    failing.map_or_else(String::new, |index| format!(": guard {} is not proved", index + 1))
}

/// Walks through all combinations of alternatives.
#[derive(Default)]
struct Chooser {
    digits: Vec<(usize, usize)>,
    at: usize,
}

impl Chooser {
    fn choose(&mut self, count: usize) -> usize {
        if self.at == self.digits.len() {
            self.digits.push((0, count));
        }
        self.at += 1;
        self.digits[self.at - 1].0
    }

    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((digit, count)) = self.digits.pop() {
            if digit + 1 < count {
                self.digits.push((digit + 1, count));
                return true;
            }
        }
        false
    }
}

fn build(
    rule: &Rule,
    variant: &Variant,
    example: &Example,
    chooser: &mut Chooser,
) -> Result<Instance, Box<RuleError>> {
    let sites = if rule.kind == Kind::Group {
        example
            .vars
            .iter()
            .map(|v| if let ExampleValue::Tensors(t) = &v.value { t.len() } else { 1 })
            .max()
            .unwrap_or(1)
    } else {
        1
    };
    let mut builder = Builder {
        rule,
        variant,
        example,
        graph: Graph::new(),
        positive: Vec::new(),
        classes: HashMap::new(),
        lets: HashMap::new(),
        site: 0,
        seed: 1,
    };
    for site in 0..sites {
        builder.site = site;
        let output = builder.pattern(&variant.lhs, chooser, DType::F32)?;
        let output = output.ok_or_else(|| builder.error(example.span.clone(), "the left side is absent"))?;
        builder.graph.value_mut(output).name = format!("y{site}");
        builder.graph.outputs.push(output);
    }
    Ok(Instance { graph: builder.graph, positive: builder.positive })
}

struct Builder<'a> {
    rule: &'a Rule,
    variant: &'a Variant,
    example: &'a Example,
    graph: Graph,
    positive: Vec<bool>,
    classes: HashMap<(usize, usize), Option<ValueId>>,
    lets: HashMap<usize, ValueId>,
    site: usize,
    seed: u64,
}

type Built<T> = Result<T, Box<RuleError>>;

impl Builder<'_> {
    fn error(&self, span: Span, reason: impl Into<String>) -> Box<RuleError> {
        RuleError::new(&self.rule.source, span, format!("rule {}: {}", self.rule.name, reason.into()))
    }

    fn given(&self, name: &str) -> Built<&ExampleValue> {
        let found = self.example.vars.iter().find(|v| v.name == name).map(|v| &v.value);
        found.ok_or_else(|| {
            self.error(self.example.span.clone(), format!("the example says nothing about `{name}`"))
        })
    }

    fn pattern(&mut self, pat: &Pat, chooser: &mut Chooser, dtype: DType) -> Built<Option<ValueId>> {
        Ok(match pat {
            Pat::Any => {
                return Err(
                    self.error(self.example.span.clone(), "give `_` a name, so that examples can type it")
                );
            }
            Pat::Absent => None,
            Pat::Class(slot, _) => self.class(*slot)?,
            Pat::Let(index) => {
                if let Some(value) = self.lets.get(index) {
                    return Ok(Some(*value));
                }
                let pat = self.variant.lets[*index].pat.clone();
                let value = self.pattern(&pat, chooser, dtype)?;
                if let Some(value) = value {
                    self.lets.insert(*index, value);
                }
                value
            }
            Pat::Scalar(slot) => {
                let value = self.scalar(*slot)?;
                Some(self.number(&value, dtype)?)
            }
            Pat::Vector(slot) => {
                let values = self.scalar(*slot)?.as_ints();
                let values = values
                    .ok_or_else(|| self.error(self.example.span.clone(), "expected a list of integers"))?;
                Some(self.graph.add_constant("", Tensor::vector(values)))
            }
            Pat::Value(Value::List(items)) => {
                let values: Option<Vec<i64>> = items.iter().map(Value::as_int).collect();
                Some(self.graph.add_constant("", Tensor::vector(values.unwrap_or_default())))
            }
            Pat::Value(value) => Some(self.number(value, dtype)?),
            Pat::Call(call) => Some(self.call(call, chooser, dtype, 1)?),
            Pat::Either(pats) => {
                let index = chooser.choose(pats.len());
                self.pattern(&pats[index], chooser, dtype)?
            }
            Pat::Opt(call, through, _) => {
                if chooser.choose(2) == 0 {
                    Some(self.call(call, chooser, dtype, 1)?)
                } else {
                    self.pattern(&call.args[*through], chooser, dtype)?
                }
            }
            Pat::Proj(inner, index) => self.projection(inner, index, chooser, dtype)?,
        })
    }

    fn projection(
        &mut self,
        inner: &Pat,
        index: &PatIndex,
        chooser: &mut Chooser,
        dtype: DType,
    ) -> Built<Option<ValueId>> {
        let index = match index {
            PatIndex::Is(index) => *index as usize,
            PatIndex::Bind(slot) => self.scalar(*slot)?.as_int().unwrap_or(0).max(0) as usize,
        };
        let shared = if let Pat::Let(index) = inner { Some(*index) } else { None };
        if let Some(first) = shared.and_then(|index| self.lets.get(&index)) {
            let producer = self.graph.value(*first).producer;
            return Ok(producer.and_then(|(node, _)| self.graph.node(node).output(index)));
        }
        let body = shared.map(|index| self.variant.lets[index].pat.clone());
        let Pat::Call(call) = body.as_ref().unwrap_or(inner) else {
            return Err(self.error(self.example.span.clone(), "only an operator has several outputs"));
        };
        let sizes = call.args.iter().find_map(|a| if let Pat::Vector(slot) = a { Some(*slot) } else { None });
        let sizes = sizes.map(|slot| self.scalar(slot)).transpose()?;
        // A reader of a later output may come after the first one: at least what the operator always has.
        let least = call.code.index().map_or(2, |op| fusebox_ops::ops()[op].schema().outputs.0.max(2));
        let outputs =
            sizes.and_then(|s| s.as_list().map(<[Value]>::len)).unwrap_or(0).max(index + 1).max(least);
        let first = self.call(call, chooser, dtype, outputs)?;
        if let Some(index) = shared {
            self.lets.insert(index, first);
        }
        let Some((node, _)) = self.graph.value(first).producer else { return Ok(None) };
        Ok(self.graph.node(node).output(index))
    }

    fn class(&mut self, slot: usize) -> Built<Option<ValueId>> {
        let site = if self.variant.each[slot] { self.site } else { 0 };
        if let Some(value) = self.classes.get(&(slot, site)) {
            return Ok(*value);
        }
        let name = format!("?{}", self.variant.classes[slot]);
        let value = match self.given(&name)?.clone() {
            ExampleValue::None => None,
            ExampleValue::Tensors(tensors) => {
                let tensor = tensors.get(site).or(tensors.last()).cloned();
                let tensor = tensor
                    .ok_or_else(|| self.error(self.example.span.clone(), format!("`{name}` has no type")))?;
                Some(self.tensor(&name, &tensor)?)
            }
            ExampleValue::Value(expr) => {
                let value = self.literal(&expr)?;
                let tensor = literal_tensor(&value).ok_or_else(|| {
                    self.error(self.example.span.clone(), format!("`{name}` must be numbers"))
                })?;
                Some(self.graph.add_constant("", tensor))
            }
            ExampleValue::Record(_) => {
                return Err(self.error(self.example.span.clone(), format!("`{name}` must be a tensor type")));
            }
        };
        self.classes.insert((slot, site), value);
        Ok(value)
    }

    fn tensor(&mut self, name: &str, tensor: &ExampleTensor) -> Built<ValueId> {
        let span = self.example.span.clone();
        let dtype = DType::from_name(&tensor.dtype)
            .ok_or_else(|| self.error(span.clone(), format!("`{}` is not an element type", tensor.dtype)))?;
        let dims: Vec<Dim> = tensor.dims.iter().map(|d| self.dim(d)).collect::<Built<_>>()?;
        let name =
            format!("{}{}", &name[1..], if self.site > 0 { self.site.to_string() } else { String::new() });
        let ty = TensorType::new(dtype, dims);
        if !tensor.constant {
            self.positive.push(tensor.positive);
            return Ok(self.graph.add_input(name, ty));
        }
        let sizes = ty.sizes().ok_or_else(|| self.error(span.clone(), "a constant needs known sizes"))?;
        if element_count(&sizes).is_none() {
            let reason = format!("a constant of shape {sizes:?} is too large for an example");
            return Err(self.error(span, reason));
        }
        self.seed += 1;
        let data = match tensor.fill.as_deref() {
            Some("zeros") if dtype == DType::I8 => {
                let count = element_count(&sizes).unwrap_or(0);
                Tensor::from_vec(sizes.clone(), vec![0i8; count]).ok()
            }
            Some(fill) => filled(fill, &sizes),
            None => random(dtype, &sizes, tensor.positive, self.seed),
        };
        let data = data.ok_or_else(|| self.error(span, format!("constants of {dtype} are not generated")))?;
        Ok(self.graph.add_constant(name, data))
    }

    fn dim(&self, expr: &Expr) -> Built<Dim> {
        Ok(match &expr.kind {
            ExprKind::Number(value, true) => Dim::known(*value as i64),
            ExprKind::Name(name) => Dim::symbol(name.as_str()),
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.dim(a)?, self.dim(b)?);
                match *op {
                    "*" => a.mul(&b),
                    "+" => a.add(&b),
                    _ => {
                        return Err(
                            self.error(expr.span.clone(), "a size is a number, a symbol, a sum or a product")
                        );
                    }
                }
            }
            _ => {
                return Err(self.error(expr.span.clone(), "a size is a number, a symbol, a sum or a product"));
            }
        })
    }

    fn literal(&self, expr: &Expr) -> Built<Value> {
        Ok(match &expr.kind {
            ExprKind::Number(value, true) => Value::from(*value as i64),
            ExprKind::Number(value, false) => Value::Float(*value),
            ExprKind::Str(text) => Value::Str(text.clone()),
            ExprKind::List(items) => {
                Value::List(items.iter().map(|i| self.literal(i)).collect::<Built<_>>()?)
            }
            ExprKind::Unary("-", inner) => match self.literal(inner)? {
                Value::Float(value) => Value::Float(-value),
                _ => return Err(self.error(expr.span.clone(), "expected a literal")),
            },
            _ => return Err(self.error(expr.span.clone(), "expected a literal")),
        })
    }

    fn scalar(&self, slot: usize) -> Built<Value> {
        let name = format!("${}", self.variant.scalars[slot]);
        match self.given(&name)? {
            ExampleValue::Value(expr) => self.literal(expr),
            _ => Err(self.error(self.example.span.clone(), format!("`{name}` must be a value"))),
        }
    }

    fn number(&mut self, value: &Value, dtype: DType) -> Built<ValueId> {
        let number =
            value.as_float().ok_or_else(|| self.error(self.example.span.clone(), "expected a number"))?;
        let tensor = match dtype {
            _ if matches!(value, Value::Int(_)) => Tensor::scalar(number as i64),
            DType::I64 => Tensor::scalar(number as i64),
            DType::F64 => Tensor::scalar(number),
            _ => Tensor::scalar(number as f32),
        };
        Ok(self.graph.add_constant("", tensor))
    }

    fn call(
        &mut self,
        call: &PatCall,
        chooser: &mut Chooser,
        dtype: DType,
        outputs: usize,
    ) -> Built<ValueId> {
        // Numbers take the element type of a variable beside them, so variables come first.
        let of = |this: &mut Self, pat: &Pat| match pat {
            Pat::Class(slot, _) => {
                this.class(*slot).map(|v| v.and_then(|v| this.graph.value(v).ty.tensor().map(|t| t.dtype)))
            }
            _ => Ok(None),
        };
        let mut near = None;
        for arg in &call.args {
            near = near.or(of(self, arg)?);
        }
        let near = near.filter(|d| *d != DType::Bool).unwrap_or(dtype);
        let mut inputs =
            call.args.iter().map(|a| self.pattern(a, chooser, near)).collect::<Built<Vec<_>>>()?;
        if call.either_order && chooser.choose(2) == 1 {
            inputs.swap(0, 1);
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let attrs = self.attrs(call)?;
        let values: Vec<Option<ValueId>> =
            (0..outputs).map(|_| Some(self.graph.add_typed(Type::Unknown))).collect();
        let mut node = Node::new(call.op.clone(), inputs, values.iter().copied(), attrs);
        node.name = format!("{}_{}", call.op.name, self.graph.node_count());
        self.graph.add_node(node);
        Ok(values[0].expect("made above"))
    }

    fn attrs(&self, call: &PatCall) -> Built<Attrs> {
        let mut attrs = Attrs::new();
        for item in &call.attrs {
            match item {
                PatAttr::Record(slot) => {
                    let name = format!("@{}", self.variant.records[*slot]);
                    // An example that says nothing of a record means one without attributes.
                    if let Ok(ExampleValue::Record(fields)) = self.given(&name) {
                        for (name, value) in fields {
                            self.set(&mut attrs, &call.op, name, &self.literal(value)?);
                        }
                    }
                }
                PatAttr::Bind(name, slot) => self.set(&mut attrs, &call.op, name, &self.scalar(*slot)?),
                PatAttr::Equal(name, value) => self.set(&mut attrs, &call.op, name, value),
            }
        }
        Ok(attrs)
    }

    fn set(&self, attrs: &mut Attrs, op: &OpName, name: &str, value: &Value) {
        if let Some(attr) = crate::apply::attribute(op, name, value) {
            attrs.set(name, attr);
        } else if let Some(values) = value.as_ints() {
            attrs.set(name, Attr::Ints(values));
        }
    }
}

/// Numbers of an example as a constant: whole ones as i64, others as f32.
fn literal_tensor(value: &Value) -> Option<Tensor> {
    match value {
        Value::List(items) => match items.iter().map(Value::as_int).collect::<Option<Vec<i64>>>() {
            Some(values) => Some(Tensor::vector(values)),
            None => {
                let values: Option<Vec<f32>> = items.iter().map(|i| i.as_float().map(|v| v as f32)).collect();
                values.map(Tensor::vector)
            }
        },
        Value::Int(value) => value.value().map(Tensor::scalar),
        value => value.as_float().map(|v| Tensor::scalar(v as f32)),
    }
}

/// Elements, where a constant of so many is worth making: examples are small, and their sizes are read from a file.
fn element_count(sizes: &[usize]) -> Option<usize> {
    fusebox_ir::tensor::element_count(sizes).filter(|count| *count <= crate::trial::MAX_ELEMENTS)
}

/// A constant of given elements.
fn filled(fill: &str, sizes: &[usize]) -> Option<Tensor> {
    let count = element_count(sizes)?;
    let columns = sizes.last().copied().unwrap_or(1).max(1);
    let element = |index: usize| match fill {
        "ones" => 1.0,
        "causal" if index % columns > index / columns => f32::NEG_INFINITY,
        _ => 0.0,
    };
    Tensor::from_vec(sizes.to_vec(), (0..count).map(element).collect()).ok()
}

/// A constant with pseudo-random elements.
pub fn random(dtype: DType, sizes: &[usize], positive: bool, seed: u64) -> Option<Tensor> {
    let count = element_count(sizes)?;
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let floats = |next: &mut dyn FnMut() -> f64| -> Vec<f64> {
        (0..count).map(|_| if positive { 0.5 + next() } else { 2.0 * next() - 1.0 }).collect()
    };
    let shape = sizes.to_vec();
    match dtype {
        DType::F32 => Tensor::from_vec(shape, floats(&mut next).iter().map(|v| *v as f32).collect()).ok(),
        DType::F64 => Tensor::from_vec(shape, floats(&mut next)).ok(),
        DType::F16 => {
            Tensor::from_vec(shape, floats(&mut next).iter().map(|v| half::f16::from_f64(*v)).collect()).ok()
        }
        DType::I64 => Tensor::from_vec(shape, (0..count).map(|_| (next() * 2.0) as i64).collect()).ok(),
        DType::I32 => Tensor::from_vec(shape, (0..count).map(|_| (next() * 2.0) as i32).collect()).ok(),
        DType::I8 => {
            Tensor::from_vec(shape, (0..count).map(|_| (next() * 255.0 - 127.0) as i8).collect()).ok()
        }
        DType::U8 => Tensor::from_vec(shape, (0..count).map(|_| (next() * 256.0) as u8).collect()).ok(),
        DType::Bool => Tensor::from_bools(shape, (0..count).map(|_| next() < 0.5)).ok(),
        _ => None,
    }
}
