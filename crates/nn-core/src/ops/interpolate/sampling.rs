//! The weights of each way of interpolating, along one axis.

use super::{Interpolation, Sampling};
use crate::cpu::resample::Taps;

/// Keys' parameter: the slope of the cubic at a distance of one pixel. PyTorch takes OpenCV's, and Pillow's if it is to
/// match Pillow.
const PLAIN: f64 = -0.75;
const ANTIALIASED: f64 = -0.5;

impl Interpolation {
    /// What each of `outputs` pixels takes of `inputs` along an axis.
    pub(super) fn taps(self, inputs: usize, outputs: usize) -> Taps {
        let axis = Axis { inputs, outputs };
        match self {
            Self::Nearest => axis.picks(0.0),
            Self::NearestExact => axis.picks(0.5),
            Self::Bilinear(Sampling::Antialiased) => axis.antialiased(1.0, |t| (1.0 - t.abs()).max(0.0)),
            Self::Bicubic(Sampling::Antialiased) => axis.antialiased(2.0, |t| cubic(ANTIALIASED, t)),
            Self::Bilinear(sampling) => axis.taps(|i| {
                let (first, t) = split(axis.position(sampling, i));
                axis.inside(first, &[1.0 - t, t])
            }),
            Self::Bicubic(sampling) => axis.taps(|i| {
                let (first, t) = split(axis.position(sampling, i));
                axis.inside(first - 1, &[t + 1.0, t, 1.0 - t, 2.0 - t].map(|t| cubic(PLAIN, t)))
            }),
        }
    }
}

/// Keys' cubic convolution kernel at a distance of `t` pixels.
fn cubic(a: f64, t: f64) -> f64 {
    match t.abs() {
        t if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
        t if t < 2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
        _ => 0.0,
    }
}

/// The pixel at or before a position, and how far behind it the position is.
fn split(position: f64) -> (isize, f64) {
    let before = position.floor();
    (before as isize, position - before)
}

#[derive(Clone, Copy)]
struct Axis {
    inputs: usize,
    outputs: usize,
}

impl Axis {
    fn taps(self, f: impl FnMut(usize) -> (usize, Vec<f64>)) -> Taps {
        Taps::new(self.inputs, (0..self.outputs).map(f))
    }

    /// Inputs for one output.
    fn scale(self) -> f64 {
        self.inputs as f64 / self.outputs as f64
    }

    /// One pixel each, `⌊(i + shift) · N / n⌋`.
    fn picks(self, shift: f32) -> Taps {
        let scale = self.inputs as f32 / self.outputs as f32;
        self.taps(|i| ((((i as f32 + shift) * scale) as usize).min(self.inputs - 1), vec![1.0]))
    }

    /// Where output `i` lies, in pixels of the input.
    fn position(self, sampling: Sampling, i: usize) -> f64 {
        match sampling {
            Sampling::Corners if self.outputs == 1 => 0.0,
            Sampling::Corners => i as f64 * ((self.inputs - 1) as f64 / (self.outputs - 1) as f64),
            Sampling::Centers | Sampling::Antialiased => (i as f64 + 0.5) * self.scale() - 0.5,
        }
    }

    /// The taps from pixel `first` on; those beyond the border fall on the border.
    fn inside(self, first: isize, weights: &[f64]) -> (usize, Vec<f64>) {
        let clamp = |pixel: isize| pixel.clamp(0, self.inputs as isize - 1) as usize;
        let (start, end) = (clamp(first), clamp(first + weights.len() as isize - 1));
        let mut sums = vec![0.0; end + 1 - start];
        for (pixel, weight) in (first..).zip(weights) {
            sums[clamp(pixel) - start] += weight;
        }
        (start, sums)
    }

    /// A kernel of `radius` pixels, those of the output if they are the larger ones.
    fn antialiased(self, radius: f64, kernel: impl Fn(f64) -> f64) -> Taps {
        let pixel = self.scale().max(1.0);
        self.taps(|i| {
            let center = (i as f64 + 0.5) * self.scale();
            let start = (center - radius * pixel + 0.5).max(0.0) as usize;
            let end = ((center + radius * pixel + 0.5) as usize).min(self.inputs);
            let weights: Vec<f64> = (start..end).map(|p| kernel((p as f64 - center + 0.5) / pixel)).collect();
            let total: f64 = weights.iter().sum();
            (start, weights.into_iter().map(|weight| weight / total).collect())
        })
    }
}
