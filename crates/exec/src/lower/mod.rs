//! From nodes to steps.
//!
//! [`Lower`] walks the graph once; each node goes to the lowering that its row names, which adds views and pending
//! steps. A lowering may decline with a reason; then, and for operators without a row, the node becomes a host step
//! that runs its reference evaluation. Pending steps know buffers, not addresses: those come after memory planning.

mod attention;
mod chain;
mod conv;
mod depthwise;
mod einsum;
mod elementwise;
mod gather;
mod gemm;
mod host;
mod movement;
mod norm;
mod pad;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod transposed;
mod volume;

use crate::view::{BufferId, Place, View};
use crate::weights::Weights;
use fusebox_ir::{DType, Function, Graph, NodeId, OpName, Tensor, ValueId};
use fusebox_kernels::copy::{CopyPart, CopySpec, CopyStep};
use fusebox_kernels::{Constant, Isa, Layout, Operand, Span, SpecError, Step};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// What became of a node.
pub enum Lowered {
    /// Views and steps stand for it.
    Done,
    /// No kernel fits; the reason appears in the profile.
    Declined(String),
}

/// Lowers one node.
pub type LowerFn = fn(&mut Lower<'_>, NodeId) -> Result<Lowered, SpecError>;

/// A row: domain, operator, how it is lowered.
pub struct Row {
    /// Operator domain.
    pub domain: &'static str,
    /// Operator name.
    pub name: &'static str,
    /// Its lowering.
    pub lower: LowerFn,
}

impl Row {
    const fn fusebox(name: &'static str, lower: LowerFn) -> Self {
        Self { domain: fusebox_ir::graph::FUSEBOX, name, lower }
    }

    const fn onnx(name: &'static str, lower: LowerFn) -> Self {
        Self { domain: "", name, lower }
    }
}

/// One list per family.
static FAMILIES: &[&[Row]] = &[
    attention::ROWS,
    conv::ROWS,
    einsum::ROWS,
    gather::ROWS,
    gemm::ROWS,
    movement::ROWS,
    norm::ROWS,
    pad::ROWS,
    pool::ROWS,
    recurrent::ROWS,
    reduce::ROWS,
    resize::ROWS,
    transposed::ROWS,
];

/// Rows by operator; never iterated.
static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), &'static Row>> = LazyLock::new(|| {
    FAMILIES.iter().flat_map(|rows| rows.iter()).map(|row| ((row.domain, row.name), row)).collect()
});

fn row(op: &OpName) -> Option<&'static Row> {
    let (domain, name): (&str, &str) = (&op.domain, &op.name);
    BY_NAME.get(&(domain, name) as &(&str, &str)).copied()
}

/// Whether an operator can become steps other than its reference evaluation.
pub fn has_lowering(op: &OpName) -> bool {
    row(op).is_some() || op.domain.is_empty() && elementwise::emit(&op.name).is_some()
}

/// Spans of all buffers, once memory is planned.
pub struct Spans<'a>(pub &'a [Span]);

impl Spans<'_> {
    /// Span of a buffer.
    pub fn of(&self, id: BufferId) -> Span {
        self.0[id.0]
    }

    /// The bytes behind a view, from the first byte of its buffer; the view's layout counts from there.
    pub fn operand(&self, view: &View) -> Operand {
        match &view.place {
            Place::Buffer(id) => Operand::Arena(self.of(*id)),
            Place::Constant(constant) => Operand::Constant(constant.clone()),
        }
    }

    /// The part of a buffer from a view's first element on, for kernels that take no offset.
    pub fn tail(&self, view: &View) -> Result<Span, SpecError> {
        let Some(id) = view.buffer() else {
            return Err(SpecError {
                reason: "a constant stands where the kernel wants an activation".into(),
            });
        };
        let (span, skip) = (self.of(id), view.layout.offset * view.element_size());
        let short =
            || SpecError { reason: format!("a view begins {skip} bytes into a buffer of {}", span.len) };
        let len = span.len.checked_sub(skip).ok_or_else(short)?;
        Ok(Span { offset: span.offset + skip, len })
    }

    /// The bytes of a dense view and no others: it may be the first part of a larger buffer.
    pub fn exactly(&self, view: &View) -> Result<Span, SpecError> {
        let (tail, len) = (self.tail(view)?, view.len() * view.element_size());
        if len > tail.len {
            return Err(SpecError { reason: format!("a view of {len} bytes lies in {} bytes", tail.len) });
        }
        Ok(Span { len, ..tail })
    }
}

