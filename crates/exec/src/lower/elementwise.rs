//! Elementwise operators in the operations of chains: one row per operator.
//!
//! A row appends the operator's operations to a chain under construction, or declines. Floats are computed in f32 and
//! integers in i64, so only those element types (and booleans) take part; narrow integers do where nothing can wrap:
//! in quantization and where they are widened.

use fusebox_ir::{Attrs, DType, Tensor};
use fusebox_kernels::SpecError;
use fusebox_kernels::elementwise::{Binary, Chain, Compare, Kind, Logic, Op, Unary, Value};
use fusebox_kernels::math::{Activation, Levels};

/// A node's operands inside the chain.
pub(super) struct Operands<'a> {
    /// Attributes of the node.
    pub attrs: &'a Attrs,
    /// Inputs; `None` is absent.
    pub values: &'a [Option<Value>],
    /// Constant inputs.
    pub constants: &'a [Option<&'a Tensor>],
    /// Element type of the result.
    pub result: DType,
}

impl Operands<'_> {
    fn value(&self, index: usize) -> Option<Value> {
        self.values.get(index).copied().flatten()
    }

    /// A constant scalar input as f32.
    fn scalar(&self, index: usize) -> Option<f32> {
        let tensor = self.constants.get(index).copied().flatten().filter(|t| t.len() == 1)?;
        #[allow(clippy::cast_possible_truncation, reason = "the chain computes in f32")]
        let narrow = |x: f64| x as f32;
        match tensor.floats() {
            Some(values) => Some(narrow(values[0])),
            None => match (tensor.dtype(), tensor.data().as_ref()) {
                (DType::U8, [byte]) => Some(f32::from(*byte)),
                (DType::I8, [byte]) => Some(f32::from(byte.cast_signed())),
                (DType::U16, _) => tensor.elements::<u16>().ok().map(|v| f32::from(v[0])),
                (DType::I16, _) => tensor.elements::<i16>().ok().map(|v| f32::from(v[0])),
                #[allow(clippy::cast_precision_loss, reason = "ONNX casts the exponent likewise")]
                _ => Some(narrow(tensor.integers()?[0] as f64)),
            },
        }
    }
}

/// Appends a node's operations; `None` declines.
pub(super) type Emit = fn(&mut Chain, &Operands<'_>) -> Result<Option<Value>, SpecError>;

/// Operator and its emitter.
static ROWS: &[(&str, Emit)] = &[
    ("Abs", |c, o| unary(c, o, Unary::Abs)),
    ("Add", |c, o| binary(c, o, Binary::Add)),
    ("And", |c, o| logic(c, o, Logic::And)),
    ("BatchNormalization", batch_norm),
    ("Cast", cast),
    ("Ceil", |c, o| unary(c, o, Unary::Ceil)),
    ("Clip", clip),
    ("Cos", |c, o| unary(c, o, Unary::Cos)),
    ("DequantizeLinear", dequantize),
    ("Div", |c, o| binary(c, o, Binary::Div)),
    ("Elu", |c, o| unary(c, o, Unary::Elu { alpha: o.attrs.float_or("alpha", 1.0) })),
    ("Equal", |c, o| compare(c, o, Compare::Equal)),
    ("Erf", |c, o| activation(c, o, Activation::Erf)),
    ("Exp", |c, o| unary(c, o, Unary::Exp)),
    ("Floor", |c, o| unary(c, o, Unary::Floor)),
    ("Gelu", gelu),
    ("Greater", |c, o| compare(c, o, Compare::Greater)),
    ("GreaterOrEqual", |c, o| compare(c, o, Compare::GreaterOrEqual)),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", |c, o| activation(c, o, Activation::HardSwish)),
    ("IsNaN", is_nan),
    ("LeakyRelu", |c, o| activation(c, o, Activation::LeakyRelu { alpha: o.attrs.float_or("alpha", 0.01) })),
    ("Less", |c, o| compare(c, o, Compare::Less)),
    ("LessOrEqual", |c, o| compare(c, o, Compare::LessOrEqual)),
    ("Log", |c, o| unary(c, o, Unary::Log)),
    ("Max", |c, o| binary(c, o, Binary::Max)),
    ("Min", |c, o| binary(c, o, Binary::Min)),
    ("Mish", |c, o| unary(c, o, Unary::Mish)),
    ("Mul", |c, o| binary(c, o, Binary::Mul)),
    ("Neg", |c, o| unary(c, o, Unary::Neg)),
    ("Not", not),
    ("Or", |c, o| logic(c, o, Logic::Or)),
    ("PRelu", prelu),
    ("Pow", pow),
    ("QuantizeLinear", quantize),
    ("Reciprocal", |c, o| unary(c, o, Unary::Reciprocal)),
    ("Relu", |c, o| activation(c, o, Activation::Relu)),
    ("Round", |c, o| unary(c, o, Unary::Round)),
    ("Sigmoid", |c, o| activation(c, o, Activation::Sigmoid)),
    ("Sign", |c, o| unary(c, o, Unary::Sign)),
    ("Sin", |c, o| unary(c, o, Unary::Sin)),
    ("Softplus", |c, o| unary(c, o, Unary::Softplus)),
    ("Sqrt", |c, o| unary(c, o, Unary::Sqrt)),
    ("Sub", |c, o| binary(c, o, Binary::Sub)),
    ("Sum", |c, o| binary(c, o, Binary::Add)),
    ("Swish", |c, o| activation(c, o, Activation::QuickGelu { alpha: o.attrs.float_or("alpha", 1.0) })),
    ("Tanh", |c, o| activation(c, o, Activation::Tanh)),
    ("Where", choose),
    ("Xor", |c, o| logic(c, o, Logic::Xor)),
];

/// The emitter of a standard operator.
pub(super) fn emit(name: &str) -> Option<Emit> {
    ROWS.iter().find(|row| row.0 == name).map(|row| row.1)
}

/// Element types that chains compute exactly as ONNX asks.
pub(super) fn takes(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I64 | DType::Bool)
}

