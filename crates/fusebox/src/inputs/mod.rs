//! Random inputs that a model can take: token ids within the embedding, masks of ones, positions in order.
//!
//! `role` finds what an input is for by following it through the graph; `draw` makes the elements. The same model,
//! seed and sizes give the same bytes on every machine.

mod draw;
mod role;

pub use role::Role;

use crate::sizes::{self, Preferred, Sizes};
use crate::{Error, Model};
use fusebox_ir::{DType, Tensor, Type};

/// One drawn input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name of the model's input.
    pub name: String,
    /// Its elements.
    pub tensor: Tensor,
    /// What it was taken for.
    pub role: Role,
}

/// Inputs for every input of a model that has no default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// In the model's order.
    pub list: Vec<Input>,
    /// The size of every symbolic dim.
    pub sizes: Sizes,
}

impl Inputs {
    /// As a session takes them.
    pub fn feeds(&self) -> Vec<(&str, Tensor)> {
        self.list.iter().map(|input| (input.name.as_str(), input.tensor.clone())).collect()
    }

    /// The same with every switch, a single truth, the other way; `None` where there is none.
    pub fn turned(&self) -> Option<Self> {
        let is_switch = |tensor: &Tensor| tensor.dtype() == DType::Bool && tensor.len() == 1;
        let mut turned = self.clone();
        let switches = turned.list.iter_mut().filter(|input| is_switch(&input.tensor));
        let mut count = 0;
        for input in switches {
            let is_on = input.tensor.data()[0] != 0;
            input.tensor =
                Tensor::from_bytes(DType::Bool, input.tensor.shape().to_vec(), vec![u8::from(!is_on)].into())
                    .ok()?;
            count += 1;
        }
        (count > 0).then_some(turned)
    }
}

/// How inputs are drawn.
#[derive(Clone, Debug, Default)]
pub struct DrawOptions {
    /// Start of the random sequence.
    pub seed: u64,
    /// Sizes of symbolic dims; the others are chosen.
    pub sizes: Sizes,
    /// What to choose for those that are not given.
    pub preferred: Preferred,
    /// Whether masks hide the end of their last axis, as for samples of different length, instead of nothing.
    pub padding: bool,
}

/// Draws inputs that respect the model.
///
/// # Errors
/// A size for a dim that no input has, or an input that cannot be drawn (unknown rank, a sequence).
pub fn generate(model: &Model, options: &DrawOptions) -> Result<Inputs, Error> {
    let sizes = sizes::choose(model, &options.sizes, options.preferred)?;
    // Roles need the sizes of tables; a model that is not well typed still has its constants.
    let graph = sizes::specialize(&model.graph, &model.functions, &sizes).unwrap_or_else(|_| {
        let mut graph = model.graph.clone();
        sizes::substitute(&mut graph, &sizes);
        graph
    });
    let mut list = Vec::new();
    for id in &graph.inputs {
        let value = graph.value(*id);
        if value.constant.is_some() {
            continue;
        }
        let refused = || Error::NotDrawable { name: value.name.clone(), ty: value.ty.to_string() };
        let Type::Tensor(ty) = &value.ty else { return Err(refused()) };
        let shape = ty.sizes().ok_or_else(refused)?;
        let role = role::of(&graph, *id);
        let seed = draw::seed_of(options.seed, &value.name);
        let tensor = draw::tensor(ty.dtype, shape, &role, seed, options.padding).ok_or_else(refused)?;
        list.push(Input { name: value.name.clone(), tensor, role });
    }
    Ok(Inputs { list, sizes })
}
