//! Precision passes: dynamic int8, fp16 and bf16 weights.
