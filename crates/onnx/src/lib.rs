//! ONNX files to and from the IR: external data, opset normalisation, fused functions.
//!
//! The only crate that names onnx-ir, whose wire types it reads and writes. Refuses to know what a graph means: an
//! operator is a name until the operator table says otherwise. Invariant: what goes in and is not changed comes out
//! with the same meaning, names and metadata included. Start at [`load`] and [`save`].

#[allow(dead_code, reason = "the writing half waits for export")]
mod dims;
mod entries;
pub mod import;

pub use import::{ImportError, LoadOptions, load, load_bytes};
