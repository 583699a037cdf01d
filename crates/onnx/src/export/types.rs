//! Types of the IR → types of the file.

use crate::dims;
use fusebox_ir::{Shape, Type};
use onnx_ir::{Message, TensorShapeProto, TypeProto};

/// Writes a type; `None` is a type of which nothing is known. `Err` is the reason why carried bytes do not parse.
pub(super) fn write_type(ty: &Type) -> Result<Option<TypeProto>, String> {
    let mut proto = TypeProto::new();
    match ty {
        Type::Unknown => return Ok(None),
        Type::Tensor(tensor) => {
            let out = proto.mut_tensor_type();
            out.elem_type = tensor.dtype.to_onnx();
            out.shape = tensor.shape.as_ref().map(write_shape).into();
        }
        Type::Sequence(element) => {
            let element = write_type(element)?;
            proto.mut_sequence_type().elem_type = element.into();
        }
        Type::Optional(element) => {
            let element = write_type(element)?;
            proto.mut_optional_type().elem_type = element.into();
        }
        Type::Foreign(bytes) => proto = TypeProto::parse_from_bytes(bytes).map_err(|e| e.to_string())?,
    }
    Ok(Some(proto))
}

fn write_shape(shape: &Shape) -> TensorShapeProto {
    let mut proto = TensorShapeProto::new();
    for dim in shape {
        proto.dim.push(Default::default());
        let out = proto.dim.last_mut().expect("pushed above");
        match (dim.value(), dims::write(dim)) {
            (Some(size), _) => out.set_dim_value(size),
            (None, Some(name)) => out.set_dim_param(name),
            (None, None) => {}
        }
    }
    proto
}

/// Copies denotations from one type to another of the same rank.
pub(super) fn copy_denotation(from: &TypeProto, to: &mut TypeProto) {
    to.denotation.clone_from(&from.denotation);
    if !from.has_tensor_type() || !to.has_tensor_type() {
        return;
    }
    let source = from.tensor_type().shape.as_ref();
    let target = to.mut_tensor_type().shape.as_mut();
    if let (Some(source), Some(target)) = (source, target)
        && source.dim.len() == target.dim.len()
    {
        for (from, to) in source.dim.iter().zip(&mut target.dim) {
            to.denotation.clone_from(&from.denotation);
        }
    }
}
