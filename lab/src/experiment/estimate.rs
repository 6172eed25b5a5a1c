//! Means over seeds, and how far they can be trusted.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean with its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the interval, by Student's t distribution; `None` for a single value.
    pub half_width: Option<f64>,
    /// Number of values.
    pub values: usize,
}

impl Estimate {
    /// The mean of `values`; `None` when there are none.
    #[must_use]
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let (&first, n) = (values.first()?, count(values.len()));
        let mean = values.iter().sum::<f64>() / n;
        if values.len() < 2 {
            return Some(Self { mean: first, half_width: None, values: 1 });
        }
        if values.iter().all(|value| *value == first) {
            // Sums of equal values need not be exact.
            return Some(Self { mean: first, half_width: Some(0.0), values: values.len() });
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (n - 1.0) / n).sqrt();
        let half_width =
            StudentsT::new(0.0, 1.0, n - 1.0).ok().map(|t| t.inverse_cdf(0.975) * error);
        Some(Self { mean, half_width, values: values.len() })
    }

    /// Whether the interval leaves zero out; a single value counts as it stands.
    #[must_use]
    pub fn is_not_zero(&self) -> bool {
        self.mean.abs() > self.half_width.unwrap_or(0.0)
    }
}

/// A number of values as a float.
fn count(values: usize) -> f64 {
    u32::try_from(values).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_students_t() {
        let estimate = Estimate::of([1.0, 2.0, 3.0, 4.0].into_iter()).unwrap();
        assert!((estimate.mean - 2.5).abs() < 1e-12);
        // t(0.975, 3) = 3.182446; s = 1.290994; s / 2 = 0.645497.
        assert!((estimate.half_width.unwrap() - 2.054_26).abs() < 1e-4);
        assert!(estimate.is_not_zero());
        let wide = Estimate::of([-1.0, 2.0].into_iter()).unwrap();
        // t(0.975, 1) = 12.7062; s / sqrt(2) = 1.5.
        assert!((wide.half_width.unwrap() - 19.059_3).abs() < 1e-3);
        assert!(!wide.is_not_zero());
    }

    #[test]
    fn few_and_equal_values() {
        assert_eq!(Estimate::of(core::iter::empty()), None);
        let one = Estimate::of([0.1].into_iter()).unwrap();
        assert_eq!((one.mean, one.half_width), (0.1, None));
        let equal = Estimate::of([0.1; 7].into_iter()).unwrap();
        assert_eq!((equal.mean, equal.half_width, equal.values), (0.1, Some(0.0), 7));
        assert!(!Estimate::of([0.0; 3].into_iter()).unwrap().is_not_zero());
    }
}
