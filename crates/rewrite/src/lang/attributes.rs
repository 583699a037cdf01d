//! Attributes that rules may name: their kinds and defaults, per operator.
//!
//! A record in the e-graph has its defaults filled in, so that a pattern sees `axis=-1` whether or not the exporter
//! wrote it. An operator without a row keeps its attributes as they are and takes none in rules.

use fusebox_ir::graph::FUSEBOX;
use fusebox_ir::{Attr, OpName};

/// Kind of an attribute, with the default where the operator gives one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spec {
    /// An integer.
    Int(Option<i64>),
    /// A float.
    Float(Option<f32>),
    /// A string.
    Str(Option<&'static str>),
    /// Integers.
    Ints,
    /// Anything: only matched and copied as part of a record.
    Other,
}

impl Spec {
    /// The default as an attribute.
    pub fn default(self) -> Option<Attr> {
        match self {
            Self::Int(value) => value.map(Attr::Int),
            Self::Float(value) => value.map(Attr::Float),
            Self::Str(value) => value.map(Attr::from),
            Self::Ints | Self::Other => None,
        }
    }
}

type Row = (&'static str, &'static [(&'static str, Spec)]);

const fn int(default: i64) -> Spec {
    Spec::Int(Some(default))
}
const fn float(default: f32) -> Spec {
    Spec::Float(Some(default))
}
const fn text(default: &'static str) -> Spec {
    Spec::Str(Some(default))
}

const REDUCE: &[(&str, Spec)] = &[("keepdims", int(1)), ("noop_with_empty_axes", int(0))];
const CONV: &[(&str, Spec)] = &[
    ("auto_pad", text("NOTSET")),
    ("dilations", Spec::Ints),
    ("group", int(1)),
    ("kernel_shape", Spec::Ints),
    ("pads", Spec::Ints),
    ("strides", Spec::Ints),
];
const NONE: &[(&str, Spec)] = &[];

/// Standard operators, by name.
const ONNX: &[Row] = &[
    ("Abs", NONE),
    ("Add", NONE),
    ("And", NONE),
    ("BatchNormalization", &[("epsilon", float(1e-5)), ("momentum", float(0.9)), ("training_mode", int(0))]),
    ("Cast", &[("round_mode", text("up")), ("saturate", int(1)), ("to", Spec::Int(None))]),
    ("CastLike", &[("round_mode", text("up")), ("saturate", int(1))]),
    ("Clip", NONE),
    ("Concat", &[("axis", Spec::Int(None))]),
    ("ConstantOfShape", &[("value", Spec::Other)]),
    ("Conv", CONV),
    ("Div", NONE),
    ("Dropout", &[("seed", Spec::Int(None))]),
    ("Elu", &[("alpha", float(1.0))]),
    ("Equal", NONE),
    ("Erf", NONE),
    ("Exp", NONE),
    ("Expand", NONE),
    ("Flatten", &[("axis", int(1))]),
    ("Gather", &[("axis", int(0))]),
    ("GatherND", &[("batch_dims", int(0))]),
    ("Gelu", &[("approximate", text("none"))]),
    ("Gemm", &[("alpha", float(1.0)), ("beta", float(1.0)), ("transA", int(0)), ("transB", int(0))]),
    ("GlobalAveragePool", NONE),
    ("Greater", NONE),
    ("GreaterOrEqual", NONE),
    ("HardSigmoid", &[("alpha", float(0.2)), ("beta", float(0.5))]),
    ("HardSwish", NONE),
    ("Identity", NONE),
    ("IsNaN", NONE),
    ("LayerNormalization", &[("axis", int(-1)), ("epsilon", float(1e-5)), ("stash_type", int(1))]),
    ("LeakyRelu", &[("alpha", float(0.01))]),
    ("Less", NONE),
    ("LessOrEqual", NONE),
    ("Log", NONE),
    ("MatMul", NONE),
    ("Max", NONE),
    ("Min", NONE),
    ("Mul", NONE),
    ("Neg", NONE),
    ("Not", NONE),
    ("Or", NONE),
    ("Pow", NONE),
    ("RMSNormalization", &[("axis", int(-1)), ("epsilon", float(1e-5)), ("stash_type", int(1))]),
    ("Range", NONE),
    ("Reciprocal", NONE),
    ("ReduceMax", REDUCE),
    ("ReduceMean", REDUCE),
    ("ReduceSum", REDUCE),
    ("ReduceSumSquare", REDUCE),
    ("Relu", NONE),
    ("Reshape", &[("allowzero", int(0))]),
    ("Shape", &[("end", Spec::Int(None)), ("start", int(0))]),
    ("Sigmoid", NONE),
    ("Slice", NONE),
    ("Softmax", &[("axis", int(-1))]),
    ("Split", &[("axis", int(0)), ("num_outputs", Spec::Int(None))]),
    ("Sqrt", NONE),
    ("Squeeze", NONE),
    ("Sub", NONE),
    ("Swish", &[("alpha", float(1.0))]),
    ("Tanh", NONE),
    ("Tile", NONE),
    ("Transpose", &[("perm", Spec::Ints)]),
    ("Trilu", &[("upper", int(1))]),
    ("Unsqueeze", NONE),
    ("Where", NONE),
    ("Xor", NONE),
];

const EPILOGUE: [(&str, Spec); 3] =
    [("activation", text("none")), ("alpha", Spec::Float(None)), ("beta", Spec::Float(None))];

/// Fused operators, by name.
const FUSED: &[Row] = &[
    (
        "Attention",
        &[
            ("causal", int(0)),
            ("kv_heads", Spec::Int(None)),
            ("layout", text("bhsd")),
            ("nan_to_zero", int(0)),
            ("q_heads", Spec::Int(None)),
            ("scale", Spec::Float(None)),
            ("softcap", float(0.0)),
        ],
    ),
    (
        "Conv",
        &[
            EPILOGUE[0],
            EPILOGUE[1],
            EPILOGUE[2],
            ("dilations", Spec::Ints),
            ("group", int(1)),
            ("kernel_shape", Spec::Ints),
            ("pads", Spec::Ints),
            ("residual_first", int(1)),
            ("strides", Spec::Ints),
        ],
    ),
    ("Linear", &[EPILOGUE[0], EPILOGUE[1], EPILOGUE[2], ("residual_first", int(0))]),
    (
        "NormLinear",
        &[
            EPILOGUE[0],
            EPILOGUE[1],
            EPILOGUE[2],
            ("epsilon", float(1e-5)),
            ("norm", text("layer")),
            ("residual_first", int(0)),
        ],
    ),
    ("SkipLayerNorm", &[("epsilon", float(1e-5)), ("norm", text("layer"))]),
];

/// Attributes of an operator, when it has a row.
pub fn attributes(op: &OpName) -> Option<&'static [(&'static str, Spec)]> {
    let rows = match &*op.domain {
        "" => ONNX,
        FUSEBOX => FUSED,
        _ => return None,
    };
    rows.iter().find(|row| row.0 == &*op.name).map(|row| row.1)
}

/// Kind of one attribute.
pub fn spec(op: &OpName, name: &str) -> Option<Spec> {
    attributes(op)?.iter().find(|(n, _)| *n == name).map(|(_, spec)| *spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_name_operators_of_the_table() {
        assert!(ONNX.is_sorted_by_key(|row| row.0) && FUSED.is_sorted_by_key(|row| row.0));
        for (name, specs) in ONNX {
            assert!(fusebox_ops::op(&OpName::onnx(name)).is_some(), "{name}");
            assert!(specs.is_sorted_by_key(|s| s.0), "{name}");
        }
        for (name, _) in FUSED {
            assert!(fusebox_ops::op(&OpName::fusebox(name)).is_some(), "{name}");
        }
    }
}
