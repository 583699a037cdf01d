//! `Dropout`: the identity in inference; the mask is all true. In training mode elements are dropped at random and the
//! others scaled, drawn as the other random operators draw.
//!
//! Marked random because a constant input may ask for training; two such nodes must not become one. The ratio was an
//! attribute until opset 11. Spec: <https://onnx.ai/onnx/operators/onnx__Dropout.html>.

use crate::attributes::INT;
use crate::forms::{set_constant, set_input};
use crate::generate::source::Source;
use crate::inference::{FLOATS_AND_F8, same_as_first};
use crate::op::{Edit, Eval, Infer, Inferred, Op, Purity, QuantRole, Schema};
use crate::versions::{constant_input, refuse};
use crate::view::{from_f64, to_f64, view_bools};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{Attrs, DType, Node, OpName, Tensor, TensorType, Type};

static SCHEMA: Schema = Schema {
    purity: Purity::Random,
    ..Schema::onnx("Dropout", &[1, 6, 7, 10, 12, 13, 22], (1, 3), (1, 2)).with(&[("seed", INT)])
};

pub(crate) struct Dropout;

/// Elements that survive, scaled so that the mean stays, and which they are.
fn drop(cx: &Eval<'_>, ratio: f64) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    let mut source = Source::new(cx.attrs);
    let mask: Vec<bool> = (0..x.len()).map(|_| source.uniform() >= ratio).collect();
    let mut kept = to_f64(x)?;
    kept.iter_mut().zip(&mask).for_each(|(x, stays)| *x = if *stays { *x / (1.0 - ratio) } else { 0.0 });
    let mask = Tensor::from_bools(x.shape().to_vec(), mask)?;
    Ok(vec![from_f64(x.dtype(), &kept)?.into(), mask.into()])
}

impl Op for Dropout {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let mut outputs = same_as_first(cx, FLOATS_AND_F8)?;
        if let Some(mask) = outputs.get_mut(1) {
            let shape = cx.tensor(0).and_then(|ty| ty.shape.clone());
            *mask = TensorType { dtype: DType::Bool, shape }.into();
        }
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let training = cx.optional(2)?.map(view_bools).transpose()?;
        let training = training.is_some_and(|flags| flags.iter().any(|flag| *flag != 0));
        let ratio = match cx.optional(1)?.map(Tensor::floats) {
            None => 0.5,
            Some(Some(ratio)) if ratio.len() == 1 && (0.0..1.0).contains(&ratio[0]) => ratio[0],
            Some(ratio) if training => {
                return Err(EvalError::value(format!(
                    "the ratio must be one float in 0..1, it is {ratio:?}"
                )));
            }
            Some(_) => 0.0,
        };
        if training && ratio > 0.0 {
            return drop(cx, ratio);
        }
        let mask = Tensor::from_bools(x.shape().to_vec(), std::iter::repeat_n(true, x.len()))?;
        Ok(vec![x.clone().into(), mask.into()])
    }

    fn flops(&self, _shapes: &crate::Shapes<'_>) -> f64 {
        0.0
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 12 {
            return Ok(());
        }
        if edit.opset < 10 {
            cast_mask(edit);
        }
        // Opsets before 7 said by an attribute whether they train.
        let trains = edit.opset < 7 && edit.node().attrs.int_or("is_test", 0) == 0;
        edit.node().attrs.remove("is_test");
        edit.node().attrs.remove("consumed_inputs");
        let ratio = edit.node().attrs.float_or("ratio", 0.5);
        edit.node().attrs.remove("ratio");
        set_constant(edit, 1, Tensor::scalar(ratio));
        if trains {
            let flag = Tensor::from_bools(vec![], [true]).map_err(|error| refuse(edit, error.to_string()))?;
            set_constant(edit, 2, flag);
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 12 {
            return Ok(());
        }
        let training = constant_input(edit, 2)?.is_some_and(|flag| flag.data().iter().any(|byte| *byte != 0));
        if training || (edit.opset < 10 && edit.node().output(1).is_some()) {
            return Err(refuse(edit, "training mode and a boolean mask are younger"));
        }
        if let Some([ratio]) = constant_input(edit, 1)?.and_then(|r| r.floats()).as_deref() {
            edit.node().attrs.set("ratio", *ratio as f32);
        }
        edit.node().attrs.remove("seed");
        set_input(edit, 2, None);
        set_input(edit, 1, None);
        Ok(())
    }
}

