//! Reads the text form: recursive descent with one token of lookahead.
//!
//! A value must be defined above where it is read, so what comes out has no cycle and no undefined value. Nesting and
//! the size of dims are limited; any text gives a graph or an error.

mod attrs;
mod constants;
mod types;

use super::error::{ParseError, ParseErrorKind};
use super::lex::{Kind, Lexer, Token};
use super::{ConstantSource, MAX_DEPTH, MAX_TEXT};
use crate::{Attrs, Function, Graph, Model, Node, OpName, OpsetImport, Region, Type, Value, ValueId};
use std::collections::BTreeMap;
use std::ops::Range;

type Result<T> = std::result::Result<T, ParseError>;

pub(super) fn graph(text: &str, source: &ConstantSource<'_>) -> Result<Graph> {
    let mut parser = Parser::new(text, source)?;
    let graph = parser.graph(None)?;
    parser.end()?;
    Ok(graph)
}

pub(super) fn model(text: &str, source: &ConstantSource<'_>) -> Result<Model> {
    let mut parser = Parser::new(text, source)?;
    let model = parser.model()?;
    parser.end()?;
    Ok(model)
}

struct Parser<'t, 's> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    source: &'s ConstantSource<'s>,
    depth: usize,
    /// Operations in the dim being read.
    dim_work: usize,
}

/// A graph under construction.
#[derive(Default)]
struct Scope {
    graph: Graph,
    values: BTreeMap<u32, ValueId>,
    /// Equal constants are one value.
    constants: BTreeMap<u128, ValueId>,
}

impl<'t, 's> Parser<'t, 's> {
    fn new(text: &'t str, source: &'s ConstantSource<'s>) -> Result<Self> {
        if text.len() > MAX_TEXT {
            let kind = ParseErrorKind::TooLong { found: text.len(), limit: MAX_TEXT };
            return Err(ParseError::new(text, 0..0, kind));
        }
        let mut lexer = Lexer::new(text);
        let token = lexer.next()?;
        Ok(Self { lexer, token, source, depth: 0, dim_work: 0 })
    }

    fn error(&self, span: Range<usize>, kind: ParseErrorKind) -> ParseError {
        ParseError::new(self.lexer.text, span, kind)
    }

    fn here(&self, kind: ParseErrorKind) -> ParseError {
        self.error(self.token.span.clone(), kind)
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T> {
        Err(self.here(ParseErrorKind::Expected { expected, found: self.token.kind.describe() }))
    }

    fn advance(&mut self) -> Result<Token<'t>> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn at(&self, mark: char) -> bool {
        self.token.kind == Kind::Punct(mark)
    }

    fn at_word(&self, word: &str) -> bool {
        self.token.kind == Kind::Ident(word)
    }

