//! `Clip`: `x` limited to `min` and `max`, elementwise on every number type; NaN stays NaN.
//!
//! Where `min > max` the result is `max`. Until opset 10 the limits were attributes, with the finite range of f32 as
//! default: an upgrade writes that default out, since it limits infinities.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Clip.html>.

use crate::forms::{set_constant, set_input};
use crate::inference::{NUMBERS, expect_same, same_as_first};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{add_node, constant_input, input_type, refuse};
use crate::view::{dispatch, from_f32, one, tensor, view};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::tensor::Element;
use fusebox_ir::{Attrs, Tensor};

static SCHEMA: Schema = Schema::onnx("Clip", &[1, 6, 11, 12, 13], (1, 3), (1, 1));

pub(crate) struct Clip;

/// The one element of an optional limit.
fn limit<T: Element>(limit: Option<&Tensor>) -> Result<Option<T>, EvalError> {
    let Some(limit) = limit else { return Ok(None) };
    match *limit.elements::<T>()? {
        [value] => Ok(Some(value)),
        _ => Err(EvalError::value(format!("a limit must be a scalar, its shape is {:?}", limit.shape()))),
    }
}

fn clip<T: Number>(x: T, min: Option<T>, max: Option<T>) -> T {
    if x.nan() {
        return x;
    }
    let raised = min.map_or(x, |min| x.larger(min));
    max.map_or(raised, |max| raised.smaller(max))
}

impl Op for Clip {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect_same(cx, 0, 1)?;
        expect_same(cx, 0, 2)?;
        same_as_first(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        dispatch!(numbers, x.dtype(), T => {
            let (min, max) = (limit::<T>(cx.optional(1)?)?, limit::<T>(cx.optional(2)?)?);
            one(tensor(view::<T>(x)?.mapv(|x| clip(x, min, max)))?)
        })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        2.0 * shapes.output_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 11 {
            return Ok(());
        }
        let dtype = input_type(edit, 0).tensor().map(|ty| ty.dtype);
        for (index, name, default) in [(1, "min", f32::MIN), (2, "max", f32::MAX)] {
            let value = edit.node().attrs.float_or(name, default);
            edit.node().attrs.remove(name);
            if let Some(dtype) = dtype {
                let constant = from_f32(dtype, vec![], vec![value]);
                let constant = constant.map_err(|error| refuse(edit, error.to_string()))?;
                set_constant(edit, index, constant);
            } else if let Some(input) = edit.node().input(0) {
                let constant = edit.graph.add_constant("", Tensor::scalar(value));
                let like = add_node(edit, "CastLike", &[constant, input], Attrs::new());
                set_input(edit, index, Some(like));
            }
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let integer = input_type(edit, 0).tensor().is_some_and(|ty| ty.dtype.is_integer());
        if edit.opset < 12 && integer {
            return Err(refuse(edit, "integers came with opset 12"));
        }
        if edit.opset >= 11 {
            return Ok(());
        }
        for (index, name) in [(1, "min"), (2, "max")] {
            let Some(constant) = constant_input(edit, index)? else { continue };
            let Some([value]) = constant.floats().as_deref().and_then(|v| <[f64; 1]>::try_from(v).ok())
            else {
                return Err(refuse(edit, format!("{name} must be a float scalar")));
            };
            edit.node().attrs.set(name, value as f32);
        }
        set_input(edit, 2, None);
        set_input(edit, 1, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, run_all, t};

    #[test]
    fn limits_may_be_absent_or_crossed() {
        let x = t(&[4], &[-5f32, 0.5, 9.0, f32::NAN]);
        let (zero, six) = (t(&[], &[0f32]), t(&[], &[6f32]));
        close(
            &run(&Clip, &Attrs::new(), &[x.clone(), zero.clone(), six.clone()]),
            &[0.0, 0.5, 6.0, f64::NAN],
        );
        let above = run_all(&Clip, &Attrs::new(), &[Some(x.clone()), None, Some(zero.clone())], 1).unwrap();
        close(&above[0], &[-5.0, 0.0, 0.0, f64::NAN]);
        close(&run(&Clip, &Attrs::new(), &[x, six, zero]), &[0.0, 0.0, 0.0, f64::NAN]);
        assert_eq!(run(&Clip, &Attrs::new(), &[t(&[2], &[3u8, 9]), t(&[], &[4u8])]), t(&[2], &[4u8, 9]));
    }

    #[test]
    fn limits_are_scalars() {
        let message = refusal(&Clip, &Attrs::new(), &[t(&[1], &[1f32]), t(&[2], &[1f32, 2.0])]);
        assert_eq!(message, "a limit must be a scalar, its shape is [2]");
    }

    #[test]
    fn attributes_become_inputs_and_back() {
        let old = Attrs::new().with("min", 0f32).with("max", 6f32);
        let (mut graph, node) = crate::forms::testing::node(&Clip, old.clone(), &[t(&[1], &[1f32])]);
        Clip.upgrade(&mut Edit { graph: &mut graph, node, opset: 6 }).unwrap();
        let max = graph.node(node).input(2).and_then(|v| graph.constant(v).cloned());
        assert_eq!(max, Some(t(&[], &[6f32])));
        Clip.downgrade(&mut Edit { graph: &mut graph, node, opset: 10 }).unwrap();
        assert_eq!((graph.node(node).attrs.clone(), graph.node(node).inputs.len()), (old, 1));
    }
}
