//! What makes no two digits alike: slant, turn, stretch, size, place, and a hand's unevenness.
//!
//! Source: Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied to visual
//! document analysis", §2 (affine and elastic distortions).
//! Differs: the field moves the strokes before they are drawn instead of resampling the image, so nothing is blurred;
//! and it is a cubic B-spline of random nodes, whose bumps are those of their smoothed noise but cheaper to make.

use nn_core::random::Draws;

use super::raster::SIDE;
use super::strokes::Point;

/// Pixels between two nodes of the field; a spline's bump is then as wide as a Gaussian of 4 pixels, as in §2.
const SPACING: f32 = 7.0;
/// Nodes along a side: those of the image and one beyond on either side.
const NODES: usize = SIDE / SPACING as usize + 3;

/// One digit's distortion.
pub(super) struct Distortion {
    /// Rows of the matrix that slants, stretches and turns.
    linear: [Point; 2],
    /// The longer side of what the strokes cover with their ink, in pixels.
    extent: f32,
    /// From the middle of the image, in pixels.
    shift: Point,
    /// How far each node moves, in pixels.
    field: [[Point; NODES]; NODES],
}

impl Distortion {
    pub(super) fn draw(draws: &mut Draws) -> Self {
        let (sin, cos) = (0.10 * draws.normal()).clamp(-0.3, 0.3).sin_cos();
        let slant = (0.18 + 0.2 * draws.normal()).clamp(-0.3, 0.65);
        let width = (0.13 * draws.normal()).clamp(-0.3, 0.3).exp();
        // Stretch, then slant to the right going up, then turn.
        let linear = [[cos * width, -cos * slant - sin], [sin * width, cos - sin * slant]];
        let strength = draws.uniform(0.8, 2.4);
        let extent = draws.uniform(18.5, 21.0);
        let shift = [draws.uniform(-1.5, 1.5), draws.uniform(-1.5, 1.5)];
        Self {
            linear: linear.map(|row| row.map(|c| c as f32)),
            extent: extent as f32,
            shift: shift.map(|c| c as f32),
            field: [(); NODES]
                .map(|()| [(); NODES].map(|()| [(); 2].map(|()| (strength * draws.normal()) as f32))),
        }
    }

    /// Brings the lines of a digit to their place on the image, with room for a pen of this radius.
    pub(super) fn apply(&self, lines: &mut [Vec<Point>], radius: f32) {
        for p in lines.iter_mut().flatten() {
            *p = self.linear.map(|row| row[0] * p[0] + row[1] * p[1]);
        }
        let ([low, high], weight) = (bounds(lines), centre_of_weight(lines));
        let scale = (self.extent - 2.0 * radius) / (high[0] - low[0]).max(high[1] - low[1]);
        for p in lines.iter_mut().flatten() {
            let [x, y] = [0, 1].map(|k| SIDE as f32 / 2.0 + self.shift[k] + scale * (p[k] - weight[k]));
            let [dx, dy] = self.displacement(x, y);
            *p = [x + dx, y + dy];
        }
        // Wherever its weight lies and however it was bent, a digit is all on the paper.
        let [low, high] = bounds(lines);
        let back = [0, 1].map(|k| 0f32.min(SIDE as f32 - radius - high[k]).max(radius - low[k]));
        lines.iter_mut().flatten().for_each(|p| *p = [p[0] + back[0], p[1] + back[1]]);
    }

    fn displacement(&self, x: f32, y: f32) -> Point {
        let [(column, wx), (row, wy)] = [x, y].map(|c| {
            let u = (c / SPACING).clamp(0.0, (NODES - 3) as f32 - 1e-3);
            (u as usize, weights(u.fract()))
        });
        let mut sum = [0.0; 2];
        for (nodes, wy) in self.field[row..].iter().zip(wy) {
            for (node, wx) in nodes[column..].iter().zip(wx) {
                sum[0] += wy * wx * node[0];
                sum[1] += wy * wx * node[1];
            }
        }
        sum
    }
}

