//! What an evaluation may take: the one place where sizes that come out of a file meet memory.
//!
//! Before a node is evaluated it is typed with the values of its inputs, so the sizes of its outputs are known while they
//! cost nothing. Refuses to know operators: sizes come from their inference, work from their cost.

use crate::op::{Arg, Infer};
use crate::{Datum, EvalError, Op, Shapes, typing};
use fusebox_ir::tensor::element_count;
use fusebox_ir::{Attrs, Dim, TensorType, Type};
use std::sync::atomic::{AtomicU64, Ordering};

/// Limits of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes that the outputs of one node may take together.
    pub node_bytes: u64,
    /// Most floating-point operations and bytes moved, over all nodes, loops included.
    pub work: u64,
}

impl Default for Limits {
    /// 16 GiB for a node, any amount of work.
    fn default() -> Self {
        Self { node_bytes: crate::select::MAX_BYTES as u64, work: u64::MAX }
    }
}

/// Limits with what is left of them, shared by all parts of one evaluation.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    left: AtomicU64,
}

/// What holds where nobody set limits.
pub(crate) static DEFAULT: Budget = Budget {
    limits: Limits { node_bytes: crate::select::MAX_BYTES as u64, work: u64::MAX },
    left: AtomicU64::new(u64::MAX),
};

/// Work of the smallest node: what the bookkeeping costs.
const LEAST_WORK: f64 = 256.0;

impl Budget {
    /// A budget that nothing has been spent of.
    pub fn new(limits: Limits) -> Self {
        Self { limits, left: AtomicU64::new(limits.work) }
    }

    /// Admits a node, or says which limit it would pass. A node whose outputs cannot be sized from its inputs is
    /// admitted: the elements that its evaluation makes are then bounded by those it reads.
    ///
    /// # Errors
    /// Inputs that contradict the operator, outputs beyond the limit, work beyond what is left.
    pub fn admit(
        &self,
        op: &dyn Op,
        attrs: &Attrs,
        inputs: &[Option<&Datum>],
        outputs: usize,
    ) -> Result<(), EvalError> {
        let types: Vec<Option<Type>> = inputs.iter().map(|datum| datum.map(Datum::ty)).collect();
        let args: Vec<Option<Arg<'_>>> = types
            .iter()
            .zip(inputs)
            .map(|(ty, datum)| {
                let constant = datum.and_then(|datum| datum.tensor().ok());
                ty.as_ref().map(|ty| Arg { ty, constant, dims: None })
            })
            .collect();
        let fresh = || Dim::symbol("unknown");
        let cx = Infer { attrs, inputs: &args, outputs, regions: &[], fresh: &fresh };
        let inferred = typing::infer_op(op, &cx)?;
        let outputs: Vec<Option<&TensorType>> = inferred.iter().map(|output| output.ty.tensor()).collect();
        let inputs: Vec<Option<&TensorType>> =
            types.iter().map(|ty| ty.as_ref().and_then(Type::tensor)).collect();
        self.check_size(&outputs)?;
        let shapes = Shapes { attrs, inputs: &inputs, outputs: &outputs, assume: &|_| 1 };
        let cost = op.cost(&shapes);
        check_memory(&inputs, &outputs, cost.flops > 0.0)?;
        self.spend(cost.flops + cost.bytes)
    }

    fn check_size(&self, outputs: &[Option<&TensorType>]) -> Result<(), EvalError> {
        let mut total = 0u64;
        for ty in outputs.iter().flatten() {
            // Strings take a vector each.
            let bits = if ty.dtype.bits() == 0 { 192 } else { ty.dtype.bits() as u64 };
            let bytes = ty.sizes().map(|sizes| {
                let count = element_count(&sizes).map_or(u64::MAX, |count| count as u64);
                count.saturating_mul(bits).div_ceil(8)
            });
            total = total.saturating_add(bytes.unwrap_or(0));
            if total > self.limits.node_bytes {
                return Err(EvalError::TooLarge { ty: ty.to_string(), limit: self.limits.node_bytes });
            }
        }
        Ok(())
    }

    fn spend(&self, work: f64) -> Result<(), EvalError> {
        if self.limits.work == u64::MAX {
            return Ok(());
        }
        let work = work.max(LEAST_WORK) as u64;
        let spent =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(work));
        spent.map(drop).map_err(|_| EvalError::TooMuchWork { limit: self.limits.work })
    }
}

/// Nodes below this size are not worth a question to the system.
pub(crate) const LARGE: u64 = 256 << 20;

