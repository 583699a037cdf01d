//! Quantities as people read them: three or four significant digits and a unit.

use std::time::Duration;

/// `value` with about three significant digits, no exponent between 1e-3 and 1e6.
pub fn plain(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !value.is_finite() {
        value.to_string()
    } else if !(1e-3..1e6).contains(&magnitude) {
        format!("{value:.2e}")
    } else {
        let decimals = match magnitude {
            m if m >= 100.0 => 0,
            m if m >= 10.0 => 1,
            m if m >= 1.0 => 2,
            _ => 4,
        };
        format!("{value:.decimals$}")
    }
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    // 999.5 would be written as 1000.
    while value.abs() >= base - 0.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let text = if unit == 0 { format!("{value:.0}") } else { plain(value) };
    if units[unit].is_empty() { text } else { format!("{text} {}", units[unit]) }
}

/// A count with a metric suffix: `412`, `3.04 M`.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// Bytes in binary units: `412 B`, `3.04 MiB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Floating-point operations: `3.04 GFLOP`.
pub fn flops(value: f64) -> String {
    scaled(value, 1000.0, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"])
}

/// Floating-point operations per second, given in units of 10⁹: `812 GFLOP/s`.
pub fn gflops(value: f64) -> String {
    format!("{} GFLOP/s", plain(value))
}

/// A duration: `12.3 µs`, `4.56 ms`, `1.23 s`.
pub fn time(duration: Duration) -> String {
    seconds(duration.as_secs_f64())
}

/// Seconds: `12.3 µs`, `4.56 ms`, `1.23 s`.
pub fn seconds(value: f64) -> String {
    let (factor, unit) = match value.abs() {
        v if v >= 0.9995 => (1.0, "s"),
        v if v >= 0.9995e-3 => (1e3, "ms"),
        _ => (1e6, "µs"),
    };
    format!("{} {unit}", plain(value * factor))
}

/// A share of one: `73.1%`.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// The change from `before` to `after` in percent of `before`: `-63%`, `-0.4%`; empty when there is none.
pub fn change(before: f64, after: f64) -> String {
    let percent = (after / before - 1.0) * 100.0;
    match percent.abs() {
        _ if before == after || before == 0.0 => String::new(),
        p if p < 0.05 => "~0%".into(),
        p if p < 9.95 => format!("{percent:+.1}%"),
        _ => format!("{percent:+.0}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_keep_their_significant_digits() {
        assert_eq!(count(412.0), "412");
        assert_eq!(count(3_043_000.0), "3.04 M");
        assert_eq!(bytes(1023.0), "1023 B");
        assert_eq!(bytes(425.0 * 1024.0 * 1024.0), "425 MiB");
        assert_eq!(flops(22.5e9), "22.5 GFLOP");
        assert_eq!(flops(5.0), "5 FLOP");
        assert_eq!(seconds(0.01234), "12.3 ms");
        assert_eq!(seconds(4.2e-6), "4.20 µs");
        assert_eq!(time(Duration::from_secs(2)), "2.00 s");
        assert_eq!(plain(1.5e-9), "1.50e-9");
        assert_eq!(change(200.0, 74.0), "-63%");
        assert_eq!((change(3.0, 3.0), change(1000.0, 999.9)), (String::new(), "~0%".into()));
        assert_eq!(change(1000.0, 1012.0), "+1.2%");
    }
}
