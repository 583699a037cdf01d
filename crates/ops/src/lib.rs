//! One file per operator: schema, type inference, reference evaluation, cost, quantization role.
