//! ONNX files to and from the IR: external data, opset normalisation, fused functions.
