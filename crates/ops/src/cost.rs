//! FLOPs and bytes of nodes, for reports and for the cost model of extraction.

use fusebox_ir::{Attrs, Dim, TensorType};

/// Work of one evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

/// Types of a node's inputs and outputs with a size for every symbol.
pub struct Shapes<'a> {
    /// Attributes.
    pub attrs: &'a Attrs,
    /// Input types; `None` is absent or unknown.
    pub inputs: &'a [Option<&'a TensorType>],
    /// Output types; `None` is unused or unknown.
    pub outputs: &'a [Option<&'a TensorType>],
    /// Size to assume for a symbol.
    pub assume: &'a dyn Fn(&str) -> i64,
}

impl Shapes<'_> {
    /// Size of a dim under the assumptions, at least zero.
    pub fn size(&self, dim: &Dim) -> f64 {
        let assumed = dim.substitute(&|name| Some(Dim::known((self.assume)(name))));
        assumed.value().unwrap_or(1).max(0) as f64
    }

    /// Sizes of input `index`.
    pub fn input(&self, index: usize) -> Option<Vec<f64>> {
        Some(self.inputs.get(index)?.as_ref()?.shape.as_ref()?.iter().map(|d| self.size(d)).collect())
    }

    /// Sizes of output `index`.
    pub fn output(&self, index: usize) -> Option<Vec<f64>> {
        Some(self.outputs.get(index)?.as_ref()?.shape.as_ref()?.iter().map(|d| self.size(d)).collect())
    }

    /// Elements of output `index`, 0 when unknown.
    pub fn output_elements(&self, index: usize) -> f64 {
        self.output(index).map_or(0.0, |sizes| sizes.iter().product())
    }

    /// Elements of input `index`, 0 when unknown.
    pub fn input_elements(&self, index: usize) -> f64 {
        self.input(index).map_or(0.0, |sizes| sizes.iter().product())
    }

    /// Bytes of all inputs and outputs.
    pub fn bytes(&self) -> f64 {
        let of = |ty: &TensorType| -> f64 {
            let elements: f64 = ty.shape.iter().flatten().map(|d| self.size(d)).product();
            elements * ty.dtype.bits() as f64 / 8.0
        };
        self.inputs.iter().chain(self.outputs).flatten().map(|ty| of(ty)).sum()
    }
}
