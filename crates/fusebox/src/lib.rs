//! Optimize, quantize, verify and run ONNX models on a CPU.