/// Integers of up to 32 bits.
pub(super) fn is_narrow(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::I32)
}

/// Whether an operator takes, and gives, element types besides those that all take.
pub(super) fn takes_narrow(name: &str, inputs: &[DType], output: DType) -> bool {
    match name {
        // Widening only: nothing is out of range.
        "Cast" => is_narrow(inputs[0]) && matches!(output, DType::F32 | DType::I64),
        "DequantizeLinear" => {
            inputs.iter().all(|d| is_narrow(*d) || *d == DType::F32) && output == DType::F32
        }
        "QuantizeLinear" => {
            let quantized = |d: DType| is_narrow(d) && d != DType::I32;
            inputs[..2] == [DType::F32; 2] && inputs[2..].iter().all(|d| quantized(*d)) && quantized(output)
        }
        _ => false,
    }
}

/// `(x - zero)·scale`, the difference in integers.
fn dequantize(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let (Some(mut x), Some(scale)) = (o.value(0), o.value(1)) else { return Ok(None) };
    if c.kind(x)? != Kind::Int || o.attrs.int_or("block_size", 0) != 0 {
        return Ok(None);
    }
    // Levels that the chain itself has just computed are floats already: they need not become integers in between.
    if let (Some(level), Some(zero)) = (level_before(c, x), known_zero(o)) {
        let zero = c.push(Op::Float(zero))?;
        let steps = c.push(Op::Binary(Binary::Sub, level, zero))?;
        return c.push(Op::Binary(Binary::Mul, steps, scale)).map(Some);
    }
    if let Some(zero) = o.value(2) {
        x = c.push(Op::Binary(Binary::Sub, x, zero))?;
    }
    let real = c.push(Op::Convert(Kind::Float, x))?;
    c.push(Op::Binary(Binary::Mul, real, scale)).map(Some)
}

/// The whole float that an integer was made from.
fn level_before(c: &Chain, x: Value) -> Option<Value> {
    let Some(Op::Convert(Kind::Int, level)) = c.op(x) else { return None };
    matches!(c.op(level), Some(Op::Unary(Unary::Level(_), _))).then_some(level)
}

/// The zero point that all elements share, 0 when absent.
fn known_zero(o: &Operands<'_>) -> Option<f32> {
    if o.value(2).is_none() { Some(0.0) } else { o.scalar(2) }
}

