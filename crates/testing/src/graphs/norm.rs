//! LayerNorm and RMSNorm over the last axis, from primitives in several spellings and as operators.

use super::{Flow, Sketch};
use fusebox_ir::{Attrs, Tensor, ValueId};

/// Added to the variance.
pub const EPSILON: f32 = 1e-5;

/// How LayerNorm is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerNorm {
    /// The operator; a form without a scale gives it ones.
    Operator,
    /// ReduceMean, Sub, Pow 2, ReduceMean, Add, Sqrt, Div: torch below opset 17.
    PowDiv,
    /// The square by Mul.
    MulDiv,
    /// A product by the reciprocal of the root.
    Reciprocal,
    /// Two Sub nodes, one for the variance and one for the result: Keras.
    TwoSubs,
    /// A product by the power -1/2.
    PowMinusHalf,
}

impl LayerNorm {
    /// Every spelling.
    pub const ALL: &'static [Self] =
        &[Self::Operator, Self::PowDiv, Self::MulDiv, Self::Reciprocal, Self::TwoSubs, Self::PowMinusHalf];
}

/// What follows a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affine {
    /// Nothing.
    None,
    /// A scale.
    Scale,
    /// A scale and a shift.
    ScaleShift,
    /// The same with the parameters as first operands.
    Swapped,
}

impl Affine {
    /// Every form.
    pub const ALL: &'static [Self] = &[Self::None, Self::Scale, Self::ScaleShift, Self::Swapped];
}

/// Scale and shift as a form has them, drawn before anything else so that all spellings of one seed agree.
struct Parameters {
    scale: Option<ValueId>,
    shift: Option<ValueId>,
    swap: bool,
}

impl Parameters {
    fn draw(s: &mut Sketch, width: usize, form: Affine, with_shift: bool) -> Self {
        let scale = (form != Affine::None).then(|| s.parameter(&[width], 1.0, 0.2));
        let shift = matches!(form, Affine::ScaleShift | Affine::Swapped) && with_shift;
        Self { scale, shift: shift.then(|| s.parameter(&[width], 0.0, 0.2)), swap: form == Affine::Swapped }
    }

    fn apply(&self, s: &mut Sketch, x: ValueId) -> ValueId {
        let scaled = self.scale.map_or(x, |scale| s.either("Mul", x, scale, self.swap));
        self.shift.map_or(scaled, |shift| s.either("Add", scaled, shift, self.swap))
    }

    /// Operands of the operator, which needs a scale: ones where the form has none.
    fn operands(&self, s: &mut Sketch, x: &Flow) -> Vec<ValueId> {
        let ones = |s: &mut Sketch| s.constant(Tensor::vector(vec![1f32; x.width()]));
        let scale = self.scale.unwrap_or_else(|| ones(s));
        [x.value, scale].into_iter().chain(self.shift).collect()
    }
}

/// LayerNorm over the last axis.
pub fn layer_norm(s: &mut Sketch, x: &Flow, spelling: LayerNorm, form: Affine) -> Flow {
    let parameters = Parameters::draw(s, x.width(), form, true);
    if spelling == LayerNorm::Operator {
        let operands = parameters.operands(s, x);
        let attrs = Attrs::new().with("axis", -1).with("epsilon", EPSILON);
        let value = s.op_with("LayerNormalization", &operands, attrs);
        return x.with(value);
    }
    let mean = s.reduce("ReduceMean", x.value, &[-1], true);
    let centred = s.op("Sub", &[x.value, mean]);
    let square = if spelling == LayerNorm::MulDiv {
        s.op("Mul", &[centred, centred])
    } else {
        let two = s.scalar(2.0);
        s.op("Pow", &[centred, two])
    };
    let variance = s.reduce("ReduceMean", square, &[-1], true);
    let top = if spelling == LayerNorm::TwoSubs { s.op("Sub", &[x.value, mean]) } else { centred };
    let how = match spelling {
        LayerNorm::Reciprocal => Division::Reciprocal,
        LayerNorm::PowMinusHalf => Division::PowMinusHalf,
        _ => Division::Div,
    };
    let normal = divide(s, top, variance, how);
    let value = parameters.apply(s, normal);
    x.with(value)
}

#[derive(Clone, Copy, PartialEq)]
enum Division {
    Div,
    Reciprocal,
    PowMinusHalf,
}

/// `top / √(mean square + ε)`.
fn divide(s: &mut Sketch, top: ValueId, square: ValueId, how: Division) -> ValueId {
    let epsilon = s.scalar(EPSILON);
    let swap = s.draw.chance(0.3);
    let safe = s.either("Add", square, epsilon, swap);
    if how == Division::PowMinusHalf {
        let power = s.scalar(-0.5);
        let inverse = s.op("Pow", &[safe, power]);
        return s.op("Mul", &[top, inverse]);
    }
    let root = s.op("Sqrt", &[safe]);
    if how == Division::Div {
        return s.op("Div", &[top, root]);
    }
    let inverse = s.op("Reciprocal", &[root]);
    s.op("Mul", &[top, inverse])
}

/// How RMSNorm is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RmsNorm {
    /// The operator; a form without a scale gives it ones.
    Operator,
    /// Pow 2, ReduceMean, Add, Sqrt, Reciprocal, Mul: dynamo.
    Reciprocal,
    /// Pow 2, ReduceMean, Add, Sqrt, Div: TorchScript.
    PowDiv,
    /// The square by Mul.
    MulDiv,
    /// A product by the power -1/2.
    PowMinusHalf,
    /// A product by `1 / √…` written as Div.
    OneDiv,
}

impl RmsNorm {
    /// Every spelling.
    pub const ALL: &'static [Self] =
        &[Self::Operator, Self::Reciprocal, Self::PowDiv, Self::MulDiv, Self::PowMinusHalf, Self::OneDiv];
}

/// RMSNorm over the last axis; no form has a shift.
pub fn rms_norm(s: &mut Sketch, x: &Flow, spelling: RmsNorm, form: Affine) -> Flow {
    let parameters = Parameters::draw(s, x.width(), form, false);
    if spelling == RmsNorm::Operator {
        let operands = parameters.operands(s, x);
        let attrs = Attrs::new().with("axis", -1).with("epsilon", EPSILON);
        let value = s.op_with("RMSNormalization", &operands, attrs);
        return x.with(value);
    }
    let square = if spelling == RmsNorm::MulDiv {
        s.op("Mul", &[x.value, x.value])
    } else {
        let two = s.scalar(2.0);
        s.op("Pow", &[x.value, two])
    };
    let mean = s.reduce("ReduceMean", square, &[-1], true);
    let normal = match spelling {
        RmsNorm::PowDiv | RmsNorm::MulDiv => divide(s, x.value, mean, Division::Div),
        RmsNorm::PowMinusHalf => divide(s, x.value, mean, Division::PowMinusHalf),
        RmsNorm::OneDiv => {
            let one = s.scalar(1.0);
            let inverse = divide(s, one, mean, Division::Div);
            s.op("Mul", &[x.value, inverse])
        }
        _ => divide(s, x.value, mean, Division::Reciprocal),
    };
    let value = parameters.apply(s, normal);
    x.with(value)
}
