//! Run-time values: tensors, sequences and absent optionals.

use crate::EvalError;
use fusebox_ir::{Tensor, Type};

/// What flows along an edge at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// A tensor.
    Tensor(Tensor),
    /// A sequence.
    Sequence(Vec<Datum>),
    /// An optional without a value.
    Absent,
}

impl Datum {
    /// The tensor.
    ///
    /// # Errors
    /// When it is a sequence or absent.
    pub fn tensor(&self) -> Result<&Tensor, EvalError> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            Self::Sequence(_) => Err(EvalError::value("expected a tensor, found a sequence")),
            Self::Absent => Err(EvalError::value("expected a tensor, found an absent optional")),
        }
    }

    /// The type; unknown for an absent optional, and for what an empty sequence would hold.
    pub fn ty(&self) -> Type {
        match self {
            Self::Tensor(tensor) => tensor.ty().into(),
            Self::Sequence(items) => {
                let item = items.first().and_then(|item| item.tensor().ok());
                let of = |tensor: &Tensor| fusebox_ir::TensorType::unranked(tensor.dtype()).into();
                Type::Sequence(Box::new(item.map_or(Type::Unknown, of)))
            }
            Self::Absent => Type::Unknown,
        }
    }

    /// The tensor by value.
    ///
    /// # Errors
    /// When it is a sequence or absent.
    pub fn into_tensor(self) -> Result<Tensor, EvalError> {
        self.tensor()?;
        if let Self::Tensor(tensor) = self { Ok(tensor) } else { unreachable!("checked above") }
    }
}

impl From<Tensor> for Datum {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}
