//! How the ten digits are written: the ways that hands have, as points which the pen passes.

use nn_core::random::Draws;

/// A point or a distance, `[x, y]`, y downwards.
pub(super) type Point = [f32; 2];

/// Strokes, each the points that the pen passes without being lifted. A digit is about 100 high and its middle at
/// about (50, 50). A point given twice is a corner; anywhere else the line is smooth.
pub(super) type Glyph = &'static [&'static [[i8; 2]]];

/// The ways to write each digit, equally likely.
pub(super) const GLYPHS: [&[Glyph]; 10] = [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

#[rustfmt::skip]
const ZERO: &[Glyph] = &[
    &[&[[56, 3], [32, 12], [20, 40], [23, 74], [44, 98], [67, 90], [79, 60], [75, 24], [56, 4], [44, 6]]],
    &[&[[62, 3], [42, 16], [30, 52], [34, 88], [50, 97], [65, 74], [71, 36], [62, 6], [52, 7]]],
    &[&[[50, 8], [24, 18], [11, 48], [22, 80], [50, 93], [78, 80], [90, 50], [78, 20], [52, 8], [42, 10]]],
    &[&[[46, 8], [28, 26], [22, 60], [38, 94], [62, 92], [77, 62], [73, 26], [56, 7], [38, 15]]],
    &[&[[70, 14], [52, 4], [34, 18], [25, 50], [33, 86], [52, 96], [70, 80], [77, 46], [68, 16], [54, 10]]],
    &[&[[48, 10], [30, 20], [20, 52], [34, 90], [58, 94], [78, 66], [74, 26], [54, 8], [37, 12], [45, 23]]],
];

#[rustfmt::skip]
const ONE: &[Glyph] = &[
    &[&[[50, 2], [50, 35], [50, 68], [50, 98]]],
    &[&[[58, 2], [53, 35], [48, 68], [44, 98]]],
    &[&[[32, 24], [44, 15], [54, 3], [54, 3], [53, 50], [52, 98]]],
    &[&[[30, 26], [42, 18], [53, 4], [53, 4], [52, 50], [51, 96]], &[[28, 97], [50, 96], [76, 96]]],
    &[&[[38, 16], [54, 3], [54, 3], [51, 50], [50, 97]]],
];

#[rustfmt::skip]
const TWO: &[Glyph] = &[
    &[&[[22, 25], [34, 8], [54, 3], [72, 14], [72, 36], [54, 62], [24, 94], [24, 94], [50, 93], [82, 94]]],
    &[&[[24, 22], [40, 4], [64, 6], [74, 26], [62, 52], [40, 80], [22, 95], [13, 86], [24, 76], [44, 84], [66, 95], [88, 88]]],
    &[&[[36, 28], [25, 20], [36, 6], [60, 4], [74, 20], [66, 46], [44, 74], [22, 96], [22, 96], [46, 90], [66, 94], [86, 88]]],
    &[&[[18, 16], [46, 5], [70, 10], [74, 28], [58, 56], [24, 92], [24, 92], [54, 91], [88, 92]]],
    &[&[[26, 30], [36, 10], [56, 4], [70, 20], [62, 46], [42, 72], [26, 90], [20, 82], [34, 78], [54, 88], [80, 96]]],
    &[&[[20, 28], [36, 14], [58, 16], [60, 34], [44, 56], [18, 82], [18, 82], [50, 80], [96, 80]]],
    &[&[[22, 12], [50, 4], [66, 16], [56, 42], [26, 84], [14, 96], [32, 91], [60, 90], [90, 92]]],
];

#[rustfmt::skip]
const THREE: &[Glyph] = &[
    &[&[[24, 12], [44, 3], [68, 8], [72, 26], [58, 41], [42, 47], [42, 47], [64, 52], [77, 70], [66, 92], [42, 98], [20, 88]]],
    &[&[[22, 6], [50, 6], [76, 6], [76, 6], [58, 24], [44, 40], [44, 40], [66, 46], [78, 66], [68, 90], [42, 98], [20, 88]]],
    &[&[[22, 16], [44, 3], [66, 10], [66, 30], [48, 46], [38, 49], [42, 43], [54, 47], [73, 58], [74, 80], [54, 97], [26, 94], [17, 84]]],
    &[&[[26, 16], [48, 4], [68, 16], [61, 38], [48, 47], [62, 54], [75, 74], [56, 96], [24, 90]]],
    &[&[[28, 8], [52, 4], [70, 16], [62, 36], [44, 46], [44, 46], [66, 54], [68, 78], [50, 94], [28, 100]]],
];

#[rustfmt::skip]
const FOUR: &[Glyph] = &[
    &[&[[30, 4], [25, 30], [20, 55], [20, 55], [50, 54], [86, 50]], &[[70, 6], [66, 50], [62, 98]]],
    &[&[[64, 3], [40, 32], [15, 62], [15, 62], [50, 62], [88, 60]], &[[64, 3], [64, 50], [64, 98]]],
    &[&[[22, 4], [19, 32], [30, 51], [52, 51], [72, 42]], &[[76, 4], [71, 50], [66, 98]]],
    &[&[[66, 98], [68, 50], [70, 3], [70, 3], [44, 30], [20, 60], [20, 60], [52, 60], [88, 56]]],
    &[&[[36, 8], [24, 38], [16, 60], [16, 60], [48, 57], [82, 52]], &[[66, 26], [60, 62], [55, 98]]],
    &[&[[40, 4], [26, 28], [12, 52], [12, 52], [44, 52], [80, 46]], &[[74, 8], [62, 50], [48, 98]]],
];

#[rustfmt::skip]
const FIVE: &[Glyph] = &[
    &[&[[30, 6], [27, 26], [24, 46], [24, 46], [44, 38], [68, 46], [76, 68], [62, 92], [38, 98], [18, 88]], &[[30, 6], [54, 5], [80, 3]]],
    &[&[[80, 6], [54, 6], [34, 8], [34, 8], [30, 28], [27, 46], [27, 46], [48, 40], [70, 52], [72, 78], [52, 96], [22, 92]]],
    &[&[[76, 8], [50, 4], [31, 14], [29, 36], [48, 46], [68, 58], [70, 82], [48, 98], [20, 90]]],
    &[&[[34, 14], [30, 32], [28, 48], [28, 48], [52, 44], [72, 60], [66, 88], [42, 98], [22, 88]], &[[38, 12], [62, 8], [88, 3]]],
    &[&[[36, 20], [28, 46], [28, 46], [50, 44], [60, 62], [50, 84], [18, 92]], &[[36, 20], [66, 12], [98, 4]]],
];

#[rustfmt::skip]
const SIX: &[Glyph] = &[
    &[&[[68, 4], [44, 22], [27, 52], [24, 80], [42, 97], [66, 90], [74, 70], [60, 55], [40, 60], [27, 78]]],
    &[&[[60, 2], [42, 30], [29, 62], [30, 88], [50, 98], [70, 86], [70, 66], [52, 56], [35, 66], [29, 82]]],
    &[&[[74, 14], [58, 4], [38, 18], [25, 50], [26, 82], [48, 97], [72, 86], [76, 62], [58, 48], [37, 56], [26, 74]]],
    &[&[[56, 2], [40, 36], [29, 70], [36, 94], [56, 96], [67, 80], [55, 67], [38, 73], [30, 86]]],
];

#[rustfmt::skip]
const SEVEN: &[Glyph] = &[
    &[&[[20, 8], [48, 8], [78, 6], [78, 6], [62, 38], [48, 70], [40, 98]]],
    &[&[[20, 8], [48, 8], [80, 6], [80, 6], [64, 38], [50, 70], [42, 98]], &[[34, 54], [56, 51], [80, 49]]],
    &[&[[18, 14], [44, 9], [76, 8], [76, 8], [58, 34], [48, 64], [46, 98]]],
    &[&[[22, 26], [22, 9], [22, 9], [50, 8], [80, 6], [80, 6], [64, 40], [54, 70], [50, 98]]],
    &[&[[18, 12], [44, 6], [68, 7], [74, 18], [60, 46], [46, 74], [38, 98]]],
    &[&[[12, 16], [40, 10], [84, 6], [84, 6], [60, 46], [44, 96]]],
];

#[rustfmt::skip]
const EIGHT: &[Glyph] = &[
    &[&[[69, 13], [50, 3], [31, 14], [35, 34], [54, 48], [72, 68], [66, 92], [46, 98], [27, 86], [32, 64], [52, 47], [69, 30], [67, 12], [52, 4]]],
    &[&[[50, 3], [33, 12], [33, 34], [50, 46], [67, 34], [67, 12], [52, 3], [44, 4]], &[[50, 46], [29, 58], [27, 84], [50, 97], [73, 84], [71, 58], [52, 46], [44, 48]]],
    &[&[[76, 10], [50, 5], [33, 19], [44, 40], [65, 60], [70, 84], [48, 98], [28, 84], [38, 62], [58, 42], [74, 22]]],
    &[&[[64, 8], [47, 4], [36, 20], [46, 42], [60, 64], [56, 90], [40, 96], [31, 80], [40, 58], [58, 38], [67, 18], [58, 5]]],
    &[&[[76, 8], [56, 4], [42, 18], [52, 40], [60, 70], [42, 96], [26, 90], [30, 72], [52, 50], [74, 28], [77, 9]]],
];

#[rustfmt::skip]
const NINE: &[Glyph] = &[
    &[&[[72, 20], [53, 5], [31, 13], [26, 35], [44, 48], [65, 38], [73, 18], [73, 18], [70, 56], [66, 98]]],
    &[&[[72, 18], [50, 4], [30, 16], [28, 38], [48, 46], [68, 34], [73, 16], [73, 16], [75, 50], [67, 84], [46, 97], [26, 88]]],
    &[&[[70, 26], [60, 7], [38, 6], [26, 24], [34, 44], [54, 45], [69, 28], [72, 12], [70, 50], [60, 98]]],
    &[&[[68, 16], [48, 4], [31, 18], [36, 38], [57, 35], [69, 16], [69, 16], [60, 54], [48, 98]]],
    &[&[[70, 10], [46, 10], [28, 30], [36, 46], [58, 40], [74, 12], [74, 12], [66, 56], [62, 98]]],
];

/// The strokes of a glyph as lines of short pieces, every point of the table a little beside its place.
pub(super) fn trace(glyph: Glyph, draws: &mut Draws) -> Vec<Vec<Point>> {
    /// How far a hand misses, in hundredths of the digit's height.
    const TREMOR: f64 = 2.2;
    let mut stray = |at: [i8; 2]| at.map(|c| f32::from(c) + (TREMOR * draws.normal()) as f32);
    let strokes = glyph.iter().map(|&stroke| {
        let mut line = Vec::new();
        let mut smooth: Vec<Point> = Vec::new();
        for (i, &point) in stroke.iter().enumerate() {
            match smooth.last() {
                Some(&corner) if stroke[i - 1] == point => {
                    spline(&smooth, &mut line);
                    smooth = vec![corner];
                }
                _ => smooth.push(stray(point)),
            }
        }
        spline(&smooth, &mut line);
        line
    });
    strokes.collect()
}

/// Appends a curve through all the points: Catmull and Rom's spline, as if they went on at both ends.
fn spline(points: &[Point], line: &mut Vec<Point>) {
    /// Pieces between two points: about a pixel each.
    const PIECES: usize = 5;
    let ([first, second, ..], [.., before, last]) = (points, points) else { return };
    let padded: Vec<Point> = [mirrored(*second, *first)]
        .iter()
        .chain(points)
        .chain(&[mirrored(*before, *last)])
        .copied()
        .collect();
    line.push(*first);
    for around in padded.windows(4) {
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            line.push([0, 1].map(|k| {
                let [a, b, c, d] = [0, 1, 2, 3].map(|i: usize| around[i][k]);
                let (c1, c2, c3) = (c - a, 2.0 * a - 5.0 * b + 4.0 * c - d, 3.0 * (b - c) + d - a);
                b + 0.5 * t * (c1 + t * (c2 + t * c3))
            }));
        }
    }
}

