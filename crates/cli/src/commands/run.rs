//! `fusebox run MODEL`: runs a model on files or on random inputs; outputs as a summary or as a file.

use super::Verb;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::{DimArgs, ModelArg, parse_threads, refuse_input};
use crate::tensors;
use clap::Args;
use fusebox::inputs::{self, DrawOptions, Input, Inputs};
use fusebox::metrics::numbers;
use fusebox::sizes::Preferred;
use fusebox::{Model, Session, SessionOptions, Sizes, Tensor};
use fusebox::{attempts, compare};
use fusebox_report::{Style, Table, number};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    model: ModelArg,
    /// Input from a .npy file; repeat for several
    #[arg(short, long = "input", value_name = "NAME=FILE.npy", value_parser = parse_input)]
    inputs: Vec<(String, PathBuf)>,
    /// Draw the inputs that are not given; the default when none is
    #[arg(long)]
    random: bool,
    /// Start of the random sequence
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    dims: DimArgs,
    /// Write the outputs to a .npz file, in their types; bf16, which NumPy lacks, as float32
    #[arg(short, long, value_name = "OUT.npz")]
    output: Option<PathBuf>,
    /// Worker threads; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
    /// Evaluate operator by operator, without kernels: slow, and what everything is checked against
    #[arg(long)]
    reference: bool,
}

fn parse_input(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=FILE.npy")?;
    if name.is_empty() || path.is_empty() {
        return Err("write NAME=FILE.npy".into());
    }
    Ok((name.to_owned(), path.into()))
}

impl Verb for Run {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Run a model on files or on random inputs";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        let progress = cx.progress("loading");
        let model = self.model.open()?;
        if let Some(output) = &self.output {
            let given = self.inputs.iter().map(|(_, path)| path.as_path());
            refuse_input(output, given.chain([self.model.model.as_path()]))?;
        }
        let (given, sizes) = self.gather(&model)?;
        let start = Instant::now();
        let engine: Box<Evaluate<'_>> = if self.reference {
            progress.stage("evaluating");
            let names = || model.graph.outputs.iter().map(|id| model.graph.value(*id).name.clone());
            let model = &model;
            Box::new(move |feeds| Ok(names().zip(compare::reference(model, feeds)?).collect()))
        } else {
            let session = Session::new(&model, SessionOptions { threads: self.threads, isa: None })?;
            progress.stage("running");
            Box::new(move |feeds| Ok(session.run(feeds)?))
        };
        let (inputs, outputs) = if given.is_empty() || self.random {
            let options = DrawOptions { seed: self.seed, sizes, ..DrawOptions::default() };
            let run = |drawn: &Inputs| engine(&with_given(drawn, &given).feeds());
            let (drawn, outputs) = attempts::first(&model, &options, attempts::USUAL, run)?;
            (with_given(&drawn, &given), outputs)
        } else {
            let inputs = with_given(&Inputs { sizes, ..Inputs::default() }, &given);
            let outputs = engine(&inputs.feeds())?;
            (inputs, outputs)
        };
        let seconds = start.elapsed().as_secs_f64();
        if let Some(path) = &self.output {
            tensors::write_npz(path, &outputs)?;
        }
        drop(progress);
        let answer = self.answer(&inputs, &outputs, seconds);
        cx.answer(&answer, |style| answer.text(style))
    }
}

impl Run {
    /// Given inputs from their files, and the sizes that they and the options give.
    fn gather(&self, model: &Model) -> Result<(Vec<(String, Tensor)>, Sizes), Failure> {
        let mut given: Vec<(String, Tensor)> = Vec::new();
        for (name, path) in &self.inputs {
            let id = model.graph.inputs.iter().find(|id| model.graph.value(**id).name == *name);
            let Some(id) = id else {
                let names = model.graph.inputs.iter().map(|id| model.graph.value(*id).name.as_str());
                let help = format!("its inputs are {}", names.collect::<Vec<_>>().join(", "));
                return Err(Failure::usage(format!("the model has no input named {name:?}"), help));
            };
            let declared = model.graph.value(*id).ty.tensor().map(|ty| ty.dtype);
            if given.iter().any(|(other, _)| other == name) {
                return Err(Failure::usage(format!("--input gives {name:?} twice"), "give each input once"));
            }
            given.push((name.clone(), tensors::as_declared(tensors::read_npy(path)?, declared)));
        }
        let mut sizes = self.dims.sizes()?;
        let found = given_sizes(model, &given)?;
        for (name, size) in &sizes {
            if let Some(found) = found.get(name).filter(|found| *found != size) {
                let message =
                    format!("--dim {name}={size} contradicts the given inputs, where {name} is {found}");
                return Err(Failure::usage(
                    message,
                    "leave --dim away: sizes follow from the inputs that are given",
                ));
            }
        }
        if !sizes.is_empty() {
            // Refuses names that no input has, also where nothing is drawn.
            fusebox::sizes::choose(model, &sizes, Preferred::default())?;
        }
        sizes.extend(found);
        Ok((given, sizes))
    }

