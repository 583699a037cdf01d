//! Graphs, values, tensor types with symbolic dims, attributes, verifier, text form and structural diff.
