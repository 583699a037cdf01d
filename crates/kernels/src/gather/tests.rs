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
