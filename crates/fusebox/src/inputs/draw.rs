//! Elements from a seed, by integer arithmetic and single rounded operations: the same on every machine.

use super::Role;
use fusebox_ir::tensor::{TensorError, element_count};
use fusebox_ir::{DType, Tensor};
use fusebox_ops::minifloat::{self, Rounding};
use half::{bf16, f16};

/// Most elements that are drawn for one input.
const MAX_ELEMENTS: usize = 1 << 30;

/// The seed of one input: the caller's, stirred with the name, so that inputs differ but do not depend on order.
pub(super) fn seed_of(seed: u64, name: &str) -> u64 {
    let fnv =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    fnv ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Element `index` of a splitmix64 sequence.
fn bits(seed: u64, index: usize) -> u64 {
    let mut z = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Standard deviation of the sum of four uniform 16-bit integers.
const LANES_DEVIATION: f32 = 37837.227;

/// Close to normal, mean 0, deviation 1, within ±3.5.
fn normal(seed: u64, index: usize) -> f32 {
    let z = bits(seed, index);
    let sum: u64 = (0..4).map(|lane| (z >> (16 * lane)) & 0xffff).sum();
    (sum as i64 - 131_070) as f32 / LANES_DEVIATION
}

/// A tensor of a role; `None` when it would be too large or of a type that cannot be drawn.
pub(super) fn tensor(
    dtype: DType,
    shape: Vec<usize>,
    role: &Role,
    seed: u64,
    padding: bool,
) -> Option<Tensor> {
    let count = element_count(&shape).filter(|count| *count <= MAX_ELEMENTS)?;
    if dtype == DType::String {
        return Tensor::from_strings(shape, vec![b"fusebox".to_vec(); count]).ok();
    }
    if dtype.is_float() {
        return floats(dtype, &shape, floats_of(role, &shape, count, seed, padding));
    }
    let last = shape.last().copied().unwrap_or(1).max(1);
    let hides = Padding::of(&shape, padding);
    let integer = |index: usize| -> i64 {
        match role {
            Role::Ids { below } => (bits(seed, index) % (*below).max(1) as u64) as i64,
            Role::Positions { below } => (index % last) as i64 % (*below).max(1),
            Role::Constant { value } => *value,
            Role::Mask { keep, hide } => {
                if hides.at(index) {
                    *hide
                } else {
                    *keep
                }
            }
            Role::Bytes => (bits(seed, index) >> 56) as i64,
            Role::Normal | Role::Image | Role::Given => i64::from(normal(seed, index) > 0.0),
        }
    };
    integers(dtype, shape, (0..count).map(integer))
}

/// Which elements of a mask hide something: the last quarter of the last axis, in every sample but the first of
/// several, so that both kinds are there.
struct Padding {
    sample: usize,
    last: usize,
    from: usize,
    first_is_whole: bool,
}

impl Padding {
    fn of(shape: &[usize], wanted: bool) -> Self {
        let last = shape.last().copied().unwrap_or(1).max(1);
        let samples = if shape.len() > 1 { shape[0].max(1) } else { 1 };
        let count = element_count(shape).unwrap_or(0);
        let from = if wanted { last - last / 4 } else { last };
        Self { sample: (count / samples).max(1), last, from, first_is_whole: samples > 1 }
    }

    fn at(&self, index: usize) -> bool {
        index % self.last >= self.from && !(self.first_is_whole && index < self.sample)
    }
}

fn floats_of(role: &Role, shape: &[usize], count: usize, seed: u64, padding: bool) -> Vec<f32> {
    match role {
        Role::Mask { keep, hide } => {
            let hides = Padding::of(shape, padding);
            (0..count).map(|index| if hides.at(index) { *hide as f32 } else { *keep as f32 }).collect()
        }
        Role::Constant { value } => vec![*value as f32; count],
        Role::Image if shape.len() >= 2 => image(shape, count, seed),
        Role::Positions { .. } => {
            let last = shape.last().copied().unwrap_or(1).max(1);
            (0..count).map(|index| (index % last) as f32).collect()
        }
        _ => (0..count).map(|index| normal(seed, index)).collect(),
    }
}

/// Light and shade over coarse cells, with noise on top: neighbours resemble each other as in a photograph.
fn image(shape: &[usize], count: usize, seed: u64) -> Vec<f32> {
    let (rows, columns) = (shape[shape.len() - 2].max(1), shape[shape.len() - 1].max(1));
    let cell = (rows.max(columns) / 8).max(1);
    let per_row = columns.div_ceil(cell) + 1;
    let per_plane = per_row * (rows.div_ceil(cell) + 1);
    let at = |index: usize| {
        let (plane, row, column) = (index / (rows * columns), index / columns % rows, index % columns);
        let corner = |down: usize, right: usize| {
            let cell = plane * per_plane + (row / cell + down) * per_row + column / cell + right;
            normal(!seed, cell)
        };
        let (v, h) = ((row % cell) as f32 / cell as f32, (column % cell) as f32 / cell as f32);
        let top = corner(0, 0) * (1.0 - h) + corner(0, 1) * h;
        let bottom = corner(1, 0) * (1.0 - h) + corner(1, 1) * h;
        1.2 * (top * (1.0 - v) + bottom * v) + 0.3 * normal(seed, index)
    };
    (0..count).map(at).collect()
}

fn floats(dtype: DType, shape: &[usize], values: Vec<f32>) -> Option<Tensor> {
    let shape = shape.to_vec();
    match dtype {
        DType::F32 => Tensor::from_vec(shape, values),
        DType::F64 => Tensor::from_vec(shape, values.into_iter().map(f64::from).collect()),
        DType::F16 => Tensor::from_vec(shape, values.into_iter().map(f16::from_f32).collect()),
        DType::BF16 => Tensor::from_vec(shape, values.into_iter().map(bf16::from_f32).collect()),
        small => {
            let code = |value: &f32| minifloat::encode(small, f64::from(*value), Rounding::default());
            packed(small, shape, values.iter().map(code).collect::<Option<_>>()?)
        }
    }
    .ok()
}

/// Elements that lie in a byte each, packed where the type is smaller.
fn packed(dtype: DType, shape: Vec<usize>, codes: Vec<u8>) -> Result<Tensor, TensorError> {
    let bits = dtype.bits();
    if bits >= 8 {
        return Tensor::from_bytes(dtype, shape, codes.into());
    }
    let mask = (1u8 << bits) - 1;
    let byte = |part: &[u8]| part.iter().rev().fold(0u8, |byte, code| byte << bits | code & mask);
    let bytes: Vec<u8> = codes.chunks(8 / bits).map(byte).collect();
    Tensor::from_bytes(dtype, shape, bytes.into())
}

fn integers(dtype: DType, shape: Vec<usize>, values: impl Iterator<Item = i64>) -> Option<Tensor> {
    match dtype {
        DType::Bool => Tensor::from_bools(shape, values.map(|v| v != 0)),
        DType::I64 => Tensor::from_vec(shape, values.collect::<Vec<i64>>()),
        DType::I32 => Tensor::from_vec(shape, values.map(|v| v as i32).collect()),
        DType::I16 => Tensor::from_vec(shape, values.map(|v| v as i16).collect()),
        DType::I8 => Tensor::from_vec(shape, values.map(|v| v as i8).collect()),
        DType::U64 => Tensor::from_vec(shape, values.map(|v| v as u64).collect()),
        DType::U32 => Tensor::from_vec(shape, values.map(|v| v as u32).collect()),
        DType::U16 => Tensor::from_vec(shape, values.map(|v| v as u16).collect()),
        DType::U8 => Tensor::from_vec(shape, values.map(|v| v as u8).collect()),
        DType::U4 | DType::I4 | DType::U2 | DType::I2 => {
            packed(dtype, shape, values.map(|v| v as u8).collect())
        }
        _ => return None,
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_elements_have_mean_zero_and_deviation_one() {
        let tensor = tensor(DType::F32, vec![100, 100], &Role::Normal, 7, false).unwrap();
        let values = tensor.floats().unwrap();
        let mean = values.iter().sum::<f64>() / 1e4;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn images_vary_less_between_neighbours_than_between_strangers() {
        let tensor = tensor(DType::F32, vec![1, 3, 64, 64], &Role::Image, 7, false).unwrap();
        let values = tensor.floats().unwrap();
        let step = |apart: usize| {
            values.windows(apart + 1).map(|w| (w[0] - w[apart]).powi(2)).sum::<f64>() / values.len() as f64
        };
        assert!(step(1) < 0.5 * step(32), "{} {}", step(1), step(32));
    }

    #[test]
    fn ids_stay_below_their_limit_and_positions_ascend() {
        let ids =
            tensor(DType::I64, vec![4, 50], &Role::Ids { below: 7 }, 1, false).unwrap().integers().unwrap();
        assert!(ids.iter().all(|id| (0..7).contains(id)) && ids.contains(&6));
        let positions = tensor(DType::I32, vec![2, 3], &Role::Positions { below: 512 }, 1, false).unwrap();
        assert_eq!(positions.integers().unwrap(), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn absurd_sizes_are_refused() {
        assert!(tensor(DType::F32, vec![usize::MAX, 2], &Role::Normal, 1, false).is_none());
        assert!(tensor(DType::F32, vec![1 << 20, 1 << 20], &Role::Normal, 1, false).is_none());
    }

    #[test]
    fn padding_hides_the_end_of_all_samples_but_the_first() {
        let role = Role::Mask { keep: 1, hide: 0 };
        let mask = tensor(DType::I64, vec![2, 4], &role, 1, true).unwrap().integers().unwrap();
        assert_eq!(mask, [1, 1, 1, 1, 1, 1, 1, 0]);
        let mask = tensor(DType::F32, vec![1, 1, 4, 4], &role, 1, true).unwrap().floats().unwrap();
        assert_eq!(mask, [1.0, 1.0, 1.0, 0.0].repeat(4));
        let mask = tensor(DType::I64, vec![2, 4], &role, 1, false).unwrap().integers().unwrap();
        assert_eq!(mask, [1; 8]);
    }

    #[test]
    fn small_types_are_drawn_too() {
        for dtype in [DType::F8E4M3FN, DType::F8E8M0, DType::F6E2M3, DType::F4E2M1, DType::I4, DType::U2] {
            let drawn = tensor(dtype, vec![3, 3], &Role::Normal, 7, false).unwrap();
            assert_eq!((drawn.dtype(), drawn.len()), (dtype, 9));
        }
    }
}
