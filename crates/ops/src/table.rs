//! The table of all operators, assembled from the families.

use crate::Op;
use fusebox_ir::OpName;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Position in the table; stable within a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u32);

/// One row per family.
static FAMILIES: &[(&str, &[&dyn Op])] = &[
    ("activation", crate::activation::OPS),
    ("attention", crate::attention::OPS),
    ("control", crate::control::OPS),
    ("conv", crate::conv::OPS),
    ("elementwise", crate::elementwise::OPS),
    ("fused", crate::fused::OPS),
    ("gather", crate::gather::OPS),
    ("generate", crate::generate::OPS),
    ("linear", crate::linear::OPS),
    ("logical", crate::logical::OPS),
    ("loss", crate::loss::OPS),
    ("microsoft", crate::microsoft::OPS),
    ("movement", crate::movement::OPS),
    ("normalization", crate::normalization::OPS),
    ("pool", crate::pool::OPS),
    ("quantize", crate::quantize::OPS),
    ("recurrent", crate::recurrent::OPS),
    ("reduction", crate::reduction::OPS),
    ("resize", crate::resize::OPS),
    ("shape", crate::shape::OPS),
    ("signal", crate::signal::OPS),
    ("text", crate::text::OPS),
    ("vision", crate::vision::OPS),
];

struct Table {
    ops: Vec<&'static dyn Op>,
    /// Never iterated. Every node of every new shape is looked up here several times.
    by_name: HashMap<(&'static str, &'static str), OpId>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut ops: Vec<&'static dyn Op> = FAMILIES.iter().flat_map(|(_, ops)| ops.iter().copied()).collect();
    ops.sort_by_key(|op| (op.schema().domain, op.schema().name));
    let key = |(index, op): (usize, &&'static dyn Op)| {
        (
            (op.schema().domain, op.schema().name),
            OpId(u32::try_from(index).expect("fewer than 2^32 operators")),
        )
    };
    let by_name = ops.iter().enumerate().map(key).collect();
    Table { ops, by_name }
});

/// All operators, sorted by domain and name.
pub fn ops() -> &'static [&'static dyn Op] {
    &TABLE.ops
}

/// Families with their operators, for reference pages.
pub fn families() -> &'static [(&'static str, &'static [&'static dyn Op])] {
    FAMILIES
}

/// Finds an operator's id.
pub fn find(name: &OpName) -> Option<OpId> {
    // The borrow of a static key by a shorter one needs the tuple rebuilt with the query's lifetime.
    let (domain, name): (&str, &str) = (&name.domain, &name.name);
    TABLE.by_name.get(&(domain, name) as &(&str, &str)).copied()
}

/// The operator behind a name.
pub fn op(name: &OpName) -> Option<&'static dyn Op> {
    find(name).map(|id| TABLE.ops[id.0 as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_has_one_row_and_ascending_versions() {
        assert_eq!(TABLE.ops.len(), TABLE.by_name.len(), "an operator is listed twice");
        for op in ops() {
            let schema = op.schema();
            assert!(!schema.since.is_empty() && schema.since.is_sorted(), "{}", schema.name);
            assert!(
                schema.inputs.0 <= schema.inputs.1 && schema.outputs.0 <= schema.outputs.1,
                "{}",
                schema.name
            );
        }
    }
}