/// The least and the greatest coordinates.
fn bounds(lines: &[Vec<Point>]) -> [Point; 2] {
    [(f32::INFINITY, f32::min as fn(f32, f32) -> f32), (f32::NEG_INFINITY, f32::max)].map(|(start, more)| {
        lines.iter().flatten().fold([start; 2], |m, p| [more(m[0], p[0]), more(m[1], p[1])])
    })
}

/// Where the ink has its centre of gravity: there MNIST has the middle of its images, too.
fn centre_of_weight(lines: &[Vec<Point>]) -> Point {
    let mut sum = [0.0; 2];
    let mut length = 0.0;
    for pair in lines.iter().flat_map(|line| line.windows(2)) {
        let [a, b] = [pair[0], pair[1]];
        let piece = (b[0] - a[0]).hypot(b[1] - a[1]);
        length += piece;
        sum = [0, 1].map(|k| sum[k] + piece * (a[k] + b[k]) / 2.0);
    }
    sum.map(|c| c / length)
}

/// What each of the four nodes around a place counts, `t` of the way from the second to the third.
fn weights(t: f32) -> [f32; 4] {
    let s = 1.0 - t;
    let inner = |t: f32| 4.0 - 3.0 * t * t * (2.0 - t);
    [s * s * s, inner(t), inner(s), t * t * t].map(|w| w / 6.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Distortion = Distortion {
        linear: [[1.0, 0.0], [0.0, 1.0]],
        extent: 20.0,
        shift: [0.0, 0.0],
        field: [[[0.0; 2]; NODES]; NODES],
    };

    #[test]
    fn a_digit_is_scaled_to_its_extent_around_its_weight() {
        // An upside-down T: 100 high, and three quarters of the way from the top as much below as above.
        let mut lines = vec![vec![[50.0, 0.0], [50.0, 100.0]], vec![[0.0, 100.0], [100.0, 100.0]]];
        STILL.apply(&mut lines, 2.0);
        let expected = [[[14.0, 2.0], [14.0, 18.0]], [[6.0, 18.0], [22.0, 18.0]]];
        for (p, q) in lines.iter().flatten().zip(expected.iter().flatten()) {
            assert!((p[0] - q[0]).abs() < 1e-4 && (p[1] - q[1]).abs() < 1e-4, "{lines:?}");
        }
        // Turned to the right and moved, but not off the paper.
        let shifted = Distortion { shift: [5.0, -2.0], linear: [[0.0, -1.0], [1.0, 0.0]], ..STILL };
        let mut line = vec![vec![[0.0, 0.0], [0.0, 10.0]]];
        shifted.apply(&mut line, 1.0);
        assert_eq!(line, [[[27.0, 12.0], [9.0, 12.0]]]);
    }

    #[test]
    fn the_field_is_smooth_and_its_weights_are_a_partition() {
        for t in [0.0, 0.25, 0.5, 0.9, 1.0] {
            assert!((weights(t).iter().sum::<f32>() - 1.0).abs() < 1e-6, "{t}");
        }
        // All nodes alike move everything alike, up to the border and beyond.
        let all = Distortion { field: [[[1.5, -0.5]; NODES]; NODES], ..STILL };
        for place in [[0.0, 0.0], [13.3, 27.9], [-4.0, 31.0]] {
            let [dx, dy] = all.displacement(place[0], place[1]);
            assert!((dx - 1.5).abs() < 1e-5 && (dy + 0.5).abs() < 1e-5, "{place:?}: {dx}, {dy}");
        }
        let random = Distortion::draw(&mut nn_core::Random::new(2).draws());
        for i in 0..280 {
            let x = i as f32 / 10.0;
            let ([a, _], [b, _]) = (random.displacement(x, 9.0), random.displacement(x + 0.1, 9.0));
            assert!((a - b).abs() < 0.15, "a jump of {} at {x}", a - b);
        }
    }
}
