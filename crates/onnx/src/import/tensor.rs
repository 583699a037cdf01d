//! Tensors of the file → tensors of the IR. Raw data stays a slice of the mapped file; typed fields are decoded.

use super::{ImportError, Importer};
use crate::six_bits;
use bytes::Bytes;
use fusebox_ir::tensor::element_count;
use fusebox_ir::{DType, Tensor};
use onnx_ir::TensorProto;

/// What a tensor is called in messages.
pub(super) type Owner<'a> = &'a dyn Fn() -> String;

/// A tensor's type and size, checked.
pub(super) struct Header {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) count: usize,
}

impl Importer<'_> {
    /// Reads a tensor and takes its data out of the message.
    ///
    /// # Errors
    /// Whatever is wrong with its type, shape or data.
    pub(super) fn read_tensor(
        &mut self,
        proto: &mut TensorProto,
        owner: Owner<'_>,
    ) -> Result<Tensor, ImportError> {
        let header = header(proto, owner)?;
        if proto.data_location.value() == 1 {
            return self.read_external(proto, header, owner);
        }
        let raw = std::mem::take(&mut proto.raw_data);
        let typed = typed_field(proto);
        if raw.is_empty() {
            return read_typed(proto, header, typed, owner);
        }
        if let Some(field) = typed {
            let reason = "and in raw_data as well";
            return Err(ImportError::DataField { tensor: owner(), dtype: header.dtype, field, reason });
        }
        from_raw(header, raw, owner)
    }
}

/// Checks type and shape.
pub(super) fn header(proto: &TensorProto, owner: Owner<'_>) -> Result<Header, ImportError> {
    let number = proto.data_type;
    let dtype =
        DType::from_onnx(number).ok_or_else(|| ImportError::UnknownDType { owner: owner(), number })?;
    let bad = |reason| ImportError::Shape { tensor: owner(), dims: proto.dims.clone(), reason };
    let size = |dim: &i64| usize::try_from(*dim).map_err(|_| bad("and sizes cannot be negative"));
    let shape = proto.dims.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let too_large = || bad("which is more than memory can address");
    let count = element_count(&shape).ok_or_else(too_large)?;
    // 16 bytes are the largest element: beyond this, byte counts overflow.
    count.checked_mul(16).ok_or_else(too_large)?;
    Ok(Header { dtype, shape, count })
}

/// A tensor over raw bytes.
pub(super) fn from_raw(header: Header, raw: Bytes, owner: Owner<'_>) -> Result<Tensor, ImportError> {
    let Header { dtype, shape, count } = header;
    let Some(needed) = dtype.bytes_for(count) else {
        let reason = "which cannot hold strings";
        return Err(ImportError::DataField { tensor: owner(), dtype, field: "raw_data", reason });
    };
    let needed = if dtype.is_six_bits() { six_bits::packed_len(count) } else { needed };
    check_length(dtype, &shape, "bytes", needed, raw.len(), owner)?;
    let raw = if dtype.is_six_bits() { six_bits::unpack(&raw, count).into() } else { raw };
    // Kernels rely on booleans being 0 or 1; a writer that used other numbers for true is corrected.
    let raw = if dtype == DType::Bool && raw.iter().any(|b| *b > 1) {
        raw.iter().map(|b| u8::from(*b != 0)).collect::<Vec<_>>().into()
    } else {
        raw
    };
    Ok(Tensor::from_bytes(dtype, shape, raw).expect("length was checked above"))
}

fn check_length(
    dtype: DType,
    shape: &[usize],
    unit: &'static str,
    needed: usize,
    present: usize,
    owner: Owner<'_>,
) -> Result<(), ImportError> {
    if needed == present {
        return Ok(());
    }
    Err(ImportError::DataLength { tensor: owner(), dtype, dims: shape.to_vec(), unit, needed, present })
}

/// The typed field that holds something.
fn typed_field(proto: &TensorProto) -> Option<&'static str> {
    let fields = [
        ("float_data", proto.float_data.len()),
        ("int32_data", proto.int32_data.len()),
        ("string_data", proto.string_data.len()),
        ("int64_data", proto.int64_data.len()),
        ("double_data", proto.double_data.len()),
        ("uint64_data", proto.uint64_data.len()),
    ];
    fields.into_iter().find(|(_, length)| *length > 0).map(|(name, _)| name)
}

/// The typed field that belongs to an element type.
fn field_of(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::C64 => "float_data",
        DType::F64 | DType::C128 => "double_data",
        DType::I64 => "int64_data",
        DType::U64 | DType::U32 => "uint64_data",
        DType::String => "string_data",
        _ => "int32_data",
    }
}

