//! Element types, numbered as in ONNX `TensorProto.DataType`.

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum DType {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    String,
    Bool,
    F16,
    F64,
    U32,
    U64,
    C64,
    C128,
    BF16,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    U4,
    I4,
    F4E2M1,
    F8E8M0,
    U2,
    I2,
    F6E2M3,
    F6E3M2,
}

/// One row per type: ONNX number, name in the text form, bits per element.
const TABLE: &[(DType, i32, &str, usize)] = &[
    (DType::F32, 1, "f32", 32),
    (DType::U8, 2, "u8", 8),
    (DType::I8, 3, "i8", 8),
    (DType::U16, 4, "u16", 16),
    (DType::I16, 5, "i16", 16),
    (DType::I32, 6, "i32", 32),
    (DType::I64, 7, "i64", 64),
    (DType::String, 8, "string", 0),
    (DType::Bool, 9, "bool", 8),
    (DType::F16, 10, "f16", 16),
    (DType::F64, 11, "f64", 64),
    (DType::U32, 12, "u32", 32),
    (DType::U64, 13, "u64", 64),
    (DType::C64, 14, "c64", 64),
    (DType::C128, 15, "c128", 128),
    (DType::BF16, 16, "bf16", 16),
    (DType::F8E4M3FN, 17, "f8e4m3fn", 8),
    (DType::F8E4M3FNUZ, 18, "f8e4m3fnuz", 8),
    (DType::F8E5M2, 19, "f8e5m2", 8),
    (DType::F8E5M2FNUZ, 20, "f8e5m2fnuz", 8),
    (DType::U4, 21, "u4", 4),
    (DType::I4, 22, "i4", 4),
    (DType::F4E2M1, 23, "f4e2m1", 4),
    (DType::F8E8M0, 24, "f8e8m0", 8),
    (DType::U2, 25, "u2", 2),
    (DType::I2, 26, "i2", 2),
    // Six bits lie in a byte here; files pack four of them into three bytes.
    (DType::F6E2M3, 27, "f6e2m3", 8),
    (DType::F6E3M2, 28, "f6e3m2", 8),
];

impl DType {
    fn row(self) -> &'static (DType, i32, &'static str, usize) {
        TABLE.iter().find(|row| row.0 == self).expect("every type has a row")
    }

    /// Type for an ONNX `TensorProto.DataType` number.
    pub fn from_onnx(number: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// ONNX `TensorProto.DataType` number.
    pub fn to_onnx(self) -> i32 {
        self.row().1
    }

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Type with a given text-form name.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// Bits per element, 0 for strings.
    pub fn bits(self) -> usize {
        self.row().3
    }

    /// Bytes that `count` elements take in memory (4-bit types are packed two to a byte), or `None` on overflow and
    /// for strings. ONNX raw form is the same but for 6-bit floats.
    pub fn bytes_for(self, count: usize) -> Option<usize> {
        if self == Self::String { None } else { count.checked_mul(self.bits()).map(|bits| bits.div_ceil(8)) }
    }

    /// Whether elements have six bits, each in a byte here and packed in files.
    pub fn is_six_bits(self) -> bool {
        matches!(self, Self::F6E2M3 | Self::F6E3M2)
    }

    /// Whether elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64) || self.name().starts_with('f')
    }

    /// Whether elements are integers (booleans are not).
    pub fn is_integer(self) -> bool {
        self.name().starts_with('i') || self.name().starts_with('u')
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_one_to_one() {
        for row in TABLE {
            assert_eq!(DType::from_onnx(row.1), Some(row.0));
            assert_eq!(DType::from_name(row.2), Some(row.0));
        }
        assert_eq!(DType::I4.bytes_for(3), Some(2));
        assert!(DType::F8E5M2.is_float() && !DType::Bool.is_integer() && DType::U8.is_integer());
    }
}
