//! Places buffers in the arena so that those alive at the same time do not overlap.

use crate::view::BufferId;
use fusebox_kernels::{Span, arena::ALIGN};

/// A buffer before it has a place: its size and the steps between which it is alive, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Size in bytes.
    pub bytes: usize,
    /// Step that first writes it.
    pub first: usize,
    /// Step that last reads it.
    pub last: usize,
}

/// Offsets of all buffers, and the length of the arena. Largest first, each at the lowest offset that is free for its
/// whole life; ties go to the earlier buffer, so the result depends on nothing but the input.
pub fn place(buffers: &[Buffer]) -> (Vec<Span>, usize) {
    let mut order: Vec<BufferId> = (0..buffers.len()).map(BufferId).collect();
    order.sort_by_key(|id| (std::cmp::Reverse(buffers[id.0].bytes), id.0));
    let mut spans = vec![Span { offset: 0, len: 0 }; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut end = 0usize;
    for BufferId(index) in order {
        let buffer = buffers[index];
        if buffer.bytes == 0 {
            continue;
        }
        let alive = |other: &&usize| {
            let other = buffers[**other];
            other.first <= buffer.last && buffer.first <= other.last
        };
        // `placed` is kept sorted by offset, so one sweep finds the first gap that is wide enough.
        let mut offset = 0usize;
        for other in placed.iter().filter(alive) {
            let span = spans[*other];
            if offset.saturating_add(buffer.bytes) <= span.offset {
                break;
            }
            offset = offset.max(span.offset.saturating_add(span.len).next_multiple_of(ALIGN));
        }
        spans[index] = Span { offset, len: buffer.bytes };
        let at = placed.partition_point(|p| (spans[*p].offset, *p) < (offset, index));
        placed.insert(at, index);
        end = end.max(offset.saturating_add(buffer.bytes));
    }
    (spans, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(buffers: &[Buffer]) -> usize {
        let (spans, end) = place(buffers);
        for (i, a) in buffers.iter().enumerate() {
            assert!(spans[i].offset % ALIGN == 0 && spans[i].len == a.bytes);
            for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                assert!(!(together && spans[i].overlaps(spans[j])), "{i} and {j}");
            }
        }
        end
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Buffer> = (0..50).map(|i| Buffer { bytes: 640, first: i, last: i + 1 }).collect();
        assert_eq!(check(&chain), 1280);
    }

    #[test]
    fn mixed_lives_never_overlap() {
        let mut seed = 7u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let buffers: Vec<Buffer> = (0..300)
            .map(|_| {
                let first = next(100) as usize;
                Buffer { bytes: next(5000) as usize, first, last: first + next(20) as usize }
            })
            .collect();
        check(&buffers);
    }
}