/// `clamp(round(x/scale) + zero)`.
fn quantize(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let (Some(x), Some(scale)) = (o.value(0), o.value(1)) else { return Ok(None) };
    let is_plain = ["block_size", "precision"].iter().all(|name| o.attrs.int_or(name, 0) == 0);
    let bounds = match o.result {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65535.0),
        DType::I16 => (-32768.0, 32767.0),
        _ => return Ok(None),
    };
    if !is_plain || c.kind(x)? != Kind::Float {
        return Ok(None);
    }
    let levels = o.scalar(1).zip(known_zero(o)).and_then(|(scale, zero)| Levels::new(scale, zero, bounds));
    if let Some(levels) = levels {
        let level = c.push(Op::Unary(Unary::Level(levels), x))?;
        return c.push(Op::Convert(Kind::Int, level)).map(Some);
    }
    let ratio = c.push(Op::Binary(Binary::Div, x, scale))?;
    let mut level = c.push(Op::Unary(Unary::Round, ratio))?;
    if let Some(zero) = o.value(2) {
        let zero = c.push(Op::Convert(Kind::Float, zero))?;
        level = c.push(Op::Binary(Binary::Add, level, zero))?;
    }
    let clip = Activation::Clip { lo: bounds.0, hi: bounds.1 };
    let level = c.push(Op::Unary(Unary::Activation(clip), level))?;
    c.push(Op::Convert(Kind::Int, level)).map(Some)
}

type Emitted = Result<Option<Value>, SpecError>;

fn unary(c: &mut Chain, o: &Operands<'_>, function: Unary) -> Emitted {
    let Some(x) = o.value(0) else { return Ok(None) };
    let integers = matches!(function, Unary::Neg | Unary::Abs | Unary::Sign);
    match c.kind(x)? {
        Kind::Float => c.push(Op::Unary(function, x)).map(Some),
        Kind::Int if integers => c.push(Op::Unary(function, x)).map(Some),
        _ => Ok(None),
    }
}

fn activation(c: &mut Chain, o: &Operands<'_>, function: Activation) -> Emitted {
    unary(c, o, Unary::Activation(function))
}

fn gelu(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    match o.attrs.str("approximate") {
        None | Some("none") => activation(c, o, Activation::Gelu),
        Some("tanh") => activation(c, o, Activation::GeluTanh),
        Some(_) => Ok(None),
    }
}

fn hard_sigmoid(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let (alpha, beta) = (o.attrs.float_or("alpha", 0.2), o.attrs.float_or("beta", 0.5));
    activation(c, o, Activation::HardSigmoid { alpha, beta })
}

/// Two or, for Max, Min and Sum, any number of operands.
fn binary(c: &mut Chain, o: &Operands<'_>, function: Binary) -> Emitted {
    let Some(mut result) = o.value(0) else { return Ok(None) };
    for index in 1..o.values.len() {
        let Some(next) = o.value(index) else { return Ok(None) };
        match (c.kind(result)?, c.kind(next)?) {
            (Kind::Float, Kind::Float) => {}
            // The reference reports a zero divisor; the kernel would not.
            (Kind::Int, Kind::Int) if function != Binary::Div => {}
            _ => return Ok(None),
        }
        result = c.push(Op::Binary(function, result, next))?;
    }
    Ok(Some(result))
}

fn compare(c: &mut Chain, o: &Operands<'_>, function: Compare) -> Emitted {
    let (Some(a), Some(b)) = (o.value(0), o.value(1)) else { return Ok(None) };
    match (c.kind(a)?, c.kind(b)?) {
        (Kind::Float, Kind::Float) | (Kind::Int, Kind::Int) => c.push(Op::Compare(function, a, b)).map(Some),
        _ => Ok(None),
    }
}

fn logic(c: &mut Chain, o: &Operands<'_>, function: Logic) -> Emitted {
    let (Some(a), Some(b)) = (o.value(0), o.value(1)) else { return Ok(None) };
    if (c.kind(a)?, c.kind(b)?) != (Kind::Truth, Kind::Truth) {
        return Ok(None);
    }
    c.push(Op::Logic(function, a, b)).map(Some)
}

