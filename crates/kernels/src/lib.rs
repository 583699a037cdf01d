//! SIMD kernels: slices in, slices out. The only home of unsafe code.
