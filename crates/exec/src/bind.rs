//! Binds a model's symbolic dims to the sizes of actual inputs.

use crate::ExecError;
use fusebox_ir::{Dim, Graph, TensorType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sizes of the symbols of a run, by name.
pub type Binding = BTreeMap<Arc<str>, i64>;

/// Puts named values in the order of the graph's inputs. An input with a default may be absent.
///
/// # Errors
/// A name that the graph does not have, or a required input without a value.
pub fn arrange<T: Clone>(graph: &Graph, given: &[(&str, T)]) -> Result<Vec<Option<T>>, ExecError> {
    let names: Vec<&str> = graph.inputs.iter().map(|id| graph.value(*id).name.as_str()).collect();
    for (name, _) in given {
        if !names.contains(name) {
            let known = names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
            return Err(ExecError::UnknownInput { name: (*name).to_owned(), known });
        }
    }
    let find = |id: &fusebox_ir::ValueId| {
        let value = graph.value(*id);
        let found = given.iter().find(|(name, _)| *name == value.name).map(|(_, v)| v.clone());
        match found.is_none() && value.constant.is_none() {
            true => Err(ExecError::MissingInput { name: value.name.clone(), expected: value.ty.to_string() }),
            false => Ok(found),
        }
    };
    graph.inputs.iter().map(find).collect()
}

/// Checks types against the declarations and finds the size of every symbol.
///
/// # Errors
/// The first input whose type contradicts its declaration or another input.
pub fn bind(graph: &Graph, types: &[Option<TensorType>]) -> Result<Binding, ExecError> {
    let mut binding = Binding::new();
    for (id, found) in graph.inputs.iter().zip(types) {
        let (Some(found), Some(declared)) = (found, graph.value(*id).ty.tensor()) else { continue };
        check(&graph.value(*id).name, declared, found, &mut binding)?;
    }
    // Dims that are expressions can only be checked once every bare symbol is known.
    for (id, found) in graph.inputs.iter().zip(types) {
        let (Some(found), Some(declared)) = (found, graph.value(*id).ty.tensor()) else { continue };
        let resolved = declared.substitute(&|name| binding.get(name).copied().map(Dim::known));
        check(&graph.value(*id).name, &resolved, found, &mut binding)?;
    }
    Ok(binding)
}

fn check(
    name: &str,
    declared: &TensorType,
    found: &TensorType,
    binding: &mut Binding,
) -> Result<(), ExecError> {
    let texts = || (name.to_owned(), declared.to_string(), found.to_string());
    if declared.dtype != found.dtype {
        let (name, expected, found) = texts();
        return Err(ExecError::InputType { name, expected, found });
    }
    let wrong = |reason: String| {
        let (name, expected, found) = texts();
        ExecError::InputShape { name, expected, found, reason }
    };
    let (Some(wanted), Some(sizes)) = (&declared.shape, &found.shape) else { return Ok(()) };
    if wanted.len() != sizes.len() {
        return Err(wrong(format!("it has {} dims instead of {}", sizes.len(), wanted.len())));
    }
    for (axis, (dim, size)) in wanted.iter().zip(sizes).enumerate() {
        let size = size.value().unwrap_or(0);
        match (dim.value(), dim.as_symbol()) {
            (Some(fixed), _) if fixed != size => {
                return Err(wrong(format!("dim {axis} is {size} instead of {fixed}")));
            }
            (None, Some(symbol)) => {
                let bound = *binding.entry(symbol.into()).or_insert(size);
                if bound != size {
                    return Err(wrong(format!(
                        "dim {axis} ({symbol}) is {size} here but {bound} in another input"
                    )));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{DType, Tensor};

    fn graph() -> Graph {
        let mut graph = Graph::new();
        let dim = |name: &str| Dim::symbol(name);
        graph.add_input("a", TensorType::new(DType::F32, [dim("n"), Dim::known(3)]));
        graph.add_input("b", TensorType::new(DType::F32, [dim("n").add(&Dim::known(1))]));
        graph
    }

    fn types(a: [usize; 2], b: usize) -> Vec<Option<TensorType>> {
        vec![Some(TensorType::known(DType::F32, &a)), Some(TensorType::known(DType::F32, &[b]))]
    }

    #[test]
    fn symbols_are_bound_and_contradictions_named() {
        assert_eq!(bind(&graph(), &types([4, 3], 5)).unwrap(), Binding::from([("n".into(), 4)]));
        let error = bind(&graph(), &types([4, 2], 5)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input \"a\" must be f32[n, 3], got f32[4, 2]: dim 1 is 2 instead of 3"
        );
        let error = bind(&graph(), &types([4, 3], 6)).unwrap_err();
        assert_eq!(error.to_string(), "input \"b\" must be f32[5], got f32[6]: dim 0 is 6 instead of 5");
    }

    #[test]
    fn unknown_and_missing_inputs_are_named() {
        let error = arrange(&graph(), &[("c", Tensor::scalar(1f32))]).unwrap_err();
        assert_eq!(error.to_string(), "the model has no input named \"c\"; its inputs are \"a\", \"b\"");
        let error = arrange(&graph(), &[("a", Tensor::scalar(1f32))]).unwrap_err();
        assert_eq!(error.to_string(), "input \"b\" (f32[n + 1]) was not given");
    }
}
