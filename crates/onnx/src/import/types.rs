//! Types of the file → types of the IR. Sizes without a name get fresh symbols, numbered over the whole model.

use super::{ImportError, Importer};
use crate::dims;
use fusebox_ir::{DType, Dim, Shape, TensorType, Type};
use onnx_ir::{Message, TensorShapeProto, TypeProto};

impl Importer<'_> {
    /// Reads a type. Maps, sparse tensors and opaque types are carried as bytes.
    ///
    /// # Errors
    /// An element type that ONNX does not define.
    pub(super) fn read_type(
        &mut self,
        proto: &TypeProto,
        owner: &dyn Fn() -> String,
    ) -> Result<Type, ImportError> {
        if proto.has_tensor_type() {
            let tensor = proto.tensor_type();
            if tensor.elem_type == 0 {
                return Ok(Type::Foreign(foreign(proto)));
            }
            let dtype = DType::from_onnx(tensor.elem_type)
                .ok_or_else(|| ImportError::UnknownDType { owner: owner(), number: tensor.elem_type })?;
            let shape = tensor.shape.as_ref().map(|shape| self.read_shape(shape));
            return Ok(TensorType { dtype, shape }.into());
        }
        if proto.has_sequence_type() {
            let element = self.read_element(proto.sequence_type().elem_type.as_ref(), owner)?;
            return Ok(Type::Sequence(Box::new(element)));
        }
        if proto.has_optional_type() {
            let element = self.read_element(proto.optional_type().elem_type.as_ref(), owner)?;
            return Ok(Type::Optional(Box::new(element)));
        }
        Ok(if proto.value.is_none() { Type::Unknown } else { Type::Foreign(foreign(proto)) })
    }

    fn read_element(
        &mut self,
        proto: Option<&TypeProto>,
        owner: &dyn Fn() -> String,
    ) -> Result<Type, ImportError> {
        proto.map_or(Ok(Type::Unknown), |proto| self.read_type(proto, owner))
    }

    fn read_shape(&mut self, shape: &TensorShapeProto) -> Shape {
        let read = |dim: &Dimension<'_>| match dim {
            Dimension::Known(size) => Dim::known(*size),
            Dimension::Named(name) => dims::read(name),
            Dimension::Unnamed => self.fresh_dim(),
        };
        dimensions(shape).iter().map(read).collect()
    }

    fn fresh_dim(&mut self) -> Dim {
        self.unnamed += 1;
        dims::unnamed(self.unnamed - 1)
    }
}

enum Dimension<'a> {
    Known(i64),
    Named(&'a str),
    Unnamed,
}

/// Dims as the file says them. Some exporters write -1 for an unknown size.
fn dimensions(shape: &TensorShapeProto) -> Vec<Dimension<'_>> {
    shape
        .dim
        .iter()
        .map(|dim| {
            if dim.has_dim_value() && dim.dim_value() >= 0 {
                Dimension::Known(dim.dim_value())
            } else if !dim.dim_param().is_empty() {
                Dimension::Named(dim.dim_param())
            } else {
                Dimension::Unnamed
            }
        })
        .collect()
}

/// Whether a type says what the IR has no place for: denotations.
pub(super) fn has_denotation(proto: &TypeProto) -> bool {
    let shape = if proto.has_tensor_type() { proto.tensor_type().shape.as_ref() } else { None };
    !proto.denotation.is_empty() || shape.is_some_and(|s| s.dim.iter().any(|d| !d.denotation.is_empty()))
}

fn foreign(proto: &TypeProto) -> Vec<u8> {
    proto.write_to_bytes().expect("writing to memory cannot fail below 2 GiB, which the file is")
}
