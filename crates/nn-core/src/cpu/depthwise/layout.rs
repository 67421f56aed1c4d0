//! Where the pixels of a plane are, with zeros around them, and where taps find them.

use std::ops::Range;

use super::super::Element;
use super::super::patches::Patches;
use super::strips;
use crate::ops::window::Window;

/// Pixels copied at once.
const BLOCK: usize = 16;

/// Lines of a plane with its zeros; pixel `i · stride + phase` of a line is number `i` of that phase.
pub(super) struct Layout {
    /// Zeros above and to the left.
    before: [usize; 2],
    stride: usize,
    phases: usize,
    pitch: usize,
}

impl Layout {
    /// Lines as they are, `pitch` apart.
    pub(super) fn rows(pitch: usize) -> Self {
        Self { before: [0, 0], stride: 1, phases: 1, pitch }
    }

    /// From a line to the next.
    pub(super) fn line(&self) -> usize {
        self.phases * self.pitch
    }

    /// For [`Self::fill`], zeros filled in.
    pub(super) fn room<T: Element>(&self, lines: usize) -> Vec<T> {
        vec![T::ZERO; lines * self.line() + BLOCK + strips::REACH]
    }

    /// Lays out some lines of the plane that `x` begins with; what `x` holds beyond it may be read, but does not count.
    ///
    /// `room` holds zeros, or what an earlier call for planes of this size left.
    #[inline(always)]
    pub(super) fn fill<T: Element>(&self, x: &[T], [h, w]: [usize; 2], lines: Range<usize>, room: &mut [T]) {
        for (n, line) in lines.enumerate() {
            let room = &mut room[n * self.line()..];
            match line.checked_sub(self.before[0]).filter(|&y| y < h) {
                None => room[..self.line()].fill(T::ZERO),
                Some(y) => self.deal(x, y * w, w, room),
            }
        }
    }

    /// Deals out the line of `w` pixels from `start` on.
    #[inline(always)]
    fn deal<T: Element>(&self, x: &[T], start: usize, w: usize, room: &mut [T]) {
        let left = self.before[1];
        if self.stride == 1 {
            if left < self.pitch {
                copy(x, start, w.min(self.pitch - left), &mut room[left..]);
            }
            return;
        }
        for phase in 0..self.phases {
            let first = left.saturating_sub(phase).div_ceil(self.stride);
            let end = (w + left).saturating_sub(phase).div_ceil(self.stride).min(self.pitch);
            if first < end {
                let x = &x[start + first * self.stride + phase - left..start + w];
                every(self.stride, x, &mut room[phase * self.pitch..][first..end]);
            }
        }
    }
}

/// `to[i] = x[start + i]` for `i < count`, and zeros up to the end of a block.
#[inline(always)]
fn copy<T: Element>(x: &[T], start: usize, count: usize, to: &mut [T]) {
    for first in (0..count).step_by(BLOCK) {
        let left = count - first;
        let to = &mut to[first..first + BLOCK];
        match x[start + first..].first_chunk::<BLOCK>() {
            Some(x) if left >= BLOCK => to.copy_from_slice(x),
            Some(x) => {
                for i in 0..BLOCK {
                    to[i] = if i < left { x[i] } else { T::ZERO };
                }
            }
            None => {
                let seen = left.min(BLOCK);
                to[..seen].copy_from_slice(&x[start + first..start + first + seen]);
                to[seen..].fill(T::ZERO);
            }
        }
    }
}

/// `to[i] = x[i · stride]`
#[inline(always)]
fn every<T: Element>(stride: usize, x: &[T], to: &mut [T]) {
    if stride == 2 {
        // Pairs, which the compiler can shuffle apart; the last pixel may be without a partner.
        let (pairs, alone) = x.as_chunks::<2>();
        to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
        if let (Some(to), Some(&x)) = (to.get_mut(pairs.len()), alone.first()) {
            *to = x;
        }
    } else {
        to.iter_mut().zip(x.iter().step_by(stride)).for_each(|(to, &x)| *to = x);
    }
}

/// `row[i · stride + n] = phase(n)[i]`, or on top of what is there.
#[inline(always)]
pub(super) fn weave<'a, T: Element>(
    phase: impl Fn(usize) -> &'a [T],
    stride: usize,
    row: &mut [T],
    again: bool,
) {
    match (stride, again) {
        (1, false) => row.copy_from_slice(phase(0)),
        (2, false) => {
            let (even, odd) = (phase(0), phase(1));
            let (pairs, alone) = row.as_chunks_mut::<2>();
            let last = pairs.len();
            for (pair, (&even, &odd)) in pairs.iter_mut().zip(even.iter().zip(odd)) {
                *pair = [even, odd];
            }
            if let [alone] = alone {
                *alone = even[last];
            }
        }
        _ => {
            for n in 0..stride {
                for (y, &x) in row.iter_mut().skip(n).step_by(stride).zip(phase(n)) {
                    *y = if again { *y + x } else { x };
                }
            }
        }
    }
}

