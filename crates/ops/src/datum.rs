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

impl Datum {
    /// The tensors inside, each under a name: `name` itself, `name[0]`, `name[1]`, … of a sequence, nothing of what is
    /// absent.
    pub fn into_tensors(self, name: &str) -> Vec<(String, Tensor)> {
        match self {
            Self::Tensor(tensor) => vec![(name.to_owned(), tensor)],
            Self::Sequence(items) => {
                let named = items.into_iter().enumerate();
                named.flat_map(|(index, item)| item.into_tensors(&format!("{name}[{index}]"))).collect()
            }
            Self::Absent => Vec::new(),
        }
    }
}

impl From<Tensor> for Datum {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}