    fn answer(&self, inputs: &Inputs, outputs: &[(String, Tensor)], seconds: f64) -> Answer {
        let inputs = inputs.list.iter().map(|input| InputLine {
            name: input.name.clone(),
            ty: input.tensor.ty().to_string(),
            source: input.role.to_string(),
        });
        let outputs = outputs.iter().map(|(name, tensor)| Summary::of(name, tensor));
        Answer { inputs: inputs.collect(), outputs: outputs.collect(), seconds, output: self.output.clone() }
    }
}

/// Gives named outputs for named inputs.
type Evaluate<'a> = dyn Fn(&[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, fusebox::Error> + 'a;

/// Drawn inputs, those that are given in their place.
fn with_given(drawn: &Inputs, given: &[(String, Tensor)]) -> Inputs {
    let is_given = |input: &&Input| given.iter().any(|(name, _)| *name == input.name);
    let mut list: Vec<Input> = drawn.list.iter().filter(|input| !is_given(input)).cloned().collect();
    list.extend(given.iter().map(|(name, tensor)| Input {
        name: name.clone(),
        tensor: tensor.clone(),
        role: inputs::Role::Given,
    }));
    Inputs { list, sizes: drawn.sizes.clone() }
}

/// Sizes of symbolic dims that follow from given tensors.
fn given_sizes(model: &Model, given: &[(String, Tensor)]) -> Result<Sizes, Failure> {
    let find = |name: &str| given.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor.ty());
    let names = model.graph.inputs.iter().map(|id| model.graph.value(*id).name.as_str());
    let types: Vec<_> = names.map(find).collect();
    Ok(fusebox::sizes::of_types(model, &types)?)
}

#[derive(Serialize)]
struct InputLine {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    source: String,
}

/// An output in figures.
#[derive(Serialize)]
struct Summary {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    mean: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    first: Vec<f64>,
}

impl Summary {
    fn of(name: &str, tensor: &Tensor) -> Self {
        let values = numbers(tensor).unwrap_or_default();
        let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f);
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        Self {
            name: name.to_owned(),
            ty: tensor.ty().to_string(),
            mean,
            min: fold(f64::min),
            max: fold(f64::max),
            first: values.iter().copied().take(4).collect(),
        }
    }
}

#[derive(Serialize)]
struct Answer {
    inputs: Vec<InputLine>,
    outputs: Vec<Summary>,
    /// Wall time of preparing and running.
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<PathBuf>,
}

impl Answer {
    fn text(&self, style: &Style) -> String {
        let mut table = Table::new(&["input", "type", "source"]);
        for input in &self.inputs {
            table.row([input.name.clone(), input.ty.clone(), input.source.clone()]);
        }
        let mut out = table.text(style);
        let mut table = Table::new(&["output", "type", ">mean", ">min", ">max", "first values"]);
        for output in &self.outputs {
            let figure = |value: Option<f64>| value.map(number::plain).unwrap_or_default();
            let first: Vec<String> = output.first.iter().map(|x| number::plain(*x)).collect();
            table.row([
                output.name.clone(),
                output.ty.clone(),
                figure(output.mean),
                figure(output.min),
                figure(output.max),
                first.join(" "),
            ]);
        }
        out.push('\n');
        out.push_str(&table.text(style));
        if let Some(path) = &self.output {
            out.push_str(&format!("\nwrote {}\n", path.display()));
        }
        out
    }
}
