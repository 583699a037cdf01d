//! Sparse initializers, filled in as dense ones: nothing behind the importer has to know of them.

use super::tensor::{Header, header};
use super::{ImportError, Importer};
use fusebox_ir::tensor::element_count;
use fusebox_ir::{DType, Tensor};
use onnx_ir::TensorProto;

impl Importer<'_> {
    /// Reads a sparse initializer from its values and indices; returns the message of its values, which bears name and doc, and the tensor.
    pub(super) fn read_sparse(
        &mut self,
        (mut values, mut indices): (TensorProto, TensorProto),
        dims: Vec<i64>,
    ) -> Result<(TensorProto, Tensor), ImportError> {
        let name = values.name.clone();
        let owner = || format!("sparse initializer {name:?}");
        let fault = |reason: String| ImportError::Sparse { tensor: owner(), reason };
        let number = values.data_type;
        let shell = TensorProto { data_type: number, dims, ..TensorProto::default() };
        let Header { dtype, shape, count } = header(&shell, &owner)?;
        let width = dtype.bits() / 8;
        if dtype == DType::String || width == 0 {
            return Err(fault(format!("elements of type {dtype} are not supported in sparse form")));
        }
        let elements = self.read_tensor(&mut values, &owner)?;
        let positions = self.read_tensor(&mut indices, &|| format!("indices of {}", owner()))?;
        let flat = flat_positions(&positions, &shape, elements.len()).map_err(fault)?;
        self.reserve_generated((count * width) as u64, &owner)?;
        let mut raw = vec![0u8; count * width];
        for (position, element) in flat.into_iter().zip(elements.data().chunks_exact(width)) {
            raw[position * width..][..width].copy_from_slice(element);
        }
        let tensor = Tensor::from_bytes(dtype, shape, raw.into()).expect("made to the size of the shape");
        Ok((values, tensor))
    }
}

/// Row-major positions of the elements; indices are given either so or per axis.
fn flat_positions(indices: &Tensor, shape: &[usize], count: usize) -> Result<Vec<usize>, String> {
    let given = indices.elements::<i64>().map_err(|e| e.to_string())?;
    let total = element_count(shape).unwrap_or(0);
    let bounded = |index: i64, size: usize| {
        let index = usize::try_from(index).ok().filter(|i| *i < size);
        index.ok_or_else(|| format!("an index is out of bounds for shape {shape:?}"))
    };
    match indices.shape() {
        [n] if *n == count => given.iter().map(|index| bounded(*index, total)).collect(),
        [n, rank] if *n == count && *rank == shape.len() && *rank > 0 => given
            .chunks_exact(*rank)
            .map(|index| {
                index.iter().zip(shape).try_fold(0, |flat, (i, size)| Ok(flat * size + bounded(*i, *size)?))
            })
            .collect(),
        other => Err(format!("indices of shape {other:?} do not fit {count} values of shape {shape:?}")),
    }
}