fn read_typed(
    proto: &mut TensorProto,
    header: Header,
    present: Option<&'static str>,
    owner: Owner<'_>,
) -> Result<Tensor, ImportError> {
    let Header { dtype, shape, count } = header;
    if let Some(field) = present.filter(|field| *field != field_of(dtype)) {
        let reason = "which holds other types";
        return Err(ImportError::DataField { tensor: owner(), dtype, field, reason });
    }
    let check = |present| check_length(dtype, &shape, "elements", count, present, owner);
    let built = match dtype {
        DType::F32 => {
            check(proto.float_data.len())?;
            Tensor::from_vec(shape, std::mem::take(&mut proto.float_data))
        }
        DType::F64 => {
            check(proto.double_data.len())?;
            Tensor::from_vec(shape, std::mem::take(&mut proto.double_data))
        }
        DType::I64 => {
            check(proto.int64_data.len())?;
            Tensor::from_vec(shape, std::mem::take(&mut proto.int64_data))
        }
        DType::U64 => {
            check(proto.uint64_data.len())?;
            Tensor::from_vec(shape, std::mem::take(&mut proto.uint64_data))
        }
        DType::String => {
            check(proto.string_data.len())?;
            Tensor::from_strings(shape, proto.string_data.iter().map(|s| s.to_vec()).collect())
        }
        DType::C64 | DType::C128 => return read_complex(proto, dtype, shape, count, owner),
        DType::U32 => {
            check(proto.uint64_data.len())?;
            let narrow = |(index, value): (usize, &u64)| {
                let value = *value;
                u32::try_from(value).map_err(|_| element(dtype, index, value.cast_signed(), owner))
            };
            let elements = proto.uint64_data.iter().enumerate().map(narrow).collect::<Result<Vec<_>, _>>()?;
            Tensor::from_vec(shape, elements)
        }
        _ => return read_int32_data(&proto.int32_data, dtype, shape, count, owner),
    };
    Ok(built.expect("element count was checked above"))
}

/// A tensor message without type, shape and data: its name, doc string and metadata.
pub(super) fn description(proto: &TensorProto) -> TensorProto {
    TensorProto {
        name: proto.name.clone(),
        doc_string: proto.doc_string.clone(),
        metadata_props: proto.metadata_props.clone(),
        ..TensorProto::default()
    }
}

fn element(dtype: DType, index: usize, value: i64, owner: Owner<'_>) -> ImportError {
    ImportError::Element { tensor: owner(), dtype, index, value }
}

/// Complex numbers: real and imaginary parts alternate.
fn read_complex(
    proto: &TensorProto,
    dtype: DType,
    shape: Vec<usize>,
    count: usize,
    owner: Owner<'_>,
) -> Result<Tensor, ImportError> {
    let raw: Vec<u8> = match dtype {
        DType::C64 => bytemuck::cast_slice(&proto.float_data).to_vec(),
        _ => bytemuck::cast_slice(&proto.double_data).to_vec(),
    };
    from_raw(Header { dtype, shape, count }, raw.into(), owner)
}