/// Before opset 10 the mask had the type of the data.
fn cast_mask(edit: &mut Edit<'_>) {
    let (node, input) = (edit.node, edit.node().input(0));
    let (Some(mask), Some(data)) = (edit.node().output(1), input) else { return };
    let mut outputs = edit.node().outputs.clone();
    // Exporters name the mask also where nobody reads it.
    outputs.truncate(1);
    let is_read = edit.graph.outputs.contains(&mask) || !edit.graph.readers()[mask.0 as usize].is_empty();
    if is_read {
        outputs.push(Some(edit.graph.add_typed(Type::Unknown)));
    }
    edit.graph.set_outputs(node, outputs.clone());
    if let Some(flags) = outputs.get(1) {
        let cast = Node::new(OpName::onnx("CastLike"), [*flags, Some(data)], [Some(mask)], Attrs::new());
        edit.graph.add_node(cast);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run_all, t};

    #[test]
    fn inference_keeps_everything() {
        let x = t(&[2], &[1f32, 2.0]);
        let found = run_all(&Dropout, &Attrs::new(), &[Some(x.clone())], 2).unwrap();
        assert_eq!(found, [x, Tensor::from_bools(vec![2], [true, true]).unwrap()]);
    }

    #[test]
    fn training_drops_and_scales() {
        let flag = Tensor::from_bools(vec![], [true]).unwrap();
        let zero = [t(&[1], &[1f32]), t(&[], &[0f32]), flag.clone()];
        assert_eq!(crate::check::run(&Dropout, &Attrs::new(), &zero), t(&[1], &[1f32]));
        let x = t(&[1000], &[3f32; 1000]);
        let inputs = [Some(x.clone()), Some(t(&[], &[0.25f32])), Some(flag.clone())];
        let found = run_all(&Dropout, &Attrs::new(), &inputs, 2).unwrap();
        let kept = found[1].data().iter().filter(|byte| **byte != 0).count();
        assert!((700..800).contains(&kept), "{kept}");
        let scaled = found[0].elements::<f32>().unwrap();
        assert!(
            scaled.iter().zip(found[1].data()).all(|(y, stays)| *y == if *stays == 0 { 0.0 } else { 4.0 })
        );
        let message = refusal(&Dropout, &Attrs::new(), &[x, t(&[], &[1f32]), flag]);
        assert_eq!(message, "the ratio must be one float in 0..1, it is Some([1.0])");
    }

    #[test]
    fn an_old_mask_is_cast_where_it_is_read() {
        for is_read in [false, true] {
            let x = t(&[2], &[1f32, 2.0]);
            let (mut graph, node) =
                crate::forms::testing::node(&Dropout, Attrs::new(), std::slice::from_ref(&x));
            graph.outputs.extend(graph.node(node).output(0));
            let mask = graph.add_typed(TensorType::known(DType::F32, &[2]));
            let first = graph.node(node).output(0);
            graph.set_outputs(node, [first, Some(mask)]);
            if is_read {
                graph.outputs.push(mask);
            }
            Dropout.upgrade(&mut Edit { graph: &mut graph, node, opset: 9 }).unwrap();
            assert_eq!(graph.node(node).outputs.len(), 1 + usize::from(is_read));
            let found = crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap();
            let expected = [x.into(), t(&[2], &[1f32, 1.0]).into()];
            assert_eq!(found, expected[..1 + usize::from(is_read)]);
        }
    }

    #[test]
    fn the_ratio_moves_between_attribute_and_input() {
        let old = Attrs::new().with("ratio", 0.25f32);
        let (mut graph, node) = crate::forms::testing::node(&Dropout, old.clone(), &[t(&[1], &[1f32])]);
        Dropout.upgrade(&mut Edit { graph: &mut graph, node, opset: 7 }).unwrap();
        assert_eq!(graph.node(node).inputs.len(), 2);
        Dropout.downgrade(&mut Edit { graph: &mut graph, node, opset: 11 }).unwrap();
        assert_eq!((graph.node(node).attrs.clone(), graph.node(node).inputs.len()), (old, 1));
    }
}
