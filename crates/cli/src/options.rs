//! Options that several commands share.

use crate::failure::Failure;
use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};
use fusebox::{LoadOptions, Model, Precision, Sizes, Target};
use std::path::{Path, PathBuf};

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Globals {
    /// Answer in JSON on stdout
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Say nothing but failures
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Say more; repeat for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

impl Globals {
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        Self::from_arg_matches(matches).unwrap_or_default()
    }
}

/// Checks a number of threads while the command line is still at hand.
pub(crate) fn parse_threads(text: &str) -> Result<usize, String> {
    let most = fusebox::kernels::MAX_THREADS;
    let threads: usize = text.trim().parse().map_err(|_| format!("write a whole number up to {most}"))?;
    if threads > most {
        return Err(format!("at most {most} threads are possible; 0 is one per core"));
    }
    Ok(threads)
}

/// Sizes of symbolic dims.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DimArgs {
    /// Size of a symbolic dim; repeat for several
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    dims: Vec<(String, i64)>,
}

fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, size) = text.rsplit_once('=').ok_or("write NAME=N, for example batch=4")?;
    let size: i64 = size.trim().parse().map_err(|_| format!("{size:?} is not a whole number"))?;
    if name.trim().is_empty() {
        return Err("the name of the dim is missing".into());
    }
    Ok((name.trim().to_owned(), size))
}

impl DimArgs {
    pub(crate) fn sizes(&self) -> Result<Sizes, Failure> {
        let mut sizes = Sizes::new();
        for (name, size) in &self.dims {
            if let Some(other) = sizes.insert(name.as_str().into(), *size).filter(|other| other != size) {
                let message = format!("--dim gives {name} two sizes, {other} and {size}");
                return Err(Failure::usage(message, "give each dim once"));
            }
        }
        Ok(sizes)
    }
}

/// Precision to lower to, as flags that exclude each other.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub(crate) struct PrecisionArgs {
    /// Int8 weights, activations quantized per row at run time
    #[arg(long)]
    int8: bool,
    /// Weights as fp16, arithmetic in f32
    #[arg(long)]
    fp16: bool,
    /// Weights as bf16, arithmetic in f32
    #[arg(long)]
    bf16: bool,
}

impl PrecisionArgs {
    pub(crate) fn precision(&self) -> Option<Precision> {
        match (self.int8, self.fp16, self.bf16) {
            (true, ..) => Some(Precision::Int8),
            (_, true, _) => Some(Precision::Fp16),
            (.., true) => Some(Precision::Bf16),
            _ => None,
        }
    }
}

/// Who is to run a written model.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TargetArg {
    /// Fused operators as ONNX functions: Fusebox runs them fused, any other runtime by their bodies
    #[default]
    Fusebox,
    /// Standard operators only
    Onnx,
    /// Standard operators and those of com.microsoft
    Onnxruntime,
}

impl From<TargetArg> for Target {
    fn from(target: TargetArg) -> Self {
        match target {
            TargetArg::Fusebox => Self::Fusebox,
            TargetArg::Onnx => Self::Onnx,
            TargetArg::Onnxruntime => Self::OnnxRuntime,
        }
    }
}

/// Where external data may lie.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DataArg {
    /// Folder that external data may lie in besides the model's own
    #[arg(long, value_name = "FOLDER")]
    data_root: Option<PathBuf>,
}

impl DataArg {
    /// Opens a model in the form that everything but `fill` works on.
    pub(crate) fn open(&self, model: &Path) -> Result<Model, Failure> {
        self.open_with(model, &LoadOptions::default())
    }

    fn open_with(&self, model: &Path, options: &LoadOptions) -> Result<Model, Failure> {
        if let Some(folder) = self.data_root.as_ref().filter(|folder| !folder.is_dir()) {
            let message = format!("--data-root {folder:?} is no folder");
            return Err(Failure::usage(message, "give the folder that holds the data files"));
        }
        Ok(Model::open_with(model, &LoadOptions { data_root: self.data_root.clone(), ..options.clone() })?)
    }
}

/// A model to work on.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArg {
    /// ONNX model
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArg,
}

impl ModelArg {
    /// Opens the model in the form that everything but `fill` works on.
    pub(crate) fn open(&self) -> Result<Model, Failure> {
        self.open_with(&LoadOptions::default())
    }

    /// Opens the model and tells how many seconds that took.
    pub(crate) fn open_timed(&self) -> Result<(Model, f64), Failure> {
        let start = std::time::Instant::now();
        Ok((self.open()?, start.elapsed().as_secs_f64()))
    }

    /// Opens the model under given limits.
    pub(crate) fn open_with(&self, options: &LoadOptions) -> Result<Model, Failure> {
        self.data.open_with(&self.model, options)
    }
}

/// Refuses to write where that would overwrite what is being read.
pub(crate) fn refuse_same_file(input: &Path, output: &Path) -> Result<(), Failure> {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(input, output) {
        let message = format!("the output {output:?} is the model that is being read");
        return Err(Failure::usage(
            message,
            "write to another file: weights are read from the original while it is written",
        ));
    }
    Ok(())
}

/// Refuses to write over what the command reads: files given as arguments, and the data of models that are open.
pub(crate) fn refuse_input<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Failure> {
    let same = |a: &Path| matches!((a.canonicalize(), output.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if fusebox::kernels::mapped::is_open(output) || inputs.into_iter().any(same) {
        let message = format!("the output {output:?} is a file that this command reads");
        return Err(Failure::usage(message, "write to another file"));
    }
    Ok(())
}
