//! Tensors in NumPy's files: `.npy` in, `.npz` out.
//!
//! NumPy has no floats below 16 bits and no integers below 8: an array of bytes given for such an input holds one code (of
//! small integers, one value) per element, and such outputs are written likewise.

use crate::failure::Failure;
use fusebox::{DType, Tensor};
use half::f16;
use ndarray::ArrayViewD;
use ndarray_npy::npy::header::{Header, Layout};
use ndarray_npy::{NpzWriter, WritableElement, WriteDataError, WriteNpzError};
use py_literal::Value;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// NumPy's name of an element type, without the byte order.
const TYPES: &[(&str, DType)] = &[
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("f2", DType::F16),
    ("i8", DType::I64),
    ("i4", DType::I32),
    ("i2", DType::I16),
    ("i1", DType::I8),
    ("u8", DType::U64),
    ("u4", DType::U32),
    ("u2", DType::U16),
    ("u1", DType::U8),
    ("b1", DType::Bool),
];

/// Reads a `.npy` file.
pub(crate) fn read_npy(path: &Path) -> Result<Tensor, Failure> {
    let fault = |source| Failure::File { what: "read", path: path.to_owned(), source };
    let wrong =
        |reason: String, help: &str| Failure::Tensor { path: path.to_owned(), reason, help: help.into() };
    let file = File::open(path).map_err(fault)?;
    let available = file.metadata().map_err(fault)?.len();
    let mut reader = BufReader::new(file);
    let header = Header::from_reader(&mut reader)
        .map_err(|error| wrong(error.to_string(), "write it with `numpy.save`"))?;
    let described = header.type_descriptor.to_string();
    let described = described.trim_matches('\'');
    let numpy_type = described.trim_start_matches(['<', '|', '=']);
    let Some((_, dtype)) = TYPES.iter().find(|(name, _)| *name == numpy_type) else {
        let help = "supported are little-endian floats, integers and booleans; convert it with `astype`";
        return Err(wrong(format!("its element type is {described}"), help));
    };
    let needed = header.shape.iter().try_fold(dtype.bits() / 8, |product, size| product.checked_mul(*size));
    // The header is believed only as far as the file goes, so that it cannot ask for memory.
    let needed = needed.filter(|needed| *needed as u64 <= available).ok_or_else(|| {
        let reason = format!("its header says {dtype}{:?}, more than the file holds", header.shape);
        wrong(reason, "the file is cut off: write it again")
    })?;
    let mut bytes = Vec::with_capacity(needed);
    reader.read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() != needed {
        let reason = format!("{needed} bytes follow from its header, {} are there", bytes.len());
        return Err(wrong(reason, "the file is damaged: write it again"));
    }
    if header.layout == Layout::Fortran {
        bytes = row_major(&bytes, &header.shape, dtype.bits() / 8);
    }
    let tensor = Tensor::from_bytes(*dtype, header.shape, bytes.into());
    tensor.map_err(|error| wrong(error.to_string(), "the file is damaged: write it again"))
}

