//! Predicted time of one operator, in integer picoseconds: a roofline over FLOPs and bytes, and the cost of a step.
//!
//! Refuses to know which kernel will run. Views cost next to nothing, what is computed at compile time nothing.

use crate::egraph::analysis::{Egg, Known};
use crate::egraph::node::{Code, ENode};
use fusebox_ir::graph::FUSEBOX;
use fusebox_ir::{Attrs, DType, OpName, TensorType};
use fusebox_ops::{Cost, Op, Shapes};
use std::collections::BTreeMap;

/// The machine that programs are priced for.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Floating-point operations per second that a GEMM reaches on all cores.
    pub flops: f64,
    /// Bytes per second between cores and memory.
    pub bandwidth: f64,
    /// Picoseconds that a step costs besides its work: dispatch and the barrier behind it.
    pub step: u64,
    /// Size to assume for a symbol, by name; `batch` and the like count 1, all others 128.
    pub sizes: BTreeMap<String, i64>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { flops: 4e11, bandwidth: 2e10, step: 2_000_000, sizes: BTreeMap::new() }
    }
}

impl Machine {
    /// Size to assume for a symbol.
    pub fn size(&self, symbol: &str) -> i64 {
        let default = || {
            let name = symbol.to_ascii_lowercase();
            if name == "n" || name.starts_with("batch") || name == "b" { 1 } else { 128 }
        };
        self.sizes.get(symbol).copied().unwrap_or_else(default)
    }

    /// Time of an operator on operands of given types.
    pub fn price(
        &self,
        op: &dyn Op,
        attrs: &Attrs,
        inputs: &[Option<&TensorType>],
        outputs: &[Option<&TensorType>],
    ) -> (u64, Cost) {
        let assume = |symbol: &str| self.size(symbol);
        let cost = op.cost(&Shapes { attrs, inputs, outputs, assume: &assume });
        if is_view(&op.schema().op_name()) {
            return (VIEW, Cost { flops: 0.0, bytes: 0.0 });
        }
        let flops = match &op.schema().op_name() {
            name if is_slow(name) => cost.flops * SLOWDOWN,
            name if multiplies_integers(name, inputs) => cost.flops / SPEEDUP,
            _ => cost.flops,
        };
        let seconds = (flops / self.flops).max(cost.bytes / self.bandwidth);
        let picoseconds = (seconds * 1e12).clamp(0.0, 1e18) as u64;
        // On a tie the fused operator wins: it says which weights are packed.
        let step = if op.schema().domain == FUSEBOX { self.step.saturating_sub(VIEW) } else { self.step };
        (step + picoseconds, cost)
    }
}

/// Picoseconds of an operator that only reinterprets its operand.
const VIEW: u64 = 1000;
/// Picoseconds of an operator evaluated at compile time: fewer are better, but none costs run time.
const FOLDED: u64 = 1;

/// How much longer a product of integers takes that no engine has a fast kernel for, against one of floats.
const SLOWDOWN: f64 = 64.0;

/// Whether an operator is such a product: its equal in floats, or in our int8, is to be preferred.
fn is_slow(op: &OpName) -> bool {
    const SLOW: &[&str] = &["ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"];
    op.domain.is_empty() && SLOW.contains(&&*op.name)
}

/// How much faster than floats our products of integers run.
const SPEEDUP: f64 = 3.0;

/// Whether an operator is such a product.
fn multiplies_integers(op: &OpName, inputs: &[Option<&TensorType>]) -> bool {
    let is_product = &*op.domain == FUSEBOX && matches!(&*op.name, "Linear" | "NormLinear");
    is_product && inputs.iter().flatten().any(|ty| ty.dtype == DType::I8)
}

/// Whether an operator only reinterprets its operand: no element moves.
fn is_view(op: &OpName) -> bool {
    const VIEWS: &[&str] =
        &["Dropout", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"];
    op.domain.is_empty() && VIEWS.contains(&&*op.name)
}

/// Cost of an e-node.
pub(crate) fn cost(egraph: &Egg, machine: &Machine, node: &ENode, class: &Known) -> u64 {
    let Some(index) = node.code.index() else {
        return match node.code {
            Code::OPAQUE => machine.step,
            Code::PROJ => 1,
            _ => 0,
        };
    };
    if class.constant {
        return FOLDED;
    }
    let attrs = egraph.analysis.tables.attrs(node.attrs);
    let inputs: Vec<Option<&TensorType>> = node.children.iter().map(|id| egraph[*id].data.tensor()).collect();
    let outputs: Vec<Option<&TensorType>> = class.outputs.iter().map(|o| o.ty.tensor()).collect();
    machine.price(fusebox_ops::ops()[index], attrs, &inputs, &outputs).0
}
