//! The packing of 6-bit floats: four in three bytes, from the low end on.

/// Bytes of `count` elements.
pub(crate) fn packed_len(count: usize) -> usize {
    count / 4 * 3 + (count % 4 * 6).div_ceil(8)
}

/// One byte per element, from a stream of [`packed_len`] bytes.
pub(crate) fn unpack(bytes: &[u8], count: usize) -> Vec<u8> {
    let code = |index: usize| {
        let (at, shift) = (index * 6 / 8, index * 6 % 8);
        let high = bytes.get(at + 1).copied().unwrap_or(0);
        (u16::from_le_bytes([bytes[at], high]) >> shift & 0x3f) as u8
    };
    (0..count).map(code).collect()
}

/// The stream of elements that lie in a byte each.
pub(crate) fn pack(codes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; packed_len(codes.len())];
    for (index, code) in codes.iter().enumerate() {
        let (at, shift) = (index * 6 / 8, index * 6 % 8);
        let [low, high] = (u16::from(code & 0x3f) << shift).to_le_bytes();
        bytes[at] |= low;
        if high != 0 {
            bytes[at + 1] |= high;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fit_into_three_bytes() {
        let codes: Vec<u8> = (0..63).collect();
        for count in 0..codes.len() {
            let packed = pack(&codes[..count]);
            assert_eq!(packed.len(), packed_len(count));
            assert_eq!(unpack(&packed, count), codes[..count]);
        }
        assert_eq!(pack(&[1, 2, 3, 4]), [0x81, 0x30, 0x10]);
    }
}
