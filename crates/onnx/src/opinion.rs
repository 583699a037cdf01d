//! What onnx-ir's typed graph says about the values of a file: a second opinion on type inference, for tests.
//!
//! onnx-ir renames values, so they are told apart by position: the model that it sees has every node's outputs as
//! outputs of the graph. Nothing that it was told about types beyond the inputs reaches it.

use bytes::Bytes;
use fusebox_ir::{DType, Dim, TensorType, Type};
use onnx_ir::{ArgType, GraphProto, Message, ModelProto, OnnxGraphBuilder, ValueInfoProto};

/// Types by value name, in the file's order. Values that onnx-ir takes for scalars have no rank here: it does not tell a
/// scalar from a vector of one.
///
/// # Errors
/// What onnx-ir says against the model. It also panics on some.
pub fn second_opinion(bytes: &Bytes) -> Result<Vec<(String, Type)>, String> {
    let mut model = ModelProto::parse_from_tokio_bytes(bytes).map_err(|e| e.to_string())?;
    let Some(graph) = model.graph.as_mut() else { return Err("the model has no graph".into()) };
    let names = expose(graph);
    let bytes = model.write_to_bytes().map_err(|e| e.to_string())?;
    let typed = OnnxGraphBuilder::new().simplify(false).parse_bytes(&bytes).map_err(|e| e.to_string())?;
    if typed.outputs.len() != names.len() {
        return Err(format!("{} of {} outputs are left", typed.outputs.len(), names.len()));
    }
    Ok(names.into_iter().zip(typed.outputs.iter().map(|output| read(&output.ty))).collect())
}

/// Makes every node's outputs outputs of the graph, without types, and returns their names.
fn expose(graph: &mut GraphProto) -> Vec<String> {
    graph.value_info.clear();
    let names = graph.node.iter().flat_map(|node| node.output.iter().cloned());
    let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
    let info = |name: &String| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() };
    graph.output = names.iter().map(info).collect();
    names
}

fn read(ty: &ArgType) -> Type {
    match ty {
        ArgType::ScalarTensor(dtype) | ArgType::ScalarNative(dtype) => {
            element(dtype).map_or(Type::Unknown, |dtype| TensorType::unranked(dtype).into())
        }
        ArgType::Shape(rank) => TensorType::known(DType::I64, &[*rank]).into(),
        ArgType::Tensor(tensor) => {
            let Some(dtype) = element(&tensor.dtype) else { return Type::Unknown };
            let unknown = || vec![None; tensor.rank];
            let sizes = tensor.static_shape.clone().filter(|sizes| sizes.len() == tensor.rank);
            let dim = |(axis, size): (usize, Option<usize>)| {
                let size = size.and_then(|size| i64::try_from(size).ok());
                size.map_or_else(|| Dim::symbol(format!("_{axis}")), Dim::known)
            };
            TensorType::new(dtype, sizes.unwrap_or_else(unknown).into_iter().enumerate().map(dim)).into()
        }
    }
}

fn element(dtype: &onnx_ir::DType) -> Option<DType> {
    use onnx_ir::DType as Theirs;
    Some(match dtype {
        Theirs::F64 => DType::F64,
        Theirs::F32 => DType::F32,
        Theirs::F16 => DType::F16,
        Theirs::BF16 => DType::BF16,
        Theirs::I64 => DType::I64,
        Theirs::I32 => DType::I32,
        Theirs::I16 => DType::I16,
        Theirs::I8 => DType::I8,
        Theirs::U64 => DType::U64,
        Theirs::U32 => DType::U32,
        Theirs::U16 => DType::U16,
        Theirs::U8 => DType::U8,
        Theirs::Bool(_) => DType::Bool,
        _ => return None,
    })
}
