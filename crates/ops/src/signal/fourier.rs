//! The discrete Fourier transform of one complex sequence of any length, in f64.
//!
//! Splits off prime factors one by one, so that lengths of small factors take n log n steps; a large prime takes n².

/// A complex number.
pub(super) type Complex = (f64, f64);

/// `Σ x[n] e^(∓2πi kn/N)`: minus forwards, plus for the inverse, which is not divided by N here.
pub(super) fn transform(x: &[Complex], inverse: bool) -> Vec<Complex> {
    let count = x.len();
    let sign = if inverse { 1.0 } else { -1.0 };
    let root = |k: usize| {
        let (sin, cos) = (std::f64::consts::TAU * k as f64 / count as f64).sin_cos();
        (cos, sign * sin)
    };
    let roots: Vec<Complex> = (0..count).map(root).collect();
    recurse(x, 0, 1, count, &roots)
}

/// Transform of `count` elements from `offset` in steps of `stride`; `roots` are those of the whole sequence, whose
/// length is `count * stride`.
fn recurse(x: &[Complex], offset: usize, stride: usize, count: usize, roots: &[Complex]) -> Vec<Complex> {
    if count <= 1 {
        return x.get(offset).copied().into_iter().take(count).collect();
    }
    let factor = smallest_factor(count);
    let rest = count / factor;
    let parts: Vec<Vec<Complex>> =
        (0..factor).map(|part| recurse(x, offset + part * stride, stride * factor, rest, roots)).collect();
    let bin = |k: usize| {
        let term = |(part, values): (usize, &Vec<Complex>)| {
            times(values[k % rest], roots[part * k % count * stride])
        };
        parts.iter().enumerate().map(term).fold((0.0, 0.0), |sum, term| (sum.0 + term.0, sum.1 + term.1))
    };
    (0..count).map(bin).collect()
}

fn smallest_factor(count: usize) -> usize {
    (2..)
        .take_while(|factor| factor * factor <= count)
        .find(|factor| count.is_multiple_of(*factor))
        .unwrap_or(count)
}

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_for_every_length() {
        for count in 0..40usize {
            let x: Vec<Complex> =
                (0..count).map(|n| ((n as f64 * 1.3).sin(), (n as f64 * 0.4).cos())).collect();
            for inverse in [false, true] {
                let sign = if inverse { 1.0 } else { -1.0 };
                for (k, found) in transform(&x, inverse).into_iter().enumerate() {
                    let mut sum = (0.0, 0.0);
                    for (n, x) in x.iter().enumerate() {
                        let angle = sign * std::f64::consts::TAU * (k * n) as f64 / count as f64;
                        let term = times(*x, (angle.cos(), angle.sin()));
                        sum = (sum.0 + term.0, sum.1 + term.1);
                    }
                    assert!(
                        (found.0 - sum.0).abs() < 1e-10 && (found.1 - sum.1).abs() < 1e-10,
                        "{count} {k}"
                    );
                }
            }
        }
    }
}
