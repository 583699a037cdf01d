//! `GroupNormalization`: channels normalised in groups over their positions, scaled and shifted per channel.
//!
//! In opset 18 scale and bias were per group; an upgrade from there is an instance normalisation of the groups.
//! Spec: <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>.

use super::affine::{channels, expect_per_channel, per_channel};
use crate::attributes::{INT, float, int};
use crate::inference::{FLOATS, expect_same, same_as_first};
use crate::lanes::{map_rows, moments};
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{add_node, append_node, exists, refuse};
use crate::view::one;
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, OpName, Tensor};

static SCHEMA: Schema = Schema::onnx("GroupNormalization", &[18, 21], (3, 3), (1, 1)).with(&[
    ("epsilon", float(1e-05)),
    ("num_groups", INT),
    ("stash_type", int(1)),
]);

pub(crate) struct GroupNormalization;

fn groups(attrs: &Attrs) -> Result<usize, InferError> {
    let groups = attrs.int("num_groups").and_then(|g| usize::try_from(g).ok()).filter(|g| *g > 0);
    groups.ok_or_else(|| InferError::Attribute { name: "num_groups".into(), expected: "at least 1".into() })
}

impl Op for GroupNormalization {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        groups(cx.attrs)?;
        for index in [1, 2] {
            expect_same(cx, 0, index)?;
            expect_per_channel(cx, index)?;
        }
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let (count, groups) = (channels(x)?, groups(cx.attrs)?);
        if !count.is_multiple_of(groups) {
            return Err(EvalError::value(format!("{count} channels do not split into {groups} groups")));
        }
        let epsilon = f64::from(cx.attrs.float_or("epsilon", 1e-5));
        let (scale, bias) = (per_channel(cx, 1, count)?, per_channel(cx, 2, count)?);
        let area: usize = x.shape()[2..].iter().product();
        let in_group = count / groups;
        one(map_rows(x, in_group * area, |number, row| {
            let (mean, variance) = moments(row);
            let inverse = 1.0 / (variance + epsilon).sqrt();
            let first = number % groups * in_group;
            for (offset, plane) in row.chunks_exact_mut(area.max(1)).enumerate() {
                let (scale, bias) = (scale[first + offset], bias[first + offset]);
                plane.iter_mut().for_each(|x| *x = (*x - mean) * inverse * scale + bias);
            }
        })?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        8.0 * shapes.output_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 21 {
            return Ok(());
        }
        let (groups, Some(x)) = (groups(&edit.node().attrs)? as i64, edit.node().input(0)) else {
            return Ok(());
        };
        let epsilon = edit.node().attrs.float_or("epsilon", 1e-5);
        let shape = add_node(edit, "Shape", &[x], Attrs::new());
        let grouped = edit.graph.add_constant("", Tensor::vector(vec![0i64, groups, -1]));
        let grouped = add_node(edit, "Reshape", &[x, grouped], Attrs::new());
        let node = edit.node();
        node.op = OpName::onnx("InstanceNormalization");
        node.attrs = Attrs::new().with("epsilon", epsilon);
        node.inputs[0] = Some(grouped);
        append_node(edit, "Reshape", &[shape], Attrs::new());
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        exists(self, edit)?;
        if edit.opset < 21 {
            return Err(refuse(edit, "scale and bias are per channel since opset 21"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};

    #[test]
    fn normalises_groups_of_channels() {
        let x = t(&[1, 4, 1], &[1f32, 3.0, 10.0, 20.0]);
        let inputs = [x, t(&[4], &[1f32, 2.0, 1.0, 1.0]), t(&[4], &[0f32, 0.0, 5.0, 0.0])];
        let attrs = Attrs::new().with("num_groups", 2i64).with("epsilon", 1e-12f32);
        close(&run(&GroupNormalization, &attrs, &inputs), &[-1.0, 2.0, 4.0, 1.0]);
    }

    #[test]
    fn the_form_per_group_becomes_an_instance_normalisation() {
        let x = t(&[1, 4, 1], &[1f32, 3.0, 10.0, 20.0]);
        let inputs = [x, t(&[2], &[1f32, 2.0]), t(&[2], &[0f32, 5.0])];
        let attrs = Attrs::new().with("num_groups", 2i64).with("epsilon", 1e-12f32);
        let (mut graph, node) = crate::forms::testing::node(&GroupNormalization, attrs, &inputs);
        let output = graph.node(node).output(0).unwrap();
        GroupNormalization.upgrade(&mut Edit { graph: &mut graph, node, opset: 18 }).unwrap();
        graph.outputs = vec![output];
        graph.verify().unwrap();
        let result =
            crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap().remove(0).into_tensor().unwrap();
        assert_eq!(result.shape(), [1, 4, 1]);
        close(&result, &[-1.0, 1.0, 3.0, 7.0]);
    }
}
