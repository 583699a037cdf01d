//! Second opinions on type inference: onnx's own shape inference and onnx-ir's typed graph against ours.
//!
//! All see the same files, stripped of the types that they declare beyond their inputs. A disagreement is another element
//! type, rank or size, or a rank or size that only the other one knows. Where ours knows more there is nothing to say.
//! Reference evaluation of the case's data, or of drawn inputs, is the judge: what contradicts it is wrong, ours first of all.

use crate::case::{self, Case};
use crate::ledger::Key;
use crate::route::{caught, one_line};
use crate::sweep::each;
use fusebox_ir::{DType, Dim, Graph, Model, Tensor, TensorType, Type, Value, ValueId};
use fusebox_onnx::LoadOptions;
use fusebox_ops::{Datum, Interpreter};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest file that onnx-ir is asked about: it copies weights.
const LARGEST: u64 = 64 << 20;

/// Types by value name.
type Types = BTreeMap<String, Type>;

/// What the comparison found.
#[derive(Clone, Debug, Default)]
pub struct Opinions {
    /// Models that were looked at.
    pub models: usize,
    /// Values compared, by source.
    pub compared: BTreeMap<&'static str, usize>,
    /// Models that onnx-ir refuses, with its reason.
    pub refused: Vec<(String, String)>,
    /// Disagreements by model, and by source and value; what evaluation proves wrong of others is one row per source.
    pub disagreements: BTreeMap<Key, String>,
}

/// A model with the data that it is evaluated on, if there is any.
struct Subject {
    id: String,
    path: PathBuf,
    data: Option<PathBuf>,
}

/// Compares over all cases that are not excluded and the models of the corpus.
///
/// # Errors
/// When the answers of onnx cannot be read.
pub fn compare(folder: &Path, corpus: &Path, jobs: usize) -> Result<Opinions, String> {
    let theirs = read_answers(&folder.join("shape_inference.tsv"))?;
    let cases: Vec<Case> = case::list(folder)?.into_iter().filter(|case| case.excluded.is_none()).collect();
    let of_case = |case: &Case| {
        let data = case.folder(&folder.join("cases"));
        Subject { id: case.id(), path: data.join("model.onnx"), data: Some(data) }
    };
    let of_corpus = |id: &String| {
        let path = corpus.join(id.strip_prefix("corpus/")?);
        Some(Subject { id: id.clone(), path, data: None })
    };
    let subjects: Vec<Subject> =
        cases.iter().map(of_case).chain(theirs.keys().filter_map(of_corpus)).collect();
    let found = each(&subjects, jobs, |subject| look_at(subject, theirs.get(&subject.id)));
    Ok(found.into_iter().fold(Opinions::default(), Opinions::merged))
}

fn look_at(subject: &Subject, onnx: Option<&Types>) -> Opinions {
    let mut found = Opinions { models: 1, ..Opinions::default() };
    let types = match caught(|| ours(&subject.path)) {
        Ok(types) => types,
        Err(reason) => {
            found.disagreements.insert((subject.id.clone(), "ours".into()), reason);
            return found;
        }
    };
    let truth = evaluated(&subject.path, subject.data.as_deref());
    found.source(&subject.id, "evaluation", &types, &truth, &Types::new());
    if let Some(onnx) = onnx {
        found.source(&subject.id, "onnx", &types, onnx, &truth);
    }
    if std::fs::metadata(&subject.path).is_ok_and(|file| file.len() <= LARGEST) {
        let asked = caught(|| {
            let bytes = std::fs::read(&subject.path).map_err(|e| e.to_string())?;
            fusebox_onnx::opinion::second_opinion(&bytes.into())
        });
        match asked {
            Ok(theirs) => {
                found.source(&subject.id, "onnx-ir", &types, &theirs.into_iter().collect(), &truth);
            }
            Err(reason) => found.refused.push((subject.id.clone(), one_line(&reason))),
        }
    }
    found
}

impl Opinions {
    fn merged(mut self, other: Self) -> Self {
        self.models += other.models;
        for (source, count) in other.compared {
            *self.compared.entry(source).or_default() += count;
        }
        self.refused.extend(other.refused);
        self.disagreements.extend(other.disagreements);
        self
    }

