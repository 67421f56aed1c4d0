//! A curve that fits into memory and onto a screen however long it becomes.

/// Points from left to right. When there are too many, each two become their mean.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
    /// How many values a point is the mean of.
    each: u32,
    /// What the next point consists of so far.
    sum: (f64, f64),
    taken: u32,
}

/// More than a terminal has columns of dots.
const MOST: usize = 512;

impl Default for Curve {
    fn default() -> Self {
        Self { points: Vec::new(), each: 1, sum: (0.0, 0.0), taken: 0 }
    }
}

impl Curve {
    /// Adds a value at `x`, further right than those before; what is no number has no place.
    pub(super) fn add(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        self.sum = (self.sum.0 + x, self.sum.1 + y);
        self.taken += 1;
        if self.taken < self.each {
            return;
        }
        let n = f64::from(self.taken);
        self.points.push((self.sum.0 / n, self.sum.1 / n));
        (self.sum, self.taken) = ((0.0, 0.0), 0);
        if self.points.len() == MOST {
            let mean = |pair: &[(f64, f64)]| ((pair[0].0 + pair[1].0) / 2.0, (pair[0].1 + pair[1].1) / 2.0);
            self.points = self.points.chunks_exact(2).map(mean).collect();
            self.each *= 2;
        }
    }

    pub(super) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_keeps_its_shape_and_not_its_points() {
        let mut curve = Curve::default();
        (0..10_000).for_each(|n| curve.add(f64::from(n), f64::from(n) * 2.0));
        curve.add(10_000.0, f64::NAN);
        assert!((MOST / 2..MOST).contains(&curve.points().len()), "{}", curve.points().len());
        assert!(curve.points().iter().all(|&(x, y)| (y - 2.0 * x).abs() < 1e-9));
        assert!(curve.points().is_sorted_by(|a, b| a.0 < b.0));
    }
}
