//! Conversions between i32 and f32 registers, which pulp's portable trait lacks.

use pulp::Simd;

/// Bits of 2²³: a float whose low mantissa bits are an integer below 2²³.
const TWO_23: u32 = 0x4b00_0000;

/// i32 to f32, rounded to nearest even.
#[inline(always)]
pub fn i32_to_f32<S: Simd>(simd: S, x: S::i32s) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    {
        use std::any::TypeId;
        use std::mem::transmute_copy;
        if TypeId::of::<S>() == TypeId::of::<pulp::x86::V4>() {
            // SAFETY: S is V4, so the token and both registers are reinterpreted as their own types.
            return unsafe {
                let v4: pulp::x86::V4 = transmute_copy(&simd);
                transmute_copy(&v4.avx512f._mm512_cvtepi32_ps(transmute_copy(&x)))
            };
        }
        if TypeId::of::<S>() == TypeId::of::<pulp::x86::V3>() {
            // SAFETY: S is V3, so the token and both registers are reinterpreted as their own types.
            return unsafe {
                let v3: pulp::x86::V3 = transmute_copy(&simd);
                transmute_copy(&v3.avx._mm256_cvtepi32_ps(transmute_copy(&x)))
            };
        }
    }
    halves(simd, simd.transmute_u32s_i32s(x))
}

/// Converts the two halves exactly and adds them with one rounding.
#[inline(always)]
fn halves<S: Simd>(simd: S, x: S::u32s) -> S::f32s {
    let two_23 = simd.splat_u32s(TWO_23);
    let low = simd.or_u32s(simd.and_u32s(x, simd.splat_u32s(0xffff)), two_23);
    let low = simd.sub_f32s(simd.transmute_f32s_u32s(low), simd.splat_f32s(f32::from_bits(TWO_23)));
    let high = simd.wrapping_dyn_shr_u32s(x, simd.splat_u32s(16));
    let high = simd.or_u32s(simd.xor_u32s(high, simd.splat_u32s(0x8000)), two_23);
    let bias = f32::from_bits(TWO_23) + 32_768.0;
    let high = simd.sub_f32s(simd.transmute_f32s_u32s(high), simd.splat_f32s(bias));
    // The product is exact, so fused or not there is one rounding.
    simd.mul_add_e_f32s(high, simd.splat_f32s(65_536.0), low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    struct Convert<'a>(&'a [i32], &'a mut [f32]);

    impl pulp::WithSimd for Convert<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (inputs, _) = S::as_simd_i32s(self.0);
            let (outputs, _) = S::as_mut_simd_f32s(self.1);
            for (y, x) in outputs.iter_mut().zip(inputs) {
                *y = i32_to_f32(simd, *x);
            }
        }
    }

    #[test]
    fn i32_to_f32_rounds_like_the_cast() {
        let mut inputs: Vec<i32> = (0..(1 << 16)).map(|i: i32| i.wrapping_mul(65_537 * 7)).collect();
        inputs.extend((-8..8).flat_map(|i: i32| [i, i32::MAX - i.abs(), i32::MIN + i.abs(), (1 << 24) + i]));
        for isa in Isa::available() {
            let mut outputs = vec![0.0; inputs.len()];
            isa.level().expect("listed as available").dispatch(Convert(&inputs, &mut outputs));
            for (x, y) in inputs.iter().zip(outputs) {
                assert_eq!(*x as f32, y, "{isa}: {x}");
            }
        }
    }
}