    fn source(&mut self, id: &str, source: &'static str, ours: &Types, theirs: &Types, truth: &Types) {
        let mut wrong = Vec::new();
        for (name, theirs) in theirs {
            // Values of nodes that import replaced, such as constants, are gone.
            let Some(ours) = ours.get(name) else { continue };
            *self.compared.entry(source).or_default() += 1;
            let Some((what, reason)) = disagreement(ours, theirs) else { continue };
            let is_wrong =
                |truth: &Type| disagreement(theirs, truth).is_some_and(|(what, _)| what != Verdict::Weaker);
            if truth.get(name).is_some_and(is_wrong) {
                wrong.push(format!("{name} is {}, not {theirs}", truth[name]));
            } else if source != "evaluation" || what != Verdict::Weaker {
                let row = (id.into(), format!("{source}:{}", name.replace(' ', "_")));
                self.disagreements.insert(row, reason);
            }
        }
        if let Some(first) = wrong.first() {
            let reason = format!("{source} is wrong about {} values: evaluated, {first}", wrong.len());
            self.disagreements.insert((id.into(), source.into()), reason);
        }
    }
}

/// Types of all values of the main graph as we infer them from inputs and constants alone.
fn ours(path: &Path) -> Result<Types, String> {
    let mut model = fusebox_onnx::load(path, &LoadOptions::default()).map_err(|e| format!("import: {e}"))?;
    strip(&mut model);
    fusebox_ops::infer_graph(&mut model.graph, &model.functions).map_err(|e| format!("infer: {e}"))?;
    // What import cut off, such as a mask that nothing reads, has no type of its own.
    let is_computed = |value: &Value| value.producer.is_some();
    let values = model.graph.values().map(|(_, value)| value).filter(|value| is_computed(value));
    Ok(values.map(|value| (value.name.clone(), value.ty.clone())).collect())
}

fn strip(model: &mut Model) {
    let ids: Vec<_> = model.graph.values().filter(|(_, v)| v.producer.is_some()).map(|(id, _)| id).collect();
    for id in ids {
        model.graph.value_mut(id).ty = Type::Unknown;
    }
}

/// Constants beyond which a model without data is not evaluated: the reference is written for clarity, not for speed.
const MOST_ELEMENTS: usize = 1 << 16;

/// Inputs of the first data set, or drawn ones for a small model that has none.
fn inputs(model: &Model, data: Option<&Path>) -> Result<Vec<Option<Datum>>, String> {
    if let Some(data) = data {
        return Ok(case::data_sets(data, &model.graph)?.swap_remove(0).in_order(&model.graph));
    }
    let elements = model.graph.values().filter_map(|(_, value)| value.constant.as_ref()).map(Tensor::len);
    if elements.sum::<usize>() > MOST_ELEMENTS {
        return Err("too large".into());
    }
    let drawn = fusebox::inputs::generate(&model.clone().into(), &fusebox::inputs::DrawOptions::default());
    let drawn = drawn.map_err(|e| e.to_string())?;
    let feeds = drawn.feeds();
    let of = |id: &ValueId| {
        let name = &model.graph.value(*id).name;
        feeds.iter().find(|(fed, _)| fed == name).map(|(_, tensor)| Datum::from(tensor.clone()))
    };
    Ok(model.graph.inputs.iter().map(of).collect())
}

/// Types of the values of the main graph as evaluation makes them, as far as it gets.
fn evaluated(path: &Path, data: Option<&Path>) -> Types {
    let seen = RefCell::new(Types::new());
    let outcome = caught(|| {
        let model = fusebox_onnx::load(path, &LoadOptions::default()).map_err(|e| e.to_string())?;
        let inputs = inputs(&model, data)?;
        let observe = |graph: &Graph, id: ValueId, datum: &Datum| {
            seen.borrow_mut().insert(graph.value(id).name.clone(), type_of(datum));
        };
        let interpreter = Interpreter::new(&model.functions).observed(&observe);
        interpreter.run(&model.graph, &inputs, &[]).map(drop).map_err(|e| e.to_string())
    });
    // A failure is the affair of the routes; what was seen before it counts here.
    drop(outcome);
    seen.into_inner()
}

fn type_of(datum: &Datum) -> Type {
    match datum {
        Datum::Tensor(tensor) => tensor.ty().into(),
        // The elements may differ in shape, so one of them says nothing about the others.
        Datum::Sequence(_) | Datum::Absent => Type::Unknown,
    }
}

/// Kind of a disagreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Kind,
    Element,
    Rank,
    Size,
    Weaker,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Kind => "another kind",
            Self::Element => "another element type",
            Self::Rank => "another rank",
            Self::Size => "another size",
            Self::Weaker => "weaker",
        }
    }
}

/// How two types disagree, if they do.
fn disagreement(ours: &Type, theirs: &Type) -> Option<(Verdict, String)> {
    let said = |what: Verdict| Some((what, format!("{}: ours {ours}, theirs {theirs}", what.name())));
    match (ours, theirs) {
        (_, Type::Unknown) => None,
        (Type::Unknown, _) => said(Verdict::Weaker),
        (Type::Tensor(a), Type::Tensor(b)) => tensors(a, b).and_then(said),
        (Type::Sequence(a), Type::Sequence(b)) | (Type::Optional(a), Type::Optional(b)) => disagreement(a, b),
        // Evaluation does not wrap what an optional holds.
        (Type::Optional(a), Type::Tensor(_)) => disagreement(a, theirs),
        _ => said(Verdict::Kind),
    }
}