/// The many types that share `int32_data`: one element per entry, or one byte per entry for types below a byte.
fn read_int32_data(
    values: &[i32],
    dtype: DType,
    shape: Vec<usize>,
    count: usize,
    owner: Owner<'_>,
) -> Result<Tensor, ImportError> {
    let packed = dtype.bits() < 8;
    let needed = if packed { dtype.bytes_for(count).expect("not strings") } else { count };
    let unit = if packed { "bytes" } else { "elements" };
    check_length(dtype, &shape, unit, needed, values.len(), owner)?;
    if dtype.is_six_bits() {
        // One code per entry, which raw_data packs.
        let code = |(index, value): (usize, &i32)| {
            let fits = u8::try_from(*value).ok().filter(|code| *code < 64);
            fits.ok_or_else(|| element(dtype, index, (*value).into(), owner))
        };
        let codes = values.iter().enumerate().map(code).collect::<Result<Vec<u8>, _>>()?;
        return Ok(Tensor::from_bytes(dtype, shape, codes.into()).expect("length was checked above"));
    }
    let width = dtype.bits().div_ceil(8);
    let mut raw = Vec::with_capacity(values.len() * width);
    for (index, value) in values.iter().enumerate() {
        // Writers store small types sign-extended or as their bits; both fit, anything else is a mistake.
        let fits = match (dtype, width) {
            (DType::I32, _) => true,
            (DType::U8, _) => u8::try_from(*value).is_ok(),
            (DType::U16, _) => u16::try_from(*value).is_ok(),
            (_, 1) => (-128..256).contains(value),
            _ => (-32768..65536).contains(value),
        };
        if !fits {
            return Err(element(dtype, index, (*value).into(), owner));
        }
        raw.extend_from_slice(&value.to_le_bytes()[..width]);
    }
    from_raw(Header { dtype, shape, count }, raw.into(), owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::LoadOptions;

    fn read(mut proto: TensorProto) -> Result<Tensor, ImportError> {
        let options = LoadOptions::default();
        Importer::new(&options, None).read_tensor(&mut proto, &|| "tensor \"t\"".into())
    }

    fn proto(dtype: DType, dims: &[i64]) -> TensorProto {
        TensorProto { data_type: dtype.to_onnx(), dims: dims.to_vec(), ..TensorProto::default() }
    }

    #[test]
    fn raw_data_is_shared() {
        let raw = Bytes::from(vec![0u8; 8]);
        let tensor = read(TensorProto { raw_data: raw.clone(), ..proto(DType::F32, &[2]) }).unwrap();
        assert_eq!(tensor.data().as_ptr(), raw.as_ptr());
    }

    #[test]
    fn typed_fields_decode() {
        let halves = TensorProto { int32_data: vec![0x3c00, -0x4000], ..proto(DType::F16, &[2]) };
        assert_eq!(read(halves).unwrap().floats().unwrap(), [1.0, -2.0]);
        let nibbles = TensorProto { int32_data: vec![0x21, 0x03], ..proto(DType::U4, &[3]) };
        assert_eq!(&read(nibbles).unwrap().data()[..], [0x21, 0x03]);
        let signed = TensorProto { int32_data: vec![-1, 127], ..proto(DType::I8, &[2]) };
        assert_eq!(read(signed).unwrap().elements::<i8>().unwrap().as_ref(), [-1, 127]);
        let truths = TensorProto { raw_data: vec![0, 7].into(), ..proto(DType::Bool, &[2]) };
        assert_eq!(&read(truths).unwrap().data()[..], [0, 1]);
        let sixes = TensorProto { raw_data: vec![0x81, 0x30].into(), ..proto(DType::F6E2M3, &[2]) };
        assert_eq!(&read(sixes).unwrap().data()[..], [0x01, 0x02]);
        let sixes = TensorProto { int32_data: vec![0x3f, 2], ..proto(DType::F6E3M2, &[2]) };
        assert_eq!(&read(sixes).unwrap().data()[..], [0x3f, 0x02]);
        let complex = TensorProto { float_data: vec![1.0, 2.0], ..proto(DType::C64, &[1]) };
        assert_eq!(read(complex).unwrap().len(), 1);
        let wide = TensorProto { uint64_data: vec![u64::from(u32::MAX)], ..proto(DType::U32, &[]) };
        assert_eq!(read(wide).unwrap().elements::<u32>().unwrap().as_ref(), [u32::MAX]);
        assert_eq!(read(proto(DType::F32, &[0, 3])).unwrap().len(), 0);
    }

    #[test]
    fn every_fault_has_its_message() {
        let message = |proto| read(proto).unwrap_err().to_string();
        assert_eq!(
            message(proto(DType::F32, &[2, 3])),
            "tensor \"t\" is f32[2, 3], which takes 6 elements, but holds 0"
        );
        assert_eq!(
            message(TensorProto { raw_data: vec![0; 7].into(), ..proto(DType::F32, &[2]) }),
            "tensor \"t\" is f32[2], which takes 8 bytes, but holds 7"
        );
        assert_eq!(
            message(proto(DType::F32, &[-1])),
            "tensor \"t\" has shape [-1], and sizes cannot be negative"
        );
        assert_eq!(
            message(proto(DType::F32, &[i64::MAX, i64::MAX])),
            "tensor \"t\" has shape [9223372036854775807, 9223372036854775807], which is more than memory can address"
        );
        assert_eq!(
            message(TensorProto { data_type: 99, ..TensorProto::default() }),
            "tensor \"t\" has element type 99, which ONNX does not define"
        );
        assert_eq!(
            message(TensorProto { int32_data: vec![256], ..proto(DType::U8, &[1]) }),
            "element 0 of tensor \"t\" is 256, which u8 cannot hold"
        );
        assert_eq!(
            message(TensorProto { int64_data: vec![1], ..proto(DType::F32, &[1]) }),
            "tensor \"t\" of type f32 has its data in int64_data, which holds other types"
        );
        assert_eq!(
            message(TensorProto { raw_data: vec![0].into(), ..proto(DType::String, &[1]) }),
            "tensor \"t\" of type string has its data in raw_data, which cannot hold strings"
        );
    }
}
