//! `fusebox fill MODEL -o OUT`: writes a model whose weights are described by a seed with the weights themselves.

use super::Verb;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::{ModelArg, refuse_same_file};
use clap::Args;
use fusebox::{LoadOptions, Opset, SaveOptions};
use fusebox_report::number;
use std::path::PathBuf;

/// Arguments of `fill`.
#[derive(Args, Debug)]
pub(crate) struct Fill {
    #[command(flatten)]
    model: ModelArg,
    /// File to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

impl Verb for Fill {
    const NAME: &'static str = "fill";
    const ABOUT: &'static str = "Write a skeleton model with the weights that it describes by a seed";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        refuse_same_file(&self.model.model, &self.output)?;
        let progress = cx.progress("making weights");
        let model = self.model.open_with(&LoadOptions { upgrade: false, ..LoadOptions::default() })?;
        progress.stage("writing");
        let written =
            model.save(&self.output, &SaveOptions { opset: Opset::AsWritten, ..SaveOptions::default() })?;
        drop(progress);
        let answer = serde_json::json!({
            "output": self.output, "model_bytes": written.model_bytes, "data_bytes": written.data_bytes,
        });
        cx.answer(&answer, |_| {
            format!(
                "wrote {} ({})\n",
                self.output.display(),
                number::bytes((written.model_bytes + written.data_bytes) as f64)
            )
        })
    }
}
