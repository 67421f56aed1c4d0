//! Sums in a fixed order, in as many parts as a vector register holds: faster than one after the other, and more exact.

use super::Element;
use super::simd::vectorised;

/// Partial sums side by side.
const LANES: usize = 32;

/// `Σ x`
pub(crate) fn sum<T: Element>(x: &[T]) -> T {
    vectorised(|| {
        let mut parts = [T::ZERO; LANES];
        let chunks = x.chunks_exact(LANES);
        let rest: T = chunks.remainder().iter().copied().sum();
        for chunk in chunks {
            for (part, &x) in parts.iter_mut().zip(chunk) {
                *part += x;
            }
        }
        parts.into_iter().sum::<T>() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_length_are_right() {
        for n in [0usize, 1, 31, 32, 33, 100] {
            let x: Vec<f64> = (0..n).map(|i| i as f64).collect();
            assert_eq!(sum(&x), (n * n.saturating_sub(1) / 2) as f64);
        }
    }
}
