//! Floats of eight bits and less: their values, and rounding to them.
//!
//! Formats: OCP 8-bit (E4M3FN, E5M2), the variants without negative zero (FNUZ), MX scales (E8M0: powers of two), 6-bit
//! (E2M3, E3M2) and 4-bit (E2M1). Spec: <https://onnx.ai/onnx/technical/float8.html>,
//! <https://onnx.ai/onnx/technical/float4.html>. Where the specification leaves a case open (NaN to a format that has
//! none), the result is that of the `ml_dtypes` package, which the ONNX tests are made with. Refuses to know tensors.

use fusebox_ir::DType;

/// How casts to these types treat what they cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Whether values out of range become the largest one instead of infinity or NaN (8-bit floats).
    pub saturate: bool,
    /// Direction for E8M0.
    pub mode: RoundMode,
}

impl Default for Rounding {
    fn default() -> Self {
        Self { saturate: true, mode: RoundMode::Up }
    }
}

/// Direction of rounding to a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundMode {
    /// To the next larger power.
    Up,
    /// To the next smaller power.
    Down,
    /// To the nearer one, ties up.
    Nearest,
}

/// A format: bits of the mantissa, exponent bias, largest finite code without sign, code of NaN and of infinity.
#[derive(Clone, Copy)]
struct Format {
    mantissa: i32,
    bias: i32,
    largest: u8,
    sign: u8,
    nan: Option<u8>,
    infinity: Option<u8>,
    has_negative_zero: bool,
}

const E4M3FN: Format = Format {
    mantissa: 3,
    bias: 7,
    largest: 0x7e,
    sign: 0x80,
    nan: Some(0x7f),
    infinity: None,
    has_negative_zero: true,
};
const E5M2: Format = Format {
    mantissa: 2,
    bias: 15,
    largest: 0x7b,
    sign: 0x80,
    nan: Some(0x7e),
    infinity: Some(0x7c),
    has_negative_zero: true,
};
const E4M3FNUZ: Format = Format {
    mantissa: 3,
    bias: 8,
    largest: 0x7f,
    sign: 0x80,
    nan: Some(0x80),
    infinity: None,
    has_negative_zero: false,
};
const E5M2FNUZ: Format = Format { mantissa: 2, bias: 16, ..E4M3FNUZ };
const E2M1: Format = Format {
    mantissa: 1,
    bias: 1,
    largest: 0x07,
    sign: 0x08,
    nan: None,
    infinity: None,
    has_negative_zero: true,
};
const E2M3: Format = Format { mantissa: 3, largest: 0x1f, sign: 0x20, ..E2M1 };
const E3M2: Format = Format { mantissa: 2, bias: 3, ..E2M3 };

fn format(dtype: DType) -> Option<Format> {
    Some(match dtype {
        DType::F8E4M3FN => E4M3FN,
        DType::F8E4M3FNUZ => E4M3FNUZ,
        DType::F8E5M2 => E5M2,
        DType::F8E5M2FNUZ => E5M2FNUZ,
        DType::F4E2M1 => E2M1,
        DType::F6E2M3 => E2M3,
        DType::F6E3M2 => E3M2,
        _ => return None,
    })
}

/// Whether a type is one of these.
pub fn is_small_float(dtype: DType) -> bool {
    dtype == DType::F8E8M0 || format(dtype).is_some()
}

/// The value of a code, `None` when the type is not one of these.
pub fn decode(dtype: DType, code: u8) -> Option<f32> {
    if dtype == DType::F8E8M0 {
        return Some(if code == 0xff { f32::NAN } else { power(i32::from(code) - 127) as f32 });
    }
    let f = format(dtype)?;
    let (sign, magnitude) = (code & f.sign != 0, code & (f.sign - 1));
    let value = if f.nan == Some(code) || (f.has_negative_zero && is_nan(&f, magnitude)) {
        f32::NAN
    } else if f.infinity == Some(magnitude) {
        f32::INFINITY
    } else {
        let (exponent, fraction) =
            (i32::from(magnitude) >> f.mantissa, i32::from(magnitude) & ((1 << f.mantissa) - 1));
        let (leading, exponent) = if exponent == 0 { (0, 1) } else { (1 << f.mantissa, exponent) };
        (f64::from(leading + fraction) * power(exponent - f.bias - f.mantissa)) as f32
    };
    Some(if sign { -value } else { value })
}

/// Codes above the largest finite one that are not infinity.
fn is_nan(f: &Format, magnitude: u8) -> bool {
    f.nan.is_some() && magnitude > f.largest && f.infinity != Some(magnitude)
}

/// `2^exponent`, exact.
fn power(exponent: i32) -> f64 {
    f64::exp2(f64::from(exponent))
}

/// The code of a value, rounded to nearest, ties to even; `None` when the type is not one of these.
pub fn encode(dtype: DType, value: f64, rounding: Rounding) -> Option<u8> {
    if dtype == DType::F8E8M0 {
        return Some(encode_power(value as f32, rounding));
    }
    let f = format(dtype)?;
    let sign = if value.is_sign_negative() { f.sign } else { 0 };
    if value.is_nan() {
        return Some(match f.nan {
            Some(nan) => nan | sign,
            // Formats without NaN: zero of the other sign.
            None => f.sign ^ sign,
        });
    }
    let code = magnitude(&f, value.abs());
    let code = match code {
        Some(code) => code,
        None if rounding.saturate => f.largest,
        None => match (f.infinity, f.nan) {
            (Some(infinity), _) => infinity,
            (None, Some(nan)) => nan & (f.sign - 1) | if f.has_negative_zero { 0 } else { nan },
            (None, None) => f.largest,
        },
    };
    let is_plain_zero = code == 0 && !f.has_negative_zero;
    Some(if is_plain_zero || (f.nan == Some(code) && !f.has_negative_zero) { code } else { code | sign })
}