fn tensors(ours: &TensorType, theirs: &TensorType) -> Option<Verdict> {
    if ours.dtype != theirs.dtype {
        return Some(Verdict::Element);
    }
    let (ours, theirs) = match (&ours.shape, &theirs.shape) {
        (_, None) => return None,
        (None, Some(_)) => return Some(Verdict::Weaker),
        (Some(ours), Some(theirs)) => (ours, theirs),
    };
    if ours.len() != theirs.len() {
        return Some(Verdict::Rank);
    }
    let sizes = || ours.iter().zip(theirs).map(|(a, b)| (a.value(), b.value()));
    if sizes().any(|(a, b)| a.is_some() && b.is_some() && a != b) {
        return Some(Verdict::Size);
    }
    sizes().any(|(a, b)| a.is_none() && b.is_some()).then_some(Verdict::Weaker)
}

/// Reads `model TAB value TAB type` lines.
fn read_answers(path: &Path) -> Result<BTreeMap<String, Types>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut answers: BTreeMap<String, Types> = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, '\t');
        let (Some(model), Some(value), Some(ty)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let ty = parse(ty).ok_or_else(|| format!("{}: {ty:?} is no type", path.display()))?;
        answers.entry(model.into()).or_default().insert(value.into(), ty);
    }
    Ok(answers)
}

/// Reads a type as the text form writes it; every size that is no number is one symbol.
fn parse(text: &str) -> Option<Type> {
    if text == "?" {
        return Some(Type::Unknown);
    }
    let (head, rest) = text.split_once(['(', '['])?;
    match head {
        "seq" => return Some(Type::Sequence(Box::new(parse(rest.strip_suffix(')')?)?))),
        "optional" => return Some(Type::Optional(Box::new(parse(rest.strip_suffix(')')?)?))),
        _ => {}
    }
    let (dtype, dims) = (DType::from_name(head)?, rest.strip_suffix(']')?);
    let dim = |text: &str| text.trim().parse().map_or_else(|_| Dim::symbol("any"), Dim::known);
    Some(match dims {
        ".." => TensorType::unranked(dtype).into(),
        "" => TensorType::new(dtype, []).into(),
        dims => TensorType::new(dtype, dims.split(',').map(dim)).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ours: &str, theirs: &str) -> Option<String> {
        disagreement(&parse(ours).unwrap(), &parse(theirs).unwrap()).map(|(_, reason)| reason)
    }

    #[test]
    fn knowing_less_or_otherwise_is_a_disagreement() {
        assert_eq!(verdict("f32[2, n]", "f32[2,?]"), None);
        assert_eq!(verdict("f32[2, 3]", "f32[2,?]"), None);
        assert_eq!(verdict("seq(f32[..])", "seq(f32[..])"), None);
        assert!(verdict("f32[2, n]", "f32[2,3]").unwrap().starts_with("weaker: ours f32[2, any]"));
        assert!(verdict("f32[2, 4]", "f32[2,3]").unwrap().starts_with("another size"));
        assert!(verdict("f32[2]", "f32[2,3]").unwrap().starts_with("another rank"));
        assert!(verdict("f32[]", "i64[]").unwrap().starts_with("another element type"));
        assert!(verdict("seq(f32[2])", "seq(f32[3])").unwrap().starts_with("another size"));
        assert!(verdict("seq(f32[2])", "f32[2]").unwrap().starts_with("another kind"));
    }

    #[test]
    fn evaluation_judges() {
        let types = |text: &str| Types::from([("y".to_owned(), parse(text).unwrap())]);
        let judged = |ours: &str, theirs: &str, truth: &str| {
            let mut found = Opinions::default();
            found.source("m", "evaluation", &types(ours), &types(truth), &Types::new());
            found.source("m", "onnx", &types(ours), &types(theirs), &types(truth));
            found.disagreements.keys().map(|(_, source)| source.clone()).collect::<Vec<_>>()
        };
        assert_eq!(judged("f32[2]", "f32[2]", "f32[2]"), [""; 0]);
        assert_eq!(judged("f32[n]", "f32[3]", "f32[2]"), ["onnx"]);
        assert_eq!(judged("f32[n]", "f32[2]", "f32[2]"), ["onnx:y"]);
        assert_eq!(judged("f32[3]", "f32[2]", "f32[2]"), ["evaluation:y", "onnx:y"]);
    }
}
