//! Finds sizes on which a model runs, where the caller left some open: a short fixed list, the first that evaluates.
//!
//! Refuses to know what evaluates: the reference or the executor. Typing has its say before, in [`crate::sizes`]; what is
//! left are models that check their sizes only when they run. Between two attempts the work of those that failed is
//! counted, so that a large model is not evaluated over and over.

use crate::inputs::{self, DrawOptions, Inputs};
use crate::sizes::{self, Preferred, Sizes};
use crate::{Error, Model, work};
use fusebox_exec::ExecError;

const fn sized(batch: i64, other: i64, height: i64, width: i64) -> Preferred {
    Preferred { batch, other, image: [height, width] }
}

/// To verify on: two samples of different length catch what mixes them up, yet some models are fixed to one sample
/// inside. Some have tables that are shorter than what two free sizes add up to, boxes are as many as their scores, and
/// sound is cut into windows of hundreds of samples. Lines of text are 32 or 48 pixels high.
pub(crate) const SMALL: &[Preferred] = &[
    sized(2, 16, 224, 224),
    sized(1, 16, 224, 224),
    sized(2, 4, 48, 160),
    sized(1, 4, 48, 160),
    sized(1, 1, 32, 96),
    sized(16, 16, 64, 160),
    sized(2, 128, 64, 64),
    sized(1, 512, 320, 320),
    sized(1, 256, 640, 640),
    sized(1, 4096, 640, 480),
];

/// To measure and to run on, as inputs usually are.
pub const USUAL: &[Preferred] = &[
    sized(1, 128, 224, 224),
    sized(1, 512, 48, 320),
    sized(1, 256, 32, 320),
    sized(1, 16, 64, 160),
    sized(1, 4, 320, 320),
    sized(1, 1, 640, 640),
    sized(2, 16, 640, 480),
    sized(16, 16, 512, 512),
    sized(1, 4096, 256, 256),
];

/// FLOPs that attempts which failed may have cost together before no other is made.
const MAX_WASTED: f64 = 5e10;

/// Draws inputs of the first sizes for which `evaluate` succeeds, and gives what it made of them. Sizes that the options
/// give are kept; of `attempts`, those that come to the same sizes are made once.
///
/// # Errors
/// An input that cannot be drawn; what no other size mends, at once; else the first failure, with the dims to choose.
pub fn first<T>(
    model: &Model,
    options: &DrawOptions,
    attempts: &[Preferred],
    mut evaluate: impl FnMut(&Inputs) -> Result<T, Error>,
) -> Result<(Inputs, T), Error> {
    let mut tried: Vec<Sizes> = Vec::new();
    let (mut failure, mut wasted) = (None, 0.0);
    for preferred in attempts {
        let inputs = inputs::generate(model, &DrawOptions { preferred: *preferred, ..options.clone() })?;
        if tried.contains(&inputs.sizes) {
            continue;
        }
        match evaluate(&inputs) {
            Ok(found) => return Ok((inputs, found)),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                // What is refused for its memory was not begun.
                if !matches!(error, Error::TooLarge { .. }) {
                    wasted += work_at(model, &inputs.sizes);
                }
                failure.get_or_insert(error);
            }
        }
        tried.push(inputs.sizes);
        if wasted > MAX_WASTED {
            break;
        }
    }
    let source = failure.expect("the list of attempts has a first, which is no repetition");
    let open: Sizes =
        tried.swap_remove(0).into_iter().filter(|(name, _)| !options.sizes.contains_key(name)).collect();
    let says_all = matches!(source, Error::TooLarge { .. });
    if says_all || open.is_empty() {
        Err(source)
    } else {
        Err(Error::NoSizes { open, source: Box::new(source) })
    }
}

/// Whether a failure says nothing about sizes.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Evaluate { source } => crate::error::is_unsupported(source),
        Error::Run { source } => matches!(
            **source,
            ExecError::UnknownOperator { .. }
                | ExecError::UnknownInput { .. }
                | ExecError::MissingInput { .. }
                | ExecError::Threads(_)
        ),
        Error::TooLarge { .. } => false,
        _ => true,
    }
}