/// Only NaN differs from itself.
fn is_nan(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let Some(x) = o.value(0) else { return Ok(None) };
    if c.kind(x)? == Kind::Float { c.push(Op::Compare(Compare::NotEqual, x, x)).map(Some) } else { Ok(None) }
}

fn not(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let Some(x) = o.value(0) else { return Ok(None) };
    if c.kind(x)? == Kind::Truth { c.push(Op::Not(x)).map(Some) } else { Ok(None) }
}

fn choose(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let (Some(condition), Some(yes), Some(no)) = (o.value(0), o.value(1), o.value(2)) else {
        return Ok(None);
    };
    let fits = c.kind(condition)? == Kind::Truth && c.kind(yes)? == c.kind(no)?;
    if fits { c.push(Op::Where(condition, yes, no)).map(Some) } else { Ok(None) }
}

fn cast(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let Some(x) = o.value(0) else { return Ok(None) };
    let kind = match o.result {
        DType::F32 => Kind::Float,
        DType::I64 => Kind::Int,
        DType::Bool => Kind::Truth,
        _ => return Ok(None),
    };
    if c.kind(x)? == kind { Ok(Some(x)) } else { c.push(Op::Convert(kind, x)).map(Some) }
}

/// Of inference, where the statistics are inputs: (x - mean)·(scale/√(variance + ε)) + bias, one of each per channel.
fn batch_norm(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let inputs = [0, 1, 2, 3, 4].map(|index| o.value(index));
    let [Some(x), Some(scale), Some(bias), Some(mean), Some(variance)] = inputs else { return Ok(None) };
    if o.attrs.int_or("training_mode", 0) != 0 || c.kind(x)? != Kind::Float {
        return Ok(None);
    }
    let epsilon = c.push(Op::Float(o.attrs.float_or("epsilon", 1e-5)))?;
    let variance = c.push(Op::Binary(Binary::Add, variance, epsilon))?;
    let deviation = c.push(Op::Unary(Unary::Sqrt, variance))?;
    let factor = c.push(Op::Binary(Binary::Div, scale, deviation))?;
    let centered = c.push(Op::Binary(Binary::Sub, x, mean))?;
    let scaled = c.push(Op::Binary(Binary::Mul, centered, factor))?;
    c.push(Op::Binary(Binary::Add, scaled, bias)).map(Some)
}

fn clip(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let absent =
        |index: usize| o.value(index).is_none() && o.constants.get(index).copied().flatten().is_none();
    let bound = |index: usize, open: f32| if absent(index) { Some(open) } else { o.scalar(index) };
    match (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY)) {
        // Clip with lower above upper gives the upper bound, as min(max(x, lo), hi) does.
        (Some(lo), Some(hi)) => activation(c, o, Activation::Clip { lo, hi }),
        _ => Ok(None),
    }
}

fn prelu(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let (Some(x), Some(slope)) = (o.value(0), o.value(1)) else { return Ok(None) };
    if (c.kind(x)?, c.kind(slope)?) != (Kind::Float, Kind::Float) {
        return Ok(None);
    }
    let zero = c.push(Op::Float(0.0))?;
    let negative = c.push(Op::Compare(Compare::Less, x, zero))?;
    let scaled = c.push(Op::Binary(Binary::Mul, x, slope))?;
    c.push(Op::Where(negative, scaled, x)).map(Some)
}

/// Small constant exponents become what they mean; the general power is slow.
fn pow(c: &mut Chain, o: &Operands<'_>) -> Emitted {
    let Some(x) = o.value(0) else { return Ok(None) };
    if c.kind(x)? != Kind::Float {
        return Ok(None);
    }
    let square = |c: &mut Chain| c.push(Op::Binary(Binary::Mul, x, x));
    match o.scalar(1) {
        Some(2.0) => square(c).map(Some),
        Some(3.0) => {
            let square = square(c)?;
            c.push(Op::Binary(Binary::Mul, square, x)).map(Some)
        }
        Some(1.0) => Ok(Some(x)),
        _ => match o.value(1) {
            Some(y) if c.kind(y)? == Kind::Float => c.push(Op::Binary(Binary::Pow, x, y)).map(Some),
            _ => Ok(None),
        },
    }
}
