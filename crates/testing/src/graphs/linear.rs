//! Linear layers: products with a constant weight, with and without bias, as exporters write them.

use super::{Flow, Sketch};
use fusebox_ir::Attrs;

/// How a linear layer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name is the sequence of operators")]
pub enum Linear {
    /// Without bias.
    MatMul,
    /// Add(product, bias): torch's dynamo exporter.
    MatMulAdd,
    /// Add(bias, product): torch's TorchScript exporter.
    AddMatMul,
    /// The weight in PyTorch's layout, transposed inside the graph.
    TransposeMatMulAdd,
    /// Gemm; an input of rank 3 or more is flattened before and shaped back after.
    Gemm,
    /// Gemm with transB=1.
    GemmTransB,
    /// Gemm with alpha and beta.
    GemmScaled,
}

impl Linear {
    /// Every spelling.
    pub const ALL: &'static [Self] = &[
        Self::MatMul,
        Self::MatMulAdd,
        Self::AddMatMul,
        Self::TransposeMatMulAdd,
        Self::Gemm,
        Self::GemmTransB,
        Self::GemmScaled,
    ];

    /// Whether there is a bias.
    pub fn has_bias(self) -> bool {
        self != Self::MatMul
    }
}

/// `x · W + b` over the last axis, `width` wide after it.
pub fn linear(s: &mut Sketch, x: &Flow, width: usize, spelling: Linear) -> Flow {
    let inner = x.width();
    let shape: Vec<usize> = x.shape[..x.rank() - 1].iter().copied().chain([width]).collect();
    let value = match spelling {
        Linear::MatMul | Linear::MatMulAdd | Linear::AddMatMul => {
            let weight = s.weight(&[inner, width], inner);
            let product = s.op("MatMul", &[x.value, weight]);
            if spelling == Linear::MatMul {
                product
            } else {
                let bias = s.parameter(&[width], 0.0, 0.3);
                s.either("Add", product, bias, spelling == Linear::AddMatMul)
            }
        }
        Linear::TransposeMatMulAdd => {
            let stored = s.weight(&[width, inner], inner);
            let weight = s.op_with("Transpose", &[stored], Attrs::new().with("perm", vec![1, 0]));
            let product = s.op("MatMul", &[x.value, weight]);
            let bias = s.parameter(&[width], 0.0, 0.3);
            s.op("Add", &[product, bias])
        }
        Linear::Gemm | Linear::GemmTransB | Linear::GemmScaled => gemm(s, x, width, spelling),
    };
    Flow { value, shape }
}

fn gemm(s: &mut Sketch, x: &Flow, width: usize, spelling: Linear) -> fusebox_ir::ValueId {
    let inner = x.width();
    let flat = if x.rank() == 2 { x.value } else { s.reshape(x.value, &[-1, inner as i64]) };
    let transposed = spelling == Linear::GemmTransB;
    let stored = if transposed { [width, inner] } else { [inner, width] };
    let (weight, bias) = (s.weight(&stored, inner), s.parameter(&[width], 0.0, 0.3));
    let mut attrs = Attrs::new();
    if transposed {
        attrs.set("transB", 1);
    }
    if spelling == Linear::GemmScaled {
        attrs.set("alpha", 0.5f32);
        attrs.set("beta", 2.0f32);
    }
    let product = s.op_with("Gemm", &[flat, weight, bias], attrs);
    if x.rank() == 2 {
        return product;
    }
    // The batch may be unknown, so it takes what is left of the rows.
    let sizes: Vec<i64> = std::iter::once(-1)
        .chain(x.shape[1..x.rank() - 1].iter().chain([&width]).map(|s| *s as i64))
        .collect();
    s.reshape(product, &sizes)
}
