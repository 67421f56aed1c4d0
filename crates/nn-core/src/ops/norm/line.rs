//! A straight line and an activation over a plane: `f((x − mean) · slope + shift)`.

use crate::cpu::Element;
use crate::cpu::blank::Blank;
use crate::cpu::moments::sums;
use crate::ops::fused::{BLOCK, Fused};

/// What becomes of the numbers of one plane.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Line<T> {
    pub(in crate::ops) mean: T,
    pub(in crate::ops) slope: T,
    pub(in crate::ops) shift: T,
    pub(in crate::ops) fused: Fused,
}

/// A gradient that is linear in what comes back and in the distance from the mean: `a · dz + b · (x − mean) + c`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Tilt<T> {
    pub(in crate::ops) a: T,
    pub(in crate::ops) b: T,
    pub(in crate::ops) c: T,
}

impl<T: Element> Line<T> {
    #[inline(always)]
    fn at(self, x: T) -> T {
        (x - self.mean).mul_add(self.slope, self.shift)
    }

    /// Fills `y` from `x`.
    #[inline(always)]
    pub(in crate::ops) fn write(self, x: &[T], y: &mut Blank<'_, T>) {
        y.fill_parts(
            BLOCK,
            #[inline(always)]
            |i, y| {
                let x = &x[i * BLOCK..][..y.len()];
                self.fused.apply(y.map(
                    x,
                    #[inline(always)]
                    |x| self.at(x),
                ));
            },
        );
    }

    /// `x` becomes `y`.
    #[inline(always)]
    pub(in crate::ops) fn replace(self, x: &mut [T]) {
        for x in x.chunks_mut(BLOCK) {
            for x in &mut *x {
                *x = self.at(*x);
            }
            self.fused.apply(x);
        }
    }

    /// The gradient of the line's value, in `room` unless it is `dy` itself; at most [`BLOCK`] numbers.
    #[inline(always)]
    fn before<'a>(self, x: &[T], dy: &'a [T], room: &'a mut [T]) -> &'a [T] {
        if self.fused.0.is_none() {
            return dy;
        }
        let room = &mut room[..x.len()];
        for (z, &x) in room.iter_mut().zip(x) {
            *z = self.at(x);
        }
        self.fused.gradient(room, dy);
        room
    }

    /// `x` becomes the gradient of the line's value.
    #[inline(always)]
    pub(super) fn differentiate(self, x: &mut [T], dy: &[T]) {
        if self.fused.0.is_none() {
            return x.copy_from_slice(dy);
        }
        for (x, dy) in x.chunks_mut(BLOCK).zip(dy.chunks(BLOCK)) {
            for x in &mut *x {
                *x = self.at(*x);
            }
            self.fused.gradient(x, dy);
        }
    }

    /// `[Σ dz, Σ dz · (x − mean)]`
    #[inline(always)]
    pub(in crate::ops) fn sums(self, x: &[T], dy: &[T], room: &mut [T]) -> [f64; 2] {
        let mut totals = [0.0; 2];
        for (x, dy) in x.chunks(BLOCK).zip(dy.chunks(BLOCK)) {
            let dz = self.before(x, dy, room);
            let [s, t] = sums(
                dz,
                x,
                #[inline(always)]
                |dz, x| [dz, dz * (x - self.mean)],
            );
            totals[0] += s;
            totals[1] += t;
        }
        totals
    }

    /// Fills `dx` with the gradient of the line's value, and gives what [`Line::sums`] does.
    #[inline(always)]
    pub(super) fn begin_gradient(self, x: &[T], dy: &[T], dx: &mut Blank<'_, T>) -> [f64; 2] {
        let mut totals = [0.0; 2];
        dx.fill_parts(
            BLOCK,
            #[inline(always)]
            |i, dx| {
                let [x, dy] = [x, dy].map(|x| &x[i * BLOCK..][..dx.len()]);
                let dz = if self.fused.0.is_none() {
                    dx.map(dy, |dy| dy)
                } else {
                    let dz = dx.map(
                        x,
                        #[inline(always)]
                        |x| self.at(x),
                    );
                    self.fused.gradient(dz, dy);
                    dz
                };
                let [s, t] = sums(
                    dz,
                    x,
                    #[inline(always)]
                    |dz, x| [dz, dz * (x - self.mean)],
                );
                totals = [totals[0] + s, totals[1] + t];
            },
        );
        totals
    }

    /// `dx`, which holds the gradient of the line's value, becomes that of `x`.
    #[inline(always)]
    pub(super) fn end_gradient(self, tilt: Tilt<T>, x: &[T], dx: &mut [T]) {
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = tilt.of(*dx, x - self.mean);
        }
    }

    /// Fills `dx`.
    #[inline(always)]
    pub(in crate::ops) fn write_gradient(
        self,
        tilt: Tilt<T>,
        [x, dy]: [&[T]; 2],
        dx: &mut Blank<'_, T>,
        room: &mut [T],
    ) {
        dx.fill_parts(
            BLOCK,
            #[inline(always)]
            |i, dx| {
                let [x, dy] = [x, dy].map(|x| &x[i * BLOCK..][..dx.len()]);
                let dz = self.before(x, dy, room);
                dx.map2(
                    dz,
                    x,
                    #[inline(always)]
                    |dz, x| tilt.of(dz, x - self.mean),
                );
            },
        );
    }
}

impl<T: Element> Tilt<T> {
    #[inline(always)]
    fn of(self, dz: T, off: T) -> T {
        dz.mul_add(self.a, off.mul_add(self.b, self.c))
    }
}
