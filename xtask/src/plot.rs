//! Curves on a terminal, in Braille: a character holds two by four dots.

/// Rows and columns of characters.
pub(crate) const ROWS: usize = 12;
pub(crate) const COLUMNS: usize = 60;

/// Dots to the last of a row, and to the last of a column.
pub(crate) const RIGHT: f64 = (2 * COLUMNS - 1) as f64;
pub(crate) const DOWN: f64 = (4 * ROWS - 1) as f64;

/// The bits of a character's dots, from the top, left and right.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// What is drawn on.
pub(crate) struct Canvas([[u8; COLUMNS]; ROWS]);

impl Canvas {
    pub(crate) fn new() -> Self {
        Self([[0; COLUMNS]; ROWS])
    }

    /// A line between two places, each in dots from the left and from the top; what lies outside is not drawn.
    pub(crate) fn line(&mut self, from: [f64; 2], to: [f64; 2]) {
        let longest = (to[0] - from[0]).abs().max((to[1] - from[1]).abs()).min(4.0 * (RIGHT + DOWN));
        let dense = (longest.ceil() as usize + 1) * 2;
        for i in 0..=dense {
            let t = i as f64 / dense as f64;
            let [x, y] = [0, 1].map(|axis| (from[axis] + t * (to[axis] - from[axis])).round());
            if (0.0..=RIGHT).contains(&x) && (0.0..=DOWN).contains(&y) {
                let (x, y) = (x as usize, y as usize);
                self.0[y / 4][x / 2] |= DOTS[y % 4][x % 2];
            }
        }
    }

    /// A line of text for each row, from the top: what `label` says of the row, and the dots.
    pub(crate) fn rows(&self, label: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for (i, row) in self.0.iter().enumerate() {
            let cells = row.iter().map(|&dots| char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '));
            let cells: String = cells.collect();
            text.push_str(&format!("{:>9} │{}\n", label(i), cells.trim_end_matches('\u{2800}')));
        }
        text
    }
}

/// The axis below the rows with its ends, and a mark, if there is one, at so many dots from the left.
pub(crate) fn axis(left: &str, right: &str, mark: Option<f64>) -> String {
    let mut axis = vec!['─'; COLUMNS];
    if let Some(place) = mark.and_then(|dots| axis.get_mut(dots as usize / 2)) {
        *place = '▲';
    }
    let axis: String = axis.into_iter().collect();
    let width = COLUMNS - left.chars().count();
    format!("{:>9} └{axis}\n{:>11}{left}{right:>width$}", "", "")
}
