//! ONNX files to and from the IR: external data, opset normalisation, fused functions.
//!
//! The only crate that names onnx-ir, whose wire types it reads and writes. Refuses to know what a graph means: an
//! operator is a name until the operator table says otherwise. Invariant: what goes in and is not changed comes out
//! with the same meaning, names and metadata included. Start at [`load`] and [`save`].

mod dims;
mod entries;
mod expand;
pub mod export;
pub mod import;
mod inline;
pub mod opinion;
mod six_bits;
mod upgrade;

pub use expand::expand_operators;
pub use export::{
    DataFile, ExportError, Opset, SaveOptions, SaveReport, Target, Unfinished, discard_unfinished, save,
    to_bytes,
};
pub use import::{ImportError, LoadOptions, load, load_bytes, load_value};
pub use inline::{ExpandError, expand_functions};
