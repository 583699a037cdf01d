//! Tensors of the IR → tensors of the file. Data is shared with the IR, never copied; large tensors may go to a data
//! file, whose layout is planned here.

use crate::entries::push_pair;
use crate::six_bits;
use bytes::Bytes;
use fusebox_ir::Tensor;
use onnx_ir::{Message, TensorProto};

/// Tensors below this size stay in the model even when data is kept outside: shapes, axes, scales.
const MIN_EXTERNAL: usize = 1024;
/// Tensors from this size on begin at a page, so that they can be mapped.
const PAGE_ALIGNED: usize = 64 << 10;
const PAGE: u64 = 4096;
const SMALL_ALIGN: u64 = 64;

/// What goes into the data file, in order.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Name of the file, as the model refers to it.
    pub(super) name: String,
    /// Offset and bytes of each tensor.
    pub(super) parts: Vec<(u64, Bytes)>,
    /// Length so far.
    pub(super) length: u64,
}

impl Layout {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    fn place(&mut self, data: &Bytes) -> u64 {
        let align = if data.len() >= PAGE_ALIGNED { PAGE } else { SMALL_ALIGN };
        let offset = self.length.next_multiple_of(align);
        self.parts.push((offset, data.clone()));
        self.length = offset + data.len() as u64;
        offset
    }
}

/// Writes a tensor with its data inside.
pub(super) fn write_tensor(tensor: &Tensor, name: &str) -> TensorProto {
    let mut proto = shell(tensor, name);
    match tensor.strings() {
        Some(strings) => proto.string_data = strings.iter().map(|s| Bytes::copy_from_slice(s)).collect(),
        None => proto.raw_data = raw(tensor),
    }
    proto
}

/// Writes an initializer, with its data in the data file when there is one and the tensor is worth it.
pub(super) fn write_initializer(tensor: &Tensor, name: &str, layout: Option<&mut Layout>) -> TensorProto {
    let worth = tensor.strings().is_none() && tensor.data().len() >= MIN_EXTERNAL;
    let Some(layout) = layout.filter(|_| worth) else { return write_tensor(tensor, name) };
    let mut proto = shell(tensor, name);
    let data = raw(tensor);
    let offset = layout.place(&data);
    push_pair!(proto.external_data, "location", layout.name.as_str());
    push_pair!(proto.external_data, "offset", offset.to_string());
    push_pair!(proto.external_data, "length", data.len().to_string());
    // onnx-ir does not let us name the enum of `data_location`: its wire form is field 14, EXTERNAL = 1.
    proto.merge_from_bytes(&[14 << 3, 1]).expect("a well-formed field");
    proto
}

/// The elements in ONNX raw form.
fn raw(tensor: &Tensor) -> Bytes {
    if tensor.dtype().is_six_bits() { six_bits::pack(tensor.data()).into() } else { tensor.data().clone() }
}

fn shell(tensor: &Tensor, name: &str) -> TensorProto {
    let size = |size: &usize| i64::try_from(*size).expect("sizes came from i64 or are lengths of memory");
    TensorProto {
        name: name.into(),
        data_type: tensor.dtype().to_onnx(),
        dims: tensor.shape().iter().map(size).collect(),
        ..TensorProto::default()
    }
}