/// Builds the step once spans are known.
pub type Build = Box<dyn FnOnce(&Spans<'_>) -> Result<Box<dyn Step>, SpecError>>;

/// A step without addresses.
pub struct Pending {
    /// Nodes it carries out; the first one names it in messages.
    pub nodes: Vec<NodeId>,
    /// Buffers it reads.
    pub reads: Vec<BufferId>,
    /// Buffers it writes, scratch included.
    pub writes: Vec<BufferId>,
    /// Whether it is a reference evaluation, and why.
    pub fallback: Option<String>,
    /// Builds it.
    pub build: Build,
}

/// State of lowering one graph whose sizes are all known.
pub struct Lower<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Constants by value: initializers, and values that typing evaluated.
    pub constants: &'a [Option<Tensor>],
    /// Weights packed so far, shared by all plans of a session.
    pub weights: &'a Weights,
    /// The model's functions.
    pub functions: &'a Arc<[Function]>,
    /// Instruction set to force, for tests.
    pub isa: Option<Isa>,
    /// How often each value is read; being a graph output counts once more.
    pub readers: Vec<usize>,
    views: Vec<Option<View>>,
    pub(crate) buffers: Vec<usize>,
    pub(crate) steps: Vec<Pending>,
    current: Vec<NodeId>,
}

impl<'a> Lower<'a> {
    /// Starts lowering.
    pub fn new(
        graph: &'a Graph,
        constants: &'a [Option<Tensor>],
        weights: &'a Weights,
        functions: &'a Arc<[Function]>,
        isa: Option<Isa>,
    ) -> Self {
        let mut readers = vec![0; graph.value_count()];
        let reads = graph.nodes().flat_map(|(_, node)| node.reads());
        reads.chain(graph.outputs.iter().copied()).for_each(|value| readers[value.0 as usize] += 1);
        let views = vec![None; graph.value_count()];
        Self {
            graph,
            constants,
            weights,
            functions,
            isa,
            readers,
            views,
            buffers: vec![],
            steps: vec![],
            current: vec![],
        }
    }

    /// Adds a buffer.
    pub fn buffer(&mut self, bytes: usize) -> BufferId {
        self.buffers.push(bytes);
        BufferId(self.buffers.len() - 1)
    }

    /// Sizes and element type of a value; planning checked that they are known.
    pub fn sizes(&self, value: ValueId) -> (DType, Vec<usize>) {
        if let Some(tensor) = &self.constants[value.0 as usize] {
            return (tensor.dtype(), tensor.shape().to_vec());
        }
        let ty = self.graph.value(value).ty.tensor().expect("planning refuses values that are not tensors");
        (ty.dtype, ty.sizes().expect("planning refuses values of unknown size"))
    }

    /// Type of a value.
    pub fn ty(&self, value: ValueId) -> fusebox_ir::TensorType {
        let (dtype, sizes) = self.sizes(value);
        fusebox_ir::TensorType::known(dtype, &sizes)
    }