    /// Steps over a mark if it is next.
    fn skip(&mut self, mark: char) -> Result<bool> {
        let found = self.at(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn skip_word(&mut self, word: &str) -> Result<bool> {
        let found = self.at_word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn punct(&mut self, mark: char, expected: &'static str) -> Result<()> {
        if self.skip(mark)? { Ok(()) } else { self.expected(expected) }
    }

    fn word(&mut self, word: &str, expected: &'static str) -> Result<()> {
        if self.skip_word(word)? { Ok(()) } else { self.expected(expected) }
    }

    fn end(&self) -> Result<()> {
        if self.token.kind == Kind::End { Ok(()) } else { self.expected("the end of the text") }
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.here(ParseErrorKind::TooDeep { limit: MAX_DEPTH }));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// `item, item, …` up to and including `close`.
    fn list(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        while !self.skip(close)? {
            item(self)?;
            if !self.skip(',')? && !self.at(close) {
                return self.expected("`,` or the closing bracket");
            }
        }
        Ok(())
    }

    /// A name, quoted or not.
    fn name(&mut self, expected: &'static str) -> Result<String> {
        match &self.token.kind {
            Kind::Ident(_) | Kind::Str(_) => {}
            _ => return self.expected(expected),
        }
        let token = self.advance()?;
        match token.kind {
            Kind::Str(bytes) => {
                String::from_utf8(bytes).map_err(|_| self.error(token.span, ParseErrorKind::NotUtf8))
            }
            Kind::Ident(word) => Ok(word.to_owned()),
            _ => self.expected(expected),
        }
    }

    fn model(&mut self) -> Result<Model> {
        let mut model = Model::default();
        self.word("model", "`model`")?;
        while let Kind::Ident(word) = self.token.kind {
            if word == "graph" {
                break;
            }
            if word == "opset" {
                model.opsets.push(self.opset()?);
                continue;
            }
            let slot = match word {
                "ir_version" | "version" => None,
                "producer" => Some(&mut model.producer_name),
                "producer_version" => Some(&mut model.producer_version),
                "domain" => Some(&mut model.domain),
                _ => {
                    return self
                        .expected("`graph` or a field of the model: ir_version, version, opset, producer");
                }
            };
            self.advance()?;
            self.punct('=', "`=`")?;
            match (slot, word) {
                (Some(slot), _) => *slot = self.name("a string")?,
                (None, "ir_version") => model.ir_version = self.integer()?,
                (None, _) => model.model_version = self.integer()?,
            }
        }
        model.metadata = self.metadata()?;
        model.graph = self.graph(None)?;
        while self.skip_word("function")? {
            model.functions.push(self.function()?);
        }
        Ok(model)
    }

    /// `opset("domain")=17`.
    fn opset(&mut self) -> Result<OpsetImport> {
        self.word("opset", "`opset`")?;
        self.punct('(', "`(`")?;
        let domain = self.name("a domain")?;
        self.punct(')', "`)`")?;
        self.punct('=', "`=`")?;
        Ok(OpsetImport { domain, version: self.integer()? })
    }

    fn function(&mut self) -> Result<Function> {
        let (op, overload) = self.op()?;
        let mut function = Function {
            domain: op.domain.to_string(),
            name: op.name.to_string(),
            overload,
            ..Function::default()
        };
        while self.at_word("opset") {
            function.opsets.push(self.opset()?);
        }
        if self.skip_word("requires")? {
            self.punct('[', "`[`")?;
            self.list(']', |p| {
                function.required.push(p.name("the name of an attribute")?);
                Ok(())
            })?;
        }
        if self.skip_word("defaults")? {
            function.defaults = self.attrs()?;
        }
        function.metadata = self.metadata()?;
        function.graph = self.graph(None)?;
        Ok(function)
    }

    /// `!["key"="value", …]`, when it is there.
    fn metadata(&mut self) -> Result<Vec<(String, String)>> {
        let mut entries = Vec::new();
        if self.skip('!')? {
            self.punct('[', "`[`")?;
            self.list(']', |p| {
                let key = p.name("a key")?;
                p.punct('=', "`=`")?;
                entries.push((key, p.name("a value")?));
                Ok(())
            })?;
        }
        Ok(entries)
    }

    /// A graph. With `outer`, captures have sources there; the region's captures are left in `outer.1`.
    fn graph(&mut self, outer: Option<(&mut Scope, &mut Vec<ValueId>)>) -> Result<Graph> {
        self.word("graph", "`graph`")?;
        let mut scope = Scope::default();
        self.punct('(', "`(` and the inputs")?;
        self.list(')', |p| p.input(&mut scope))?;
        self.captures(&mut scope, outer)?;
        if self.token.kind != Kind::Arrow {
            return self.expected("`-> (` and the outputs");
        }
        self.advance()?;
        // The outputs are read first but defined in the body, so the tokens are kept for later.
        let outputs = self.pending_outputs()?;
        scope.graph.metadata = self.metadata()?;
        self.punct('{', "`{` and the nodes")?;
        while !self.skip('}')? {
            self.node(&mut scope)?;
        }
        for (output, span) in outputs {
            let value = match output {
                Pending::Value(number) => self.lookup(&scope, number, span)?,
                Pending::Constant(tensor) => scope.constant(tensor),
            };
            scope.graph.outputs.push(value);
        }
        Ok(scope.graph)
    }

    fn input(&mut self, scope: &mut Scope) -> Result<()> {
        let value = self.definition(scope)?;
        scope.graph.inputs.push(value);
        if self.skip('=')? {
            scope.graph.value_mut(value).constant = Some(self.constant()?);
        }
        Ok(())
    }

    fn captures(
        &mut self,
        scope: &mut Scope,
        mut outer: Option<(&mut Scope, &mut Vec<ValueId>)>,
    ) -> Result<()> {
        if !self.skip_word("captures")? {
            return Ok(());
        }
        self.punct('(', "`(` and the captured values")?;
        self.list(')', |p| {
            let value = p.definition(scope)?;
            scope.graph.captured.push(value);
            let Some((outer, captures)) = &mut outer else { return Ok(()) };
            if !p.skip('=')? {
                return Err(p.here(ParseErrorKind::CaptureSource));
            }
            match p.operand(outer)? {
                Some(source) => captures.push(source),
                None => return Err(p.here(ParseErrorKind::CaptureSource)),
            }
            Ok(())
        })
    }

    fn pending_outputs(&mut self) -> Result<Vec<(Pending, Range<usize>)>> {
        let mut outputs = Vec::new();
        self.punct('(', "`(` and the outputs")?;
        self.list(')', |p| {
            let span = p.token.span.clone();
            let output = match p.token.kind {
                Kind::Value(number) => {
                    p.advance()?;
                    Pending::Value(number)
                }
                _ => Pending::Constant(p.constant()?),
            };
            outputs.push((output, span));
            Ok(())
        })?;
        Ok(outputs)
    }

    /// `%3: f32[2]`.
    fn definition(&mut self, scope: &mut Scope) -> Result<ValueId> {
        let Kind::Value(number) = self.token.kind else { return self.expected("a value such as `%0`") };
        let span = self.advance()?.span;
        self.punct(':', "`:` and a type")?;
        let ty = self.ty()?;
        self.define(scope, number, span, ty)
    }

    fn define(&self, scope: &mut Scope, number: u32, span: Range<usize>, ty: Type) -> Result<ValueId> {
        if scope.values.contains_key(&number) {
            return Err(self.error(span, ParseErrorKind::Redefined { value: number }));
        }
        let value = scope.graph.add_typed(ty);
        scope.values.insert(number, value);
        Ok(value)
    }

    fn lookup(&self, scope: &Scope, number: u32, span: Range<usize>) -> Result<ValueId> {
        let value = scope.values.get(&number).copied();
        value.ok_or_else(|| self.error(span, ParseErrorKind::Undefined { value: number }))
    }

    /// `%3`, a constant, or `_` for an absent one.
    fn operand(&mut self, scope: &mut Scope) -> Result<Option<ValueId>> {
        if let Kind::Value(number) = self.token.kind {
            let span = self.advance()?.span;
            return self.lookup(scope, number, span).map(Some);
        }
        if self.skip_word("_")? {
            return Ok(None);
        }
        if !matches!(self.token.kind, Kind::Ident(_)) {
            return self.expected("a value, a constant, or `_`");
        }
        let tensor = self.constant()?;
        Ok(Some(scope.constant(tensor)))
    }

    fn node(&mut self, scope: &mut Scope) -> Result<()> {
        let targets = self.targets()?;
        self.punct('=', "`=` and an operator")?;
        let (op, overload) = self.op()?;
        let attrs = if self.at('[') { self.attrs()? } else { Attrs::new() };
        let mut inputs = Vec::new();
        self.punct('(', "`(` and the operands")?;
        self.list(')', |p| {
            inputs.push(p.operand(scope)?);
            Ok(())
        })?;
        let regions = if self.skip('{')? { self.regions(scope)? } else { Vec::new() };
        let types = self.output_types(&targets)?;
        let metadata = self.metadata()?;
        let mut outputs = Vec::with_capacity(targets.len());
        let mut types = types.into_iter();
        for (target, span) in targets {
            outputs.push(match target {
                Some(number) => Some(self.define(scope, number, span, types.next().unwrap_or_default())?),
                None => None,
            });
        }
        let node = Node { overload, regions, metadata, ..Node::new(op, inputs, outputs, attrs) };
        scope.graph.add_node(node);
        Ok(())
    }

    /// What is left of `=`: `%1, _, %2`, or `()` for a node without outputs.
    fn targets(&mut self) -> Result<Vec<(Option<u32>, Range<usize>)>> {
        let mut targets = Vec::new();
        if self.skip('(')? {
            self.punct(')', "`)`")?;
            return Ok(targets);
        }
        loop {
            let target = match self.token.kind {
                Kind::Value(number) => Some(number),
                Kind::Ident("_") => None,
                _ => return self.expected("a node such as `%1 = Relu(%0)`, or `}`"),
            };
            targets.push((target, self.advance()?.span));
            if !self.skip(',')? {
                return Ok(targets);
            }
        }
    }

    /// `: type, type`, one per output that is asked for; without it the types are unknown.
    fn output_types(&mut self, targets: &[(Option<u32>, Range<usize>)]) -> Result<Vec<Type>> {
        let start = self.token.span.start;
        if !self.skip(':')? {
            return Ok(Vec::new());
        }
        let mut types = vec![self.ty()?];
        while self.skip(',')? {
            types.push(self.ty()?);
        }
        let outputs = targets.iter().filter(|t| t.0.is_some()).count();
        if types.len() != outputs {
            let kind = ParseErrorKind::TypeCount { outputs, types: types.len() };
            return Err(self.error(start..self.token.span.start, kind));
        }
        Ok(types)
    }

    /// `name = graph …`, up to and including `}`.
    fn regions(&mut self, scope: &mut Scope) -> Result<Vec<Region>> {
        let mut regions = Vec::new();
        while !self.skip('}')? {
            let name = self.name("the name of a region, or `}`")?;
            self.punct('=', "`=` and a graph")?;
            let mut captures = Vec::new();
            let graph = self.deeper(|p| p.graph(Some((scope, &mut captures))))?;
            regions.push(Region { name, graph, captures });
        }
        Ok(regions)
    }

    /// `domain.parts.Name@overload`.
    fn op(&mut self) -> Result<(OpName, String)> {
        let mut name = self.name("an operator")?;
        let mut domain: Option<String> = None;
        while self.skip('.')? {
            let part = std::mem::replace(&mut name, self.name("a part of the operator's name")?);
            domain = Some(domain.map_or_else(|| part.clone(), |domain| format!("{domain}.{part}")));
        }
        let overload = if self.skip('@')? { self.name("an overload")? } else { String::new() };
        Ok((OpName::new(domain.as_deref().unwrap_or_default(), &name), overload))
    }
}

enum Pending {
    Value(u32),
    Constant(crate::Tensor),
}

impl Scope {
    fn constant(&mut self, tensor: crate::Tensor) -> ValueId {
        let Self { graph, constants, .. } = self;
        *constants.entry(tensor.content_hash()).or_insert_with(|| {
            let ty = tensor.ty().into();
            graph.add_value(Value { ty, constant: Some(tensor), ..Value::default() })
        })
    }
}