/// The taps that outputs a stride apart have in common.
pub(super) struct Phase {
    /// Of each row of taps, the line it reads for the first output.
    pub(super) lines: Vec<usize>,
    /// Of each column of taps, where in a line.
    pub(super) columns: Vec<usize>,
    /// Of each tap, row by row, its place in the kernel.
    pub(super) weights: Vec<usize>,
}

impl Phase {
    /// Whether the rows of taps read consecutive lines.
    pub(super) fn is_dense(&self) -> bool {
        self.lines.windows(2).all(|pair| pair[1] == pair[0] + 1)
    }
}

/// How a pass goes over planes.
pub(super) struct Scheme {
    pub(super) layout: Layout,
    /// Height and width of a source.
    pub(super) input: [usize; 2],
    /// Height and width of an output plane.
    pub(super) output: [usize; 2],
    kernel: [usize; 2],
    /// Rows and columns of outputs that have taps of their own.
    pub(super) spread: [usize; 2],
    /// Lines from an output row to the next of its phase.
    pub(super) step: usize,
    /// Lines that an output row sees.
    reach: usize,
    /// Of each row and column of `spread`.
    pub(super) phases: Vec<Vec<Phase>>,
}

impl Scheme {
    pub(super) fn forward(p: &Patches) -> Self {
        let [rows, columns] = &p.windows;
        let phases = columns.stride.min(columns.span());
        let pitch = p.output[1] + (columns.span() - 1) / columns.stride;
        let place = |tap: usize| {
            let at = tap * columns.dilation;
            at % columns.stride * pitch + at / columns.stride
        };
        let phase = Phase {
            lines: (0..rows.kernel).map(|tap| tap * rows.dilation).collect(),
            columns: (0..columns.kernel).map(place).collect(),
            weights: (0..p.taps()).collect(),
        };
        Self {
            layout: Layout {
                before: [rows.padding[0], columns.padding[0]],
                stride: columns.stride,
                phases,
                pitch,
            },
            input: p.input,
            output: p.output,
            kernel: [rows.kernel, columns.kernel],
            spread: [1, 1],
            step: rows.stride,
            reach: rows.span(),
            phases: vec![vec![phase]],
        }
    }

    /// From the gradient of the outputs to that of the inputs.
    pub(super) fn backward(p: &Patches) -> Self {
        let [rows, columns] = p.windows.each_ref().map(Residues::new);
        let [vertical, horizontal] = &p.windows;
        let pitch = p.input[1].div_ceil(horizontal.stride) + columns.reach - 1;
        let cross = |lines: &[(usize, usize)]| {
            let of = |columns: &Vec<(usize, usize)>| Phase {
                lines: lines.iter().map(|&(_, line)| line).collect(),
                columns: columns.iter().map(|&(_, column)| column).collect(),
                weights: lines
                    .iter()
                    .flat_map(|&(row, _)| columns.iter().map(move |&(tap, _)| row * horizontal.kernel + tap))
                    .collect(),
            };
            columns.taps.iter().map(of).collect()
        };
        Self {
            layout: Layout { before: [rows.before, columns.before], stride: 1, phases: 1, pitch },
            input: p.output,
            output: p.input,
            kernel: [vertical.kernel, horizontal.kernel],
            spread: [vertical.stride, horizontal.stride],
            step: 1,
            reach: rows.reach,
            phases: rows.taps.iter().map(|lines| cross(lines)).collect(),
        }
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Columns of a phase.
    pub(super) fn turns(&self) -> usize {
        self.output[1].div_ceil(self.spread[1])
    }

    /// Lines that so many output rows of a phase see together.
    pub(super) fn lines(&self, rows: usize) -> usize {
        (rows - 1) * self.step + self.reach
    }

    /// Output rows of a phase whose lines hold about so many numbers; not too few, for the lines between two bands are laid
    /// out twice.
    pub(super) fn rows(&self, near: usize) -> usize {
        ((near / self.layout.line()).saturating_sub(self.reach) / self.step + 1).max(4)
    }
}

/// For pixels that leave the same remainder by the stride: which taps reach them, and from which output.
struct Residues {
    /// `(tap, output)` for the first of the pixels, in ascending order of outputs, counted from `before` outputs before it.
    taps: Vec<Vec<(usize, usize)>>,
    before: usize,
    /// Outputs that a pixel sees, from the first to the last.
    reach: usize,
}

impl Residues {
    fn new(w: &Window) -> Self {
        let at = |pixel: usize, tap: usize| {
            let place = (pixel + w.padding[0]) as isize - (tap * w.dilation) as isize;
            (place.rem_euclid(w.stride as isize) == 0).then(|| place.div_euclid(w.stride as isize))
        };
        let of = |pixel: usize| (0..w.kernel).rev().filter_map(move |tap| Some((tap, at(pixel, tap)?)));
        let all = || (0..w.stride).flat_map(of).map(|(_, place)| place);
        let before = all().min().map_or(0, |place| place.min(0).unsigned_abs());
        let reach = all().max().map_or(1, |place| place.max(0).unsigned_abs() + before + 1);
        let from = |place: isize| place.wrapping_add_unsigned(before).unsigned_abs();
        let taps =
            (0..w.stride).map(|pixel| of(pixel).map(|(tap, place)| (tap, from(place))).collect()).collect();
        Self { taps, before, reach }
    }
}