/// Refuses what would not fit into memory. Arithmetic widens most elements to 8 bytes, beside the outputs.
fn check_memory(
    inputs: &[Option<&TensorType>],
    outputs: &[Option<&TensorType>],
    widens: bool,
) -> Result<(), EvalError> {
    let size = |ty: &&TensorType| {
        let bits = if widens { 64 } else { ty.dtype.bits() as u64 };
        let count = ty.sizes().and_then(|sizes| element_count(&sizes)).map_or(0, |count| count as u64);
        count.saturating_mul(bits) / 8
    };
    let read = inputs.iter().flatten().map(size).max().filter(|_| widens).unwrap_or(0);
    let needed = outputs.iter().flatten().map(size).fold(read, u64::saturating_add);
    if needed < LARGE {
        return Ok(());
    }
    let available = crate::memory::available();
    if needed <= available { Ok(()) } else { Err(EvalError::OutOfMemory { needed, available }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpreter;
    use fusebox_ir::{Builder, DType, Graph, Tensor};

    fn fault(graph: &Graph, limits: Limits) -> String {
        let budget = Budget::new(limits);
        let results = Interpreter::new(&[]).within(&budget).run(graph, &[], &[]);
        results.map_or_else(|error| error.to_string(), |outputs| format!("{outputs:?}"))
    }

    fn ints(values: &[i64]) -> Tensor {
        Tensor::vector(values.to_vec())
    }

    #[test]
    fn what_amplifies_is_refused_before_it_allocates() {
        let huge = 1i64 << 40;
        let x = Tensor::from_vec(vec![1, 1, 1, 2], vec![1.0f32, 2.0]).unwrap();
        let cases: Vec<(&str, Attrs, Vec<Tensor>)> = vec![
            ("ConstantOfShape", Attrs::new(), vec![ints(&[huge])]),
            ("Expand", Attrs::new(), vec![x.clone(), ints(&[huge, 1, 1, 2])]),
            ("Tile", Attrs::new(), vec![x.clone(), ints(&[1, 1, huge, 1])]),
            ("Pad", Attrs::new(), vec![x.clone(), ints(&[0, 0, 0, 0, 0, 0, huge, huge])]),
            (
                "Range",
                Attrs::new(),
                vec![Tensor::scalar(0i64), Tensor::scalar(i64::MAX), Tensor::scalar(1i64)],
            ),
            (
                "OneHot",
                Attrs::new(),
                vec![ints(&[1]), Tensor::scalar(huge), Tensor::vector(vec![0.0f32, 1.0])],
            ),
            ("RandomNormal", Attrs::new().with("shape", vec![huge, huge]), vec![]),
            (
                "Gather",
                Attrs::new(),
                vec![x.clone(), Tensor::from_vec(vec![1 << 16], vec![0i64; 1 << 16]).unwrap()],
            ),
        ];
        let limits = Limits { node_bytes: 1 << 18, ..Limits::default() };
        for (name, attrs, inputs) in cases {
            let mut b = Builder::new();
            let inputs: Vec<_> = inputs.into_iter().map(|tensor| b.constant(tensor)).collect();
            let y = b.op_with(name, &inputs, attrs);
            let message = fault(&b.finish(&[y]), limits);
            assert!(message.starts_with(&format!("node {name} #0: ")), "{name}: {message}");
        }
    }

    #[test]
    fn work_is_counted_over_all_nodes() {
        let mut b = Builder::new();
        let mut x = b.constant(Tensor::from_vec(vec![64, 64], vec![1.0f32; 4096]).unwrap());
        for _ in 0..4 {
            x = b.op("MatMul", &[x, x]);
        }
        let graph = b.finish(&[x]);
        assert!(fault(&graph, Limits { work: 10_000_000, ..Limits::default() }).starts_with('['));
        let message = fault(&graph, Limits { work: 1_500_000, ..Limits::default() });
        assert!(message.starts_with("node MatMul #2: the evaluation takes more than the limit"), "{message}");
    }

    #[test]
    fn data_types_without_bits_and_empty_shapes_are_sized() {
        let budget = Budget::new(Limits { node_bytes: 100, work: u64::MAX });
        let ty = |dtype, sizes: &[usize]| TensorType::known(dtype, sizes);
        let fits = |ty: &TensorType| budget.check_size(&[Some(ty)]).is_ok();
        assert!(fits(&ty(DType::String, &[4])) && !fits(&ty(DType::String, &[5])));
        assert!(fits(&ty(DType::F32, &[0, 1 << 40])) && !fits(&ty(DType::F32, &[0, usize::MAX, 2])));
        assert!(!fits(&ty(DType::F32, &[usize::MAX, usize::MAX])));
        assert!(fits(&ty(DType::I4, &[200])) && !fits(&ty(DType::I4, &[201])));
    }
}
