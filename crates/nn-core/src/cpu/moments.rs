//! Mean and variance in one reading of memory, and sums of several functions at once.

use super::Element;
use super::vector::{self, LANES, PIECE, join};

/// Elements that are read twice while they are in the first-level cache.
const STRETCH: usize = 4096;

/// How many numbers there are, their mean, and the sum of the squares of their distances from it.
///
/// Stretches of [`STRETCH`] numbers are measured around their own mean and joined in `f64`: a mean that is large beside
/// the spread costs no accuracy.
///
/// Source: Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: f64,
    pub(crate) mean: f64,
    pub(crate) squares: f64,
}

impl Moments {
    pub(crate) const NONE: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    #[inline(always)]
    pub(crate) fn of<T: Element>(x: &[T]) -> Self {
        let mut all = Self::NONE;
        for x in x.chunks(STRETCH) {
            let (count, total) = (x.len() as f64, vector::sum(x, |x| x));
            // What the distances are taken from is rounded; that it is not quite the mean is made good afterwards.
            let near = T::of(total / count);
            let squares = vector::sum(
                x,
                #[inline(always)]
                |x| (x - near) * (x - near),
            );
            let mean = total / count;
            let off = mean - near.to_f64();
            all = all.join(Self { count, mean, squares: squares - count * off * off });
        }
        all
    }

    /// Those of all numbers of both.
    #[inline(always)]
    pub(crate) fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        if self.count == 0.0 || count == 0.0 {
            return other;
        }
        let (apart, part) = (other.mean - self.mean, other.count / count);
        Self {
            count,
            mean: self.mean + apart * part,
            squares: self.squares + other.squares + apart * apart * self.count * part,
        }
    }

    /// The mean of the squared distances from the mean.
    pub(crate) fn variance(self) -> f64 {
        self.squares.max(0.0) / self.count
    }
}

/// `Σ f(a, b)` for several functions of the pairs of elements of two equally long vectors, summed as by
/// [`vector::sum2`].
#[inline(always)]
pub(crate) fn sums<T: Element, const N: usize>(a: &[T], b: &[T], f: impl Fn(T, T) -> [T; N]) -> [f64; N] {
    let mut totals = [0.0; N];
    for (a, b) in a.chunks(PIECE).zip(b.chunks(PIECE)) {
        let mut lanes = [[T::ZERO; LANES]; N];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                let terms = f(a[i], b[i]);
                for n in 0..N {
                    lanes[n][i] += terms[n];
                }
            }
        }
        for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
            let terms = f(a, b);
            for n in 0..N {
                lanes[n][i] += terms[n];
            }
        }
        for n in 0..N {
            totals[n] += join(lanes[n], |a, b| a + b).to_f64();
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_mean_costs_no_accuracy() {
        // 1e4 ± 1, in f32, with a first element that is far from all others.
        let x: Vec<f32> =
            (0..100_001).map(|i| if i == 0 { -3e3 } else { 1e4 + (i % 3) as f32 - 1.0 }).collect();
        let exact: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let mean = exact.iter().sum::<f64>() / 100_001.0;
        let variance = exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 100_001.0;
        let moments = Moments::of(&x);
        assert!((moments.mean / mean - 1.0).abs() < 1e-9, "{} is not {mean}", moments.mean);
        assert!(
            (moments.variance() / variance - 1.0).abs() < 1e-5,
            "{} is not {variance}",
            moments.variance()
        );
    }

    #[test]
    fn joined_moments_are_those_of_the_whole() {
        let x: Vec<f64> = (0..9000).map(|i| ((i * 7919) % 1000) as f64).collect();
        let whole = Moments::of(&x);
        for cut in [0, 1, 17, 4096, 9000] {
            let joined = Moments::of(&x[..cut]).join(Moments::of(&x[cut..]));
            assert_eq!(joined.count, whole.count);
            assert!(
                (joined.mean - whole.mean).abs() < 1e-9
                    && (joined.squares / whole.squares - 1.0).abs() < 1e-12
            );
        }
        assert_eq!(Moments::of::<f32>(&[]), Moments::NONE);
    }

    #[test]
    fn several_sums_at_once() {
        for n in [0usize, 1, 15, 17, 1025, 3000] {
            let x: Vec<f64> = (0..n).map(|i| ((i * 7919) % 1000) as f64).collect();
            let truth = x.iter().fold([0.0; 2], |[s, t], x| [s + x, t + x * x]);
            assert_eq!(sums(&x, &x, |a, b| [a, a * b]), truth, "{n} elements");
        }
    }
}
