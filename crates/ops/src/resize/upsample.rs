//! `Upsample` of opsets 1 to 9: what became Resize in opset 10. Import turns it into Resize.
//!
//! Until opset 7 it scaled height and width of images only, by attributes of these names.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Upsample.html>.

use super::operator::asymmetric;
use crate::VersionError;
use crate::attributes::text;
use crate::forms::{inexpressible, set_constant, set_input};
use crate::op::{Edit, Op, Schema};
use fusebox_ir::{Attr, OpName, Tensor};

static SCHEMA: Schema =
    Schema::onnx("Upsample", &[1, 7, 9, 10], (1, 2), (1, 1)).with(&[("mode", text("nearest"))]);

pub(crate) struct Upsample;

impl Op for Upsample {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 7 {
            let factor = |edit: &mut Edit<'_>, name: &str| match edit.node().attrs.remove(name) {
                Some(Attr::Float(scale)) => Ok(scale),
                _ => Err(inexpressible(&SCHEMA, edit, format!("{name} must be given there"))),
            };
            let scales = vec![1.0, 1.0, factor(edit, "height_scale")?, factor(edit, "width_scale")?];
            edit.node().attrs.set("scales", Attr::Floats(scales));
        }
        match edit.node().attrs.remove("scales") {
            Some(Attr::Floats(scales)) => set_constant(edit, 2, Tensor::vector(scales)),
            _ => {
                let scales = edit.node().input(1);
                set_input(edit, 1, None);
                set_input(edit, 2, scales);
            }
        }
        edit.node().op = OpName::onnx("Resize");
        asymmetric(edit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::t;
    use crate::forms::testing::upgraded;
    use fusebox_ir::Attrs;

    #[test]
    fn it_becomes_resize() {
        let x = t(&[1, 2], &[1f32, 2.0]);
        let attrs = Attrs::new().with("scales", vec![1f32, 2.0]);
        for (attrs, inputs, opset) in
            [(attrs, vec![x.clone()], 7), (Attrs::new(), vec![x, Tensor::vector(vec![1f32, 2.0])], 9)]
        {
            let (mut graph, node) = upgraded(&Upsample, attrs, &inputs, opset).unwrap();
            assert!(graph.node(node).op.is("Resize"));
            graph.outputs = graph.node(node).outputs.iter().flatten().copied().collect();
            let y = crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap().remove(0);
            assert_eq!(y, t(&[1, 4], &[1f32, 1.0, 2.0, 2.0]).into());
        }
    }
    #[test]
    fn images_were_scaled_by_height_and_width() {
        let x = t(&[1, 1, 1, 2], &[1f32, 2.0]);
        let attrs = Attrs::new().with("height_scale", 2f32);
        let (mut graph, node) =
            upgraded(&Upsample, attrs.clone().with("width_scale", 1f32), std::slice::from_ref(&x), 1)
                .unwrap();
        graph.outputs = graph.node(node).outputs.iter().flatten().copied().collect();
        let y = crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap().remove(0);
        assert_eq!(y, t(&[1, 1, 2, 2], &[1f32, 2.0, 1.0, 2.0]).into());
        let error = upgraded(&Upsample, attrs, &[x], 1).err().unwrap().to_string();
        assert!(error.contains("width_scale must be given"), "{error}");
    }
}