/// `p` seen from the other side of `centre`.
fn mirrored(p: Point, centre: Point) -> Point {
    [2.0 * centre[0] - p[0], 2.0 * centre[1] - p[1]]
}

#[cfg(test)]
mod tests {
    use nn_core::Random;

    use super::*;

    #[test]
    fn the_tables_can_be_drawn() {
        for (digit, glyphs) in GLYPHS.iter().enumerate() {
            assert!(glyphs.len() >= 4, "{digit}");
            for (stroke, points) in
                glyphs.iter().enumerate().flat_map(|(i, glyph)| glyph.iter().map(move |s| (i, *s)))
            {
                let at = format!("{digit}, way {stroke}: {points:?}");
                assert!(points.iter().flatten().all(|&c| (0..=100).contains(&c)), "{at}");
                // Neither end is a corner, and between two corners there is a line.
                assert!(points.len() >= 2 && points[0] != points[1], "{at}");
                assert!(points[points.len() - 2] != points[points.len() - 1], "{at}");
                assert!(points.windows(3).all(|p| p[0] != p[1] || p[1] != p[2]), "{at}");
            }
        }
    }

    #[test]
    fn a_curve_passes_its_points_and_a_straight_one_stays_straight() {
        let mut line = Vec::new();
        spline(&[[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]], &mut line);
        assert_eq!(line.len(), 11);
        assert_eq!((line[0], line[5], line[10]), ([0.0, 0.0], [10.0, 0.0], [10.0, 10.0]));
        // Around the bend it swings out to both sides of the corner.
        assert!(line.iter().any(|p| p[1] < -0.1) && line.iter().any(|p| p[0] > 10.1), "{line:?}");
        line.clear();
        spline(&[[0.0, 0.0], [5.0, 5.0], [10.0, 10.0]], &mut line);
        assert!(
            line.iter().enumerate().all(|(i, p)| (p[0] - i as f32).abs() < 1e-5 && p[0] == p[1]),
            "{line:?}"
        );
    }

    #[test]
    fn a_doubled_point_is_a_corner() {
        let corner: Glyph = &[&[[0, 0], [50, 0], [50, 0], [50, 50]]];
        let lines = trace(corner, &mut Random::new(0).draws());
        assert_eq!((lines.len(), lines[0].len()), (1, 12));
        // The pen stays where it is and leaves in another direction: each side is straight.
        let [before, after] = [lines[0][5], lines[0][6]];
        assert!((before[0] - after[0]).abs() + (before[1] - after[1]).abs() < 1e-4, "{before:?} {after:?}");
        for side in [&lines[0][..6], &lines[0][6..]] {
            let [a, b] = [side[0], side[5]];
            let off = |p: &Point| ((p[0] - a[0]) * (b[1] - a[1]) - (p[1] - a[1]) * (b[0] - a[0])).abs();
            assert!(side.iter().all(|p| off(p) < 0.05), "{side:?}");
        }
    }
}