/// Elements in column-major order put into row-major order.
fn row_major(bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; shape.len()];
    for _ in 0..bytes.len() / width {
        let mut stride = 1;
        let mut position = 0;
        for (i, size) in index.iter().zip(shape) {
            position += i * stride;
            stride *= size;
        }
        out.extend_from_slice(&bytes[position * width..][..width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

/// Whether NumPy lacks the type and a byte holds an element.
fn fits_byte(dtype: DType) -> bool {
    dtype.bits() <= 8 && !matches!(dtype, DType::U8 | DType::I8 | DType::Bool | DType::String)
}

/// One byte per element, packed where the type is smaller.
fn packed(tensor: &Tensor, dtype: DType) -> Option<Tensor> {
    let bits = dtype.bits();
    let bytes = if bits == 8 {
        tensor.data().to_vec()
    } else {
        let mask = (1u8 << bits) - 1;
        let byte = |part: &[u8]| part.iter().rev().fold(0u8, |byte, code| byte << bits | code & mask);
        tensor.data().chunks(8 / bits).map(byte).collect()
    };
    Tensor::from_bytes(dtype, tensor.shape().to_vec(), bytes.into()).ok()
}

/// The elements of a type that NumPy lacks, one byte each; signed integers keep their sign.
fn unpacked(tensor: &Tensor) -> Vec<u8> {
    let bits = tensor.dtype().bits();
    if bits == 8 {
        return tensor.data().to_vec();
    }
    let (per_byte, shift) = (8 / bits, 8 - bits);
    let element = |index: usize| {
        let code = tensor.data()[index / per_byte] >> (index % per_byte * bits) << shift;
        if matches!(tensor.dtype(), DType::I4 | DType::I2) {
            (code.cast_signed() >> shift).cast_unsigned()
        } else {
            code >> shift
        }
    };
    (0..tensor.len()).map(element).collect()
}

/// A tensor given for an input: half-width inputs may be given as f32, which NumPy has, smaller ones as bytes.
pub(crate) fn as_declared(tensor: Tensor, declared: Option<DType>) -> Tensor {
    if let Some(small) = declared.filter(|dtype| fits_byte(*dtype))
        && matches!(tensor.dtype(), DType::U8 | DType::I8)
    {
        return packed(&tensor, small).unwrap_or(tensor);
    }
    let Some(values) = (tensor.dtype() == DType::F32).then(|| tensor.elements::<f32>().ok()).flatten() else {
        return tensor;
    };
    let shape = tensor.shape().to_vec();
    let narrowed = match declared {
        Some(DType::F16) => Tensor::from_vec(shape, values.iter().map(|x| half::f16::from_f32(*x)).collect()),
        Some(DType::BF16) => {
            Tensor::from_vec(shape, values.iter().map(|x| half::bf16::from_f32(*x)).collect())
        }
        _ => return tensor.clone(),
    };
    narrowed.unwrap_or_else(|_| tensor.clone())
}

/// Writes named tensors to a `.npz` file, whole or not at all. bf16, which NumPy does not have, is written as f32: the
/// same values.
pub(crate) fn write_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let fault = |source| Failure::File { what: "write", path: path.to_owned(), source };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; results should be as readable as any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(fault)?;
    let mut writer = NpzWriter::new(&mut file);
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        // A model may list an output twice; it is one value.
        if tensors[..index].iter().any(|(other, _)| other == name) {
            continue;
        }
        add(&mut writer, name, tensor).map_err(|error| match error {
            Some(error) => fault(std::io::Error::other(error)),
            None => Failure::usage(
                format!("output {name:?} is {}, which NumPy files cannot hold", tensor.ty()),
                "leave out -o to see a summary",
            ),
        })?;
    }
    writer.finish().map_err(|error| fault(std::io::Error::other(error)))?;
    file.as_file_mut().flush().and_then(|()| file.as_file().sync_all()).map_err(fault)?;
    file.persist(path).map_err(|error| fault(error.error))?;
    Ok(())
}

/// `Err(None)` is an element type that NumPy's files do not have.
fn add(
    writer: &mut NpzWriter<&mut tempfile::NamedTempFile>,
    name: &str,
    tensor: &Tensor,
) -> Result<(), Option<WriteNpzError>> {
    macro_rules! typed {
        ($t:ty) => {
            put::<$t>(writer, name, tensor.shape(), &tensor.elements::<$t>().map_err(|_| None)?)
        };
    }
    match tensor.dtype() {
        DType::F32 => typed!(f32),
        DType::F64 => typed!(f64),
        DType::I64 => typed!(i64),
        DType::I32 => typed!(i32),
        DType::I16 => typed!(i16),
        DType::I8 => typed!(i8),
        DType::U64 => typed!(u64),
        DType::U32 => typed!(u32),
        DType::U16 => typed!(u16),
        DType::U8 => typed!(u8),
        DType::F16 => {
            let halves = tensor.elements::<f16>().map_err(|_| None)?;
            put(writer, name, tensor.shape(), &halves.iter().copied().map(Half).collect::<Vec<_>>())
        }
        DType::BF16 => {
            let narrow = tensor.elements::<half::bf16>().map_err(|_| None)?;
            put(writer, name, tensor.shape(), &narrow.iter().map(|x| x.to_f32()).collect::<Vec<_>>())
        }
        DType::Bool => {
            let truths: Vec<bool> = tensor.data().iter().map(|byte| *byte != 0).collect();
            put(writer, name, tensor.shape(), &truths)
        }
        DType::I4 | DType::I2 => {
            let values: Vec<i8> = unpacked(tensor).into_iter().map(u8::cast_signed).collect();
            put(writer, name, tensor.shape(), &values)
        }
        small if fits_byte(small) => put(writer, name, tensor.shape(), &unpacked(tensor)),
        _ => Err(None),
    }
}

/// NumPy's `float16`.
struct Half(f16);

impl WritableElement for Half {
    fn type_descriptor() -> Value {
        Value::String("<f2".into())
    }

    fn write<W: Write>(&self, mut writer: W) -> Result<(), WriteDataError> {
        Ok(writer.write_all(&self.0.to_le_bytes())?)
    }

    fn write_slice<W: Write>(slice: &[Self], mut writer: W) -> Result<(), WriteDataError> {
        let bytes: Vec<u8> = slice.iter().flat_map(|x| x.0.to_le_bytes()).collect();
        Ok(writer.write_all(&bytes)?)
    }
}

fn put<T: WritableElement>(
    writer: &mut NpzWriter<&mut tempfile::NamedTempFile>,
    name: &str,
    shape: &[usize],
    elements: &[T],
) -> Result<(), Option<WriteNpzError>> {
    let view = ArrayViewD::from_shape(shape, elements).map_err(|_| None)?;
    writer.add_array(name, &view).map_err(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_numpy_lacks_are_bytes() {
        for (dtype, codes) in
            [(DType::I4, [0xf9u8, 7, 0xff]), (DType::F8E5M2, [0x7c, 0, 0x81]), (DType::U2, [3, 0, 1])]
        {
            let given = Tensor::from_vec(vec![3], codes.to_vec()).unwrap();
            let small = as_declared(given, Some(dtype));
            assert_eq!(small.dtype(), dtype);
            assert_eq!(unpacked(&small), codes);
        }
    }

    #[test]
    fn fortran_order_becomes_row_major() {
        // [[1, 2, 3], [4, 5, 6]] by columns.
        assert_eq!(row_major(&[1, 4, 2, 5, 3, 6], &[2, 3], 1), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn halves_stay_halves_and_bf16_becomes_the_f32_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.npz");
        let values = [1.0f32, -0.0, 65504.0, 6e-8, f32::INFINITY, f32::NAN];
        let halves = values.map(f16::from_f32);
        let wide = values.map(half::bf16::from_f32);
        let tensors = [
            ("half".to_owned(), Tensor::from_vec(vec![2, 3], halves.to_vec()).unwrap()),
            ("wide".to_owned(), Tensor::from_vec(vec![6], wide.to_vec()).unwrap()),
        ];
        write_npz(&path, &tensors).unwrap();
        // Its arrays are `.npy` files, stored as they are.
        let bytes = std::fs::read(&path).unwrap();
        let find = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let stored: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert!(find(b"'<f2'") && find(b"'<f4'") && find(&stored));
        let stored: Vec<u8> = wide.iter().flat_map(|x| x.to_f32().to_le_bytes()).collect();
        assert!(find(&stored));
    }

    #[test]
    fn arrays_come_back_and_lies_about_the_size_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let array = ndarray::arr2(&[[1f32, 2.0], [3.0, 4.0]]);
        ndarray_npy::write_npy(&path, &array).unwrap();
        let tensor = read_npy(&path).unwrap();
        assert_eq!((tensor.shape(), tensor.floats().unwrap()), (&[2, 2][..], vec![1.0, 2.0, 3.0, 4.0]));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        assert!(matches!(read_npy(&path), Err(Failure::Tensor { .. })));
        std::fs::write(&path, b"not numpy").unwrap();
        assert!(matches!(read_npy(&path), Err(Failure::Tensor { .. })));
    }
}
