//! Samples condensed to the figures that a report gives.

use serde::Serialize;

/// Order statistics of some samples, in the samples' unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of samples.
    pub runs: usize,
    /// Middle one; the mean of the two middle ones when their number is even.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// 95th percentile, interpolated between the neighbouring samples.
    pub p95: f64,
    /// Arithmetic mean.
    pub mean: f64,
}

impl Summary {
    /// Condenses samples; `None` when there is none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (first, runs) = (*sorted.first()?, sorted.len());
        let mean = sorted.iter().sum::<f64>() / runs as f64;
        let at = |share: f64| {
            let position = share * (runs - 1) as f64;
            let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
            low + (high - low) * position.fract()
        };
        Some(Self { runs, median: at(0.5), min: first, p95: at(0.95), mean })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        let samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let summary = Summary::of(&samples).unwrap();
        assert_eq!((summary.min, summary.median, summary.p95), (0.0, 50.0, 95.0));
        assert_eq!(Summary::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert!(Summary::of(&[]).is_none());
    }
}