/// FLOPs of the model, or of what can be told of it where the sizes contradict it.
fn work_at(model: &Model, sizes: &Sizes) -> f64 {
    let typed = sizes::specialize(&model.graph, &model.functions, sizes);
    work::of_graph(typed.as_ref().unwrap_or(&model.graph), sizes).flops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;
    use fusebox_ir::{Builder, DType, Dim, Tensor, TensorType};

    /// A model that takes images of `height` rows alone, which only its data says.
    fn lines_of_text(height: i64) -> Model {
        let mut b = Builder::new();
        let dims = [Dim::symbol("n"), Dim::known(3), Dim::symbol("rows"), Dim::symbol("columns")];
        let x = b.input("x", TensorType::new(DType::F32, dims));
        let pixels = b.op("Shape", &[x]);
        let at = b.constant(Tensor::scalar(2i64));
        let rows = b.op("Gather", &[pixels, at]);
        let wanted = b.constant(Tensor::scalar(height));
        let fits = b.op("Equal", &[rows, wanted]);
        let fits = b.op_with("Cast", &[fits], fusebox_ir::Attrs::new().with("to", 7));
        let fits = b.op("Sub", &[fits, at]);
        // 2 - 1 rows of one element, or two of them: only the first is a single one.
        let fits = b.op("Neg", &[fits]);
        let one = b.i64s(&[1]);
        let count = b.op("Reshape", &[fits, one]);
        let zeros = b.op("ConstantOfShape", &[count]);
        let y = b.op("Reshape", &[zeros, one]);
        Model::from(fusebox_ir::Model { graph: b.finish(&[y]), ..Default::default() })
    }

    fn evaluated(model: &Model, sizes: Sizes) -> Result<Inputs, Error> {
        let options = DrawOptions { sizes, ..DrawOptions::default() };
        first(model, &options, SMALL, |inputs| compare::reference(model, &inputs.feeds()))
            .map(|found| found.0)
    }

    #[test]
    fn heights_of_lines_are_tried() {
        let inputs = evaluated(&lines_of_text(48), Sizes::new()).unwrap();
        assert_eq!((inputs.sizes["rows"], inputs.sizes["columns"]), (48, 160));
    }

    #[test]
    fn where_nothing_suits_the_open_dims_are_named() {
        let error = evaluated(&lines_of_text(47), Sizes::from([("n".into(), 1)])).unwrap_err();
        let Error::NoSizes { open, .. } = &error else { panic!("{error}") };
        assert_eq!(open.keys().map(|name| &**name).collect::<Vec<_>>(), ["columns", "rows"]);
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert!(help.contains("--dim columns=224 --dim rows=224"), "{help}");
    }

    #[test]
    fn given_sizes_are_tried_once() {
        let sizes = ["n", "rows", "columns"].map(|name| (name.into(), 47));
        let mut calls = 0;
        let model = lines_of_text(48);
        let options = DrawOptions { sizes: Sizes::from(sizes), ..DrawOptions::default() };
        let result = first(&model, &options, SMALL, |inputs| {
            calls += 1;
            compare::reference(&model, &inputs.feeds())
        });
        assert!(matches!(result, Err(Error::Evaluate { .. })));
        assert_eq!(calls, 1);
    }

    #[test]
    fn large_models_are_not_evaluated_over_and_over() {
        let mut b = Builder::new();
        let mut x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n"), Dim::known(512)]));
        let w = b.input("w", TensorType::known(DType::F32, &[512, 512]));
        for _ in 0..100 {
            x = b.op("MatMul", &[x, w]);
        }
        let model = Model::from(fusebox_ir::Model { graph: b.finish(&[x]), ..Default::default() });
        let mut calls = 0;
        let attempts: Vec<Preferred> = (800..900).map(|n| Preferred { batch: n, ..SMALL[0] }).collect();
        let result: Result<(Inputs, ()), Error> = first(&model, &DrawOptions::default(), &attempts, |_| {
            calls += 1;
            Err(fusebox_ops::EvalError::Value { reason: "no".into() }.into())
        });
        assert!(matches!(result, Err(Error::NoSizes { .. })));
        assert_eq!(calls, 2);
    }
}