    /// A value's constant.
    pub fn constant(&self, value: ValueId) -> Option<&'a Tensor> {
        self.constants[value.0 as usize].as_ref()
    }

    /// Where a value is, however it is laid out.
    pub fn view(&mut self, value: ValueId) -> View {
        if let Some(view) = &self.views[value.0 as usize] {
            return view.clone();
        }
        let tensor = self.constant(value).expect("values are lowered before they are read");
        let view = self.constant_view(tensor);
        self.views[value.0 as usize] = Some(view.clone());
        view
    }

    /// A tensor that is known when the plan is made.
    pub fn constant_view(&self, tensor: &Tensor) -> View {
        let place = Place::Constant(Constant::new(Arc::new(tensor.data().clone())));
        View { place, dtype: tensor.dtype(), layout: Layout::contiguous(tensor.shape()) }
    }

    /// Where input `index` of a node is; the node must have it.
    pub fn input(&mut self, node: NodeId, index: usize) -> View {
        let value = self.graph.node(node).input(index).expect("arity was checked by typing");
        self.view(value)
    }

    /// A row-major view of the same elements; copies when strides demand it.
    pub fn dense(&mut self, view: View) -> View {
        if view.is_dense() && view.layout.offset == 0 {
            return view;
        }
        let order: Vec<usize> = (0..view.dims().len()).collect();
        self.copied(&view, &order)
    }

    /// Copies a view so that the dims lie in memory in the given order, outermost first.
    pub fn copied(&mut self, view: &View, order: &[usize]) -> View {
        let target = self.allocate_in(view.dtype, view.dims(), order);
        let (source, to) = (view.clone(), target.clone());
        let (isa, size) = (self.isa, view.element_size());
        self.push(&[&view.clone()], &[&target], None, move |spans| {
            let part =
                CopyPart { source: spans.operand(&source), from: source.layout, to: to.layout.clone() };
            let target = spans.tail(&to)?;
            let spec = CopySpec { element_size: size, target, parts: vec![part] };
            Ok(Box::new(CopyStep::new(spec, isa)?))
        });
        target
    }

    /// The view itself, or a copy in the arena when it is of a constant.
    pub fn in_arena(&mut self, view: View) -> View {
        if view.buffer().is_some() {
            return view;
        }
        let order: Vec<usize> = (0..view.dims().len()).collect();
        self.copied(&view, &order)
    }

    /// A new row-major buffer for a value of a type.
    pub fn allocate(&mut self, dtype: DType, dims: &[usize]) -> View {
        let order: Vec<usize> = (0..dims.len()).collect();
        self.allocate_in(dtype, dims, &order)
    }

    /// A new buffer whose dims lie in memory in the given order, outermost first.
    pub fn allocate_in(&mut self, dtype: DType, dims: &[usize], order: &[usize]) -> View {
        let count: usize = dims.iter().product();
        let id = self.buffer(count * dtype.bits() / 8);
        let stored: Vec<usize> = order.iter().map(|axis| dims[*axis]).collect();
        let dense = Layout::contiguous(&stored);
        let mut strides = vec![0; dims.len()];
        for (position, axis) in order.iter().enumerate() {
            strides[*axis] = dense.strides[position];
        }
        View { place: Place::Buffer(id), dtype, layout: Layout { dims: dims.to_vec(), strides, offset: 0 } }
    }

    /// A new row-major buffer for output `index` of a node.
    pub fn output(&mut self, node: NodeId, index: usize) -> View {
        let value = self.graph.node(node).output(index).expect("the caller checked that the output is used");
        let (dtype, dims) = self.sizes(value);
        self.allocate(dtype, &dims)
    }

    /// Says where a value is from now on.
    pub fn set(&mut self, value: ValueId, view: View) {
        self.views[value.0 as usize] = Some(view);
    }

    /// Says where output `index` of a node is; nothing happens when it is not asked for.
    pub fn set_output(&mut self, node: NodeId, index: usize, view: View) {
        if let Some(value) = self.graph.node(node).output(index) {
            self.set(value, view);
        }
    }

    /// Adds a step that reads and writes the buffers behind views.
    pub fn push(
        &mut self,
        reads: &[&View],
        writes: &[&View],
        scratch: Option<BufferId>,
        build: impl FnOnce(&Spans<'_>) -> Result<Box<dyn Step>, SpecError> + 'static,
    ) {
        let ids = |views: &[&View]| views.iter().filter_map(|v| v.buffer()).collect::<Vec<_>>();
        let writes = ids(writes).into_iter().chain(scratch).collect();
        let nodes = self.current.clone();
        self.steps.push(Pending { nodes, reads: ids(reads), writes, fallback: None, build: Box::new(build) });
    }

    /// Lowers a group of nodes.
    ///
    /// # Errors
    /// Why a kernel refused operands that lowering chose.
    pub fn group(&mut self, nodes: &[NodeId]) -> Result<(), SpecError> {
        match nodes {
            [single] => self.node(*single),
            several => chain::lower(self, several),
        }
    }

    /// Lowers one node.
    ///
    /// # Errors
    /// The node and why a kernel refused operands that lowering chose.
    pub fn node(&mut self, node: NodeId) -> Result<(), SpecError> {
        self.current = vec![node];
        let before = (self.steps.len(), self.buffers.len());
        let op = &self.graph.node(node).op;
        let outcome = match row(op) {
            Some(row) => (row.lower)(self, node)?,
            None if has_lowering(op) => chain::lower_single(self, node)?,
            None => Lowered::Declined("no kernel".into()),
        };
        if let Lowered::Declined(reason) = outcome {
            // A lowering may have copied operands before it found that it cannot go on.
            self.steps.truncate(before.0);
            self.buffers.truncate(before.1);
            host::lower(self, node, reason);
        }
        Ok(())
    }

    /// Says which nodes the steps added from now on carry out.
    pub fn attribute(&mut self, nodes: Vec<NodeId>) {
        self.current = nodes;
    }
}

pub(crate) use chain::schedule;