/// Code of a positive value, `None` when it rounds beyond the largest.
fn magnitude(f: &Format, value: f64) -> Option<u8> {
    let least = 1 - f.bias;
    // Far above every format: infinity, and what would not fit the integer below.
    if value >= power(100) {
        return None;
    }
    let exponent = (((value.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(least);
    let steps = (value / power(exponent - f.mantissa)).round_ties_even() as i32;
    // Subnormals count from zero; above, a carry out of the mantissa goes on into the exponent.
    let code = ((exponent - least) << f.mantissa) + steps;
    u8::try_from(code).ok().filter(|code| *code <= f.largest)
}

/// A power of two: the exponent of the f32, moved by the direction of rounding. Signs are ignored.
fn encode_power(value: f32, rounding: Rounding) -> u8 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as u8;
    if exponent == 0xff {
        return if value.is_infinite() && rounding.saturate { 0xfe } else { 0xff };
    }
    let fraction = bits & 0x7f_ffff;
    let moves = match rounding.mode {
        RoundMode::Up => fraction > 0,
        RoundMode::Down => false,
        RoundMode::Nearest => fraction > 0x40_0000 || (fraction == 0x40_0000 && exponent > 0),
    };
    if moves && !(exponent == 0xfe && rounding.saturate) { exponent + 1 } else { exponent }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [DType; 8] = [
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::F8E8M0,
        DType::F6E2M3,
        DType::F6E3M2,
        DType::F4E2M1,
    ];

    fn codes(dtype: DType) -> u32 {
        format(dtype).map_or(256, |f| u32::from(f.sign) * 2)
    }

    #[test]
    fn every_code_reads_back() {
        // Downwards, as the lowest power of two is no normal f32 and would be rounded up.
        let exact = Rounding { saturate: false, mode: RoundMode::Down };
        for dtype in ALL {
            for code in 0..codes(dtype) {
                let code = code as u8;
                let value = decode(dtype, code).unwrap();
                let again = encode(dtype, value.into(), exact).unwrap();
                let same = decode(dtype, again).unwrap();
                assert!(
                    again == code || (value.is_nan() && same.is_nan()),
                    "{dtype} {code:#x} {value} {again:#x}"
                );
            }
        }
    }

    #[test]
    fn values_between_round_to_the_nearest() {
        for dtype in ALL.into_iter().filter(|dtype| *dtype != DType::F8E8M0) {
            let f = format(dtype).unwrap();
            for code in 0..f.largest {
                let (low, high) = (decode(dtype, code).unwrap(), decode(dtype, code + 1).unwrap());
                let middle = f64::midpoint(low.into(), high.into());
                let encode = |x: f64| encode(dtype, x, Rounding::default()).unwrap();
                assert_eq!(encode(middle), code + (code & 1), "{dtype} {code:#x}");
                assert_eq!(encode(middle * (1.0 - 1e-12)), code);
                assert_eq!(encode(middle * (1.0 + 1e-12)), code + 1);
            }
        }
    }

    #[test]
    fn what_does_not_fit_saturates_or_not() {
        let strict = Rounding { saturate: false, ..Rounding::default() };
        // As ml_dtypes converts them: NaN, -NaN, inf, -inf, 1e9, -1e9, -0.
        let rows: [(DType, [u8; 7]); 7] = [
            (DType::F8E4M3FN, [0x7f, 0xff, 0x7f, 0xff, 0x7f, 0xff, 0x80]),
            (DType::F8E5M2, [0x7e, 0xfe, 0x7c, 0xfc, 0x7c, 0xfc, 0x80]),
            (DType::F8E4M3FNUZ, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            (DType::F8E5M2FNUZ, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            (DType::F4E2M1, [0x8, 0x0, 0x7, 0xf, 0x7, 0xf, 0x8]),
            (DType::F6E2M3, [0x20, 0x0, 0x1f, 0x3f, 0x1f, 0x3f, 0x20]),
            (DType::F6E3M2, [0x20, 0x0, 0x1f, 0x3f, 0x1f, 0x3f, 0x20]),
        ];
        let values = [f64::NAN, -f64::NAN, f64::INFINITY, -f64::INFINITY, 1e9, -1e9, -0.0];
        for (dtype, expected) in rows {
            assert_eq!(values.map(|x| encode(dtype, x, strict).unwrap()), expected, "{dtype}");
            let largest = format(dtype).unwrap().largest;
            assert_eq!(encode(dtype, 1e9, Rounding::default()), Some(largest));
        }
    }

    #[test]
    fn powers_round_in_every_direction() {
        let code = |x: f64, mode| encode(DType::F8E8M0, x, Rounding { saturate: true, mode }).unwrap();
        for (mode, expected) in [
            (RoundMode::Up, [0, 128, 128, 127]),
            (RoundMode::Down, [0, 127, 127, 127]),
            (RoundMode::Nearest, [0, 127, 128, 127]),
        ] {
            assert_eq!([0.0, 1.25, 1.5, 1.0].map(|x| code(x, mode)), expected);
        }
        assert_eq!(decode(DType::F8E8M0, 0), Some(2f32.powi(-127)));
    }
}
