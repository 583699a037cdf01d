//! `Equal`: whether two numbers, booleans or strings are equal, elementwise with broadcasting.
//!
//! NaN equals nothing. Spec: <https://onnx.ai/onnx/operators/onnx__Equal.html>.

use super::relation::{self, Relation};
use crate::broadcast::zip_map;
use crate::inference::Kinds;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::view::{one, tensor_bools, view_bools, view_strings};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{DType, Dim};

static SCHEMA: Schema = Schema::onnx("Equal", &[1, 7, 11, 13, 19], (2, 2), (1, 1));

const COMPARABLE: Kinds = Kinds {
    name: "a number, bool or string type",
    types: &[
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
        DType::String,
    ],
};

pub(crate) struct Equal;

impl Relation for Equal {
    fn holds<T: PartialOrd>(a: &T, b: &T) -> bool {
        a == b
    }

    fn on_sizes(a: &Dim, b: &Dim) -> Option<bool> {
        let apart = |a: &Dim, b: &Dim| a.sub(b).sub(&Dim::known(1)).is_size();
        if a == b {
            return Some(true);
        }
        (apart(a, b) || apart(b, a)).then_some(false)
    }
}

impl Op for Equal {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        relation::infer::<Self>(cx, COMPARABLE)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        match a.dtype() {
            DType::Bool => {
                let equal = |a: &u8, b: &u8| (*a != 0) == (*b != 0);
                one(tensor_bools(zip_map(&view_bools(a)?, &view_bools(b)?, equal)?)?)
            }
            DType::String => {
                one(tensor_bools(zip_map(&view_strings(a)?, &view_strings(b)?, |a, b| a == b)?)?)
            }
            _ => relation::eval::<Self>(cx),
        }
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        old_broadcast(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use crate::op::Arg;
    use fusebox_ir::{Attrs, Tensor, TensorType};

    #[test]
    fn compares_numbers_booleans_and_strings() {
        let equal = |a: Tensor, b: Tensor| run(&Equal, &Attrs::new(), &[a, b]).data().to_vec();
        assert_eq!(equal(t(&[2], &[1f32, f32::NAN]), t(&[2], &[1f32, f32::NAN])), [1, 0]);
        let bools = |values: [bool; 2]| Tensor::from_bools(vec![2], values).unwrap();
        assert_eq!(equal(bools([true, false]), bools([true, true])), [1, 0]);
        let strings = |words: &[&str]| {
            let words: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
            Tensor::from_strings(vec![words.len()], words).unwrap()
        };
        assert_eq!(equal(strings(&["a", "bc"]), strings(&["bc"])), [0, 1]);
    }

    #[test]
    fn a_size_is_never_minus_one() {
        let ty = TensorType::known(DType::I64, &[2]).into();
        let scalar = TensorType::known(DType::I64, &[]).into();
        let (sizes, minus) = ([Dim::symbol("n"), Dim::known(-1)], Tensor::scalar(-1i64));
        let inputs = [
            Some(Arg { ty: &ty, constant: None, dims: Some(&sizes) }),
            Some(Arg { ty: &scalar, constant: Some(&minus), dims: None }),
        ];
        let (attrs, fresh) = (Attrs::new(), || Dim::symbol("fresh"));
        let cx = Infer { attrs: &attrs, inputs: &inputs, outputs: 1, regions: &[], fresh: &fresh };
        let found = Equal.infer(&cx).unwrap().remove(0);
        assert_eq!(found.dims, Some(vec![Dim::known(0), Dim::known(1)]));
        assert_eq!(found.ty.to_string(), "bool[2]");
    }
}
