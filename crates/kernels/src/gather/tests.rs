//! Gathers against index arithmetic, and the errors they name.
//!
//! Indices of both widths, negative ones among them, over tables in the arena and constants.

use super::*;
use crate::fixture::{Fixture, values};
use crate::operand::Constant;
use proptest::prelude::*;

#[test]
fn an_index_out_of_range_is_named() {
    let mut fixture = Fixture::default();
    let indices = fixture.input(&[0_i64, -3, 3]);
    let target = fixture.output::<f32>(6);
    for kernel in KERNELS {
        let table = Constant::from_slice(&values(6, 1)).into();
        let spec = GatherSpec {
            outer: 1,
            extent: 3,
            row_bytes: 8,
            table,
            count: 3,
            index_element: Element::I64,
            indices: indices.into(),
            target,
        };
        let step = GatherStep::new(spec, Some(kernel.isa)).unwrap();
        let error = fixture.try_run(step, 1).err().unwrap().to_string();
        assert_eq!(error, "step 0: gather: index 3 at position 2 is outside -3..3");
    }
}

proptest! {
    #[test]
    fn rows_match_index_arithmetic(
        outer in 1_usize..4,
        extent in 1_usize..40,
        row in 1_usize..20,
        picks in prop::collection::vec(any::<i32>(), 0..60),
        threads in 1_usize..4,
    ) {
        let limit = i32::try_from(extent).unwrap();
        let picks: Vec<i32> = picks.iter().map(|p| p.rem_euclid(2 * limit) - limit).collect();
        let table = values(outer * extent * row, 3);
        let expected: Vec<f32> = (0..outer * picks.len() * row)
            .map(|flat| {
                let (o, i, r) = (flat / (picks.len() * row), flat / row % picks.len(), flat % row);
                let from = usize::try_from(picks[i].rem_euclid(limit)).unwrap();
                table[(o * extent + from) * row + r]
            })
            .collect();
        let mut fixture = Fixture::default();
        let table = fixture.input(&table);
        let narrow = fixture.input(&picks);
        let wide = fixture.input(&picks.iter().map(|&p| i64::from(p)).collect::<Vec<_>>());
        let target = fixture.output::<f32>(expected.len());
        for kernel in KERNELS {
            for (index_element, indices) in [(Element::I32, narrow), (Element::I64, wide)] {
                let spec = GatherSpec {
                    outer,
                    extent,
                    row_bytes: row * 4,
                    table: table.into(),
                    count: picks.len(),
                    index_element,
                    indices: indices.into(),
                    target,
                };
                let step = GatherStep::new(spec, Some(kernel.isa)).unwrap();
                let arena = fixture.try_run(step, threads).unwrap();
                prop_assert_eq!(bytemuck::cast_slice::<u8, f32>(arena.bytes(target)), &expected);
            }
        }
    }
}

/// Tables of `[5, 7, row]` bytes and lists of pairs of indices.
fn pairs(count: usize, row: usize, indices: Span) -> Addresses {
    Addresses {
        list: crate::Layout { dims: vec![count], strides: vec![0], offset: 0 },
        axes: vec![(5, 7), (7, 1)],
        rows: 35,
        row_bytes: row,
        index_element: Element::I64,
        indices: indices.into(),
    }
}

proptest! {
    #[test]
    fn tuples_address_rows(
        picks in prop::collection::vec((-5_i64..5, -7_i64..7), 1..60),
        row in 1_usize..12,
        threads in 1_usize..4,
    ) {
        let flat: Vec<i64> = picks.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let place = |(a, b): &(i64, i64)| (a.rem_euclid(5) * 7 + b.rem_euclid(7)) as usize;
        let table: Vec<u8> = (0..35 * row).map(|i| (i * 31 % 251) as u8).collect();
        let rows: Vec<u8> = (0..picks.len() * row).map(|i| (i * 17 % 253) as u8).collect();
        let mut fixture = Fixture::default();
        let spans = [fixture.input(&table), fixture.input(&rows)];
        let indices = fixture.input(&flat);
        let (gathered, scattered) = (fixture.output::<u8>(rows.len()), fixture.output::<u8>(table.len()));
        let gather = AddressedGather::new(pairs(picks.len(), row, indices), spans[0].into(), gathered).unwrap();
        let expected: Vec<u8> = picks.iter().flat_map(|pick| table[place(pick) * row..][..row].to_vec()).collect();
        let arena = fixture.try_run(gather, threads).unwrap();
        prop_assert_eq!(arena.bytes(gathered), &expected[..]);
        let (list, meeting) = (pairs(picks.len(), row, indices), Meeting::Replace);
        let scatter =
            AddressedScatter::new(list, meeting, spans[0].into(), spans[1].into(), scattered).unwrap();
        let mut expected = table.clone();
        for (number, pick) in picks.iter().enumerate() {
            expected[place(pick) * row..][..row].copy_from_slice(&rows[number * row..][..row]);
        }
        let arena = fixture.try_run(scatter, threads).unwrap();
        prop_assert_eq!(arena.bytes(scattered), &expected[..]);
    }
}

#[test]
fn tuples_out_of_range_are_named() {
    let mut fixture = Fixture::default();
    let table = fixture.input(&[0_u8; 35]);
    let indices = fixture.input(&[0_i64, 1, 4, 7]);
    let target = fixture.output::<u8>(2);
    let gather = AddressedGather::new(pairs(2, 1, indices), table.into(), target).unwrap();
    let error = fixture.try_run(gather, 1).err().unwrap().to_string();
    assert_eq!(error, "step 0: gather: index 7 at position 3 is outside -7..7");
    let short = Addresses { rows: 34, ..pairs(2, 1, indices) };
    assert!(AddressedGather::new(short, table.into(), target).err().unwrap().reason.contains("reach row 35"));
}
