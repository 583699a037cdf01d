//! The operator table: one file per operator with schema, type inference, reference evaluation, cost, quantization
//! role and version history.
//!
//! Refuses to know how anything runs fast. The reference evaluation is the oracle of the whole project: it is written
//! for clarity over `ndarray`, not for speed. To add an operator: one file in its family's folder and its row in that
//! family's `OPS`. Start at [`Op`]; whole graphs are typed by [`typing`] and evaluated by [`interpret`].

pub mod attributes;
pub mod axis;
pub mod broadcast;
pub mod cost;
pub mod datum;
pub mod error;
pub mod explicit;
mod forms;
pub mod fused;
pub mod inference;
pub mod interpret;
mod lanes;
pub mod limit;
pub mod memory;
pub mod minifloat;
pub mod number;
pub mod op;
pub mod reconcile;
pub mod recurrent;
pub mod select;
mod sizes;
pub mod table;
pub mod typing;
pub mod versions;
pub mod view;
pub mod window;

#[cfg(test)]
mod check;

mod activation;
mod attention;
mod control;
mod conv;
mod elementwise;
mod gather;
mod generate;
mod linear;
mod logical;
mod loss;
mod microsoft;
mod movement;
mod normalization;
mod pool;
mod quantize;
mod reduction;
mod resize;
mod shape;
mod signal;
mod text;
mod vision;

pub use conv::transposed_axes;
pub use cost::{Cost, Shapes};
pub use datum::Datum;
pub use error::{EvalError, InferError, VersionError};
pub use interpret::Interpreter;
pub use limit::{Budget, Limits};
pub use linear::{Equation, Label};
pub use op::{Arg, Body, Edit, Eval, Infer, Inferred, Op, Purity, QuantRole, Schema, Target};
pub use reconcile::reconcile;
pub use resize::{AxisTaps, resize_taps};
pub use table::{OpId, find, op, ops};
pub use typing::{Typing, infer_graph};
