//! A pen on paper of 28×28 pixels.

use nn_core::random::Draws;

use super::strokes::Point;

/// Height and width, in pixels.
pub(super) const SIDE: usize = 28;

/// What a digit is drawn with.
pub(super) struct Pen {
    /// Half the width of a line, in pixels.
    pub(super) radius: f32,
    /// The share of it that comes and goes along a line: a hand presses now more, now less.
    pressure: f32,
    /// How fast, in radians per pixel, and where it begins, in radians.
    wave: [f32; 2],
}

impl Pen {
    pub(super) fn draw(draws: &mut Draws) -> Self {
        let radius = (0.22 * draws.normal()).exp() * 1.2;
        Self {
            radius: radius.clamp(0.7, 1.8) as f32,
            pressure: draws.uniform(0.0, 0.25) as f32,
            wave: [draws.uniform(0.1, 0.5), draws.uniform(0.0, 6.3)].map(|c| c as f32),
        }
    }
}

/// How much ink each pixel has, row by row: 0 none, 1 all it can hold.
pub(super) struct Canvas {
    pub(super) ink: [f32; SIDE * SIDE],
}

impl Canvas {
    pub(super) fn new() -> Self {
        Self { ink: [0.0; SIDE * SIDE] }
    }

    /// Draws a line of straight pieces with round ends, smooth at its edges.
    pub(super) fn stroke(&mut self, line: &[Point], pen: &Pen) {
        let mut way = pen.wave[1];
        for pair in line.windows(2) {
            let [a, b] = [pair[0], pair[1]];
            way += pen.wave[0] * (b[0] - a[0]).hypot(b[1] - a[1]);
            self.piece(a, b, pen.radius * (1.0 + pen.pressure * way.sin()));
        }
    }

    fn piece(&mut self, a: Point, b: Point, radius: f32) {
        let d = [b[0] - a[0], b[1] - a[1]];
        let per_length = 1.0 / (d[0] * d[0] + d[1] * d[1]).max(1e-12);
        // A pixel's centre this far away has no ink left.
        let reach = radius + 0.5;
        let [columns, rows] = [0, 1].map(|k| {
            let (low, high) = (a[k].min(b[k]) - reach, a[k].max(b[k]) + reach);
            // Casts from negative numbers give 0.
            (low - 0.5).ceil() as usize..((high + 0.5).floor() as usize).min(SIDE)
        });
        for row in rows {
            for column in columns.clone() {
                let p = [column as f32 + 0.5 - a[0], row as f32 + 0.5 - a[1]];
                let t = ((p[0] * d[0] + p[1] * d[1]) * per_length).clamp(0.0, 1.0);
                let (x, y) = (p[0] - t * d[0], p[1] - t * d[1]);
                let ink = (reach - (x * x + y * y).sqrt()).clamp(0.0, 1.0);
                let at = &mut self.ink[row * SIDE + column];
                *at = at.max(ink);
            }
        }
    }

    /// Gives each of a pixel's two neighbours the share `side` of its ink, along rows, then along columns.
    pub(super) fn blur(&mut self, side: f32) {
        for (line, step) in [(SIDE, 1), (1, SIDE)] {
            for start in (0..SIDE).map(|i| i * line) {
                let mut before = 0.0;
                for i in 0..SIDE {
                    let at = start + i * step;
                    let after = if i + 1 < SIDE { self.ink[at + step] } else { 0.0 };
                    let here = self.ink[at];
                    self.ink[at] = (1.0 - 2.0 * side) * here + side * (before + after);
                    before = here;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pen(radius: f32) -> Pen {
        Pen { radius, pressure: 0.0, wave: [0.0, 0.0] }
    }

    #[test]
    fn a_line_covers_what_it_crosses() {
        let mut canvas = Canvas::new();
        // Along the middle of row 10, two and a half pixels wide: one row whole, the next a quarter under the edge.
        canvas.stroke(&[[5.0, 10.5], [12.0, 10.5], [20.0, 10.5]], &pen(1.25));
        let column = |x: usize| [8, 9, 10, 11, 12].map(|y| canvas.ink[y * SIDE + x]);
        assert_eq!(column(12), [0.0, 0.75, 1.0, 0.75, 0.0]);
        assert_eq!(column(5), column(12));
        assert_eq!(column(2), [0.0; 5]);
        assert_eq!(column(22), [0.0; 5]);
        // Pieces overlap without adding up.
        assert!(canvas.ink.iter().all(|&ink| ink <= 1.0));
    }

    #[test]
    fn ink_beyond_the_paper_is_lost() {
        let mut canvas = Canvas::new();
        canvas.stroke(&[[-50.0, -50.0], [-10.0, 14.0], [80.0, 14.0], [80.0, 90.0]], &pen(1.0));
        assert_eq!(canvas.ink[14 * SIDE], 1.0);
        assert_eq!(canvas.ink[14 * SIDE + SIDE - 1], 1.0);
        assert_eq!(canvas.ink.iter().filter(|&&ink| ink > 0.0).count(), 2 * SIDE);
    }

    #[test]
    fn blur_spreads_ink_and_keeps_it() {
        let mut canvas = Canvas::new();
        canvas.ink[3 * SIDE + 7] = 1.0;
        canvas.blur(0.25);
        let square = [2, 3, 4].map(|y| [6, 7, 8].map(|x| canvas.ink[y * SIDE + x]));
        assert_eq!(square, [[0.0625, 0.125, 0.0625], [0.125, 0.25, 0.125], [0.0625, 0.125, 0.0625]]);
        assert_eq!(canvas.ink.iter().sum::<f32>(), 1.0);
    }
}
