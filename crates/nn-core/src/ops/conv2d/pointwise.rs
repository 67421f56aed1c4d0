//! 1×1 convolutions of few pixels, whose weights are many beside them: products that read the weights where they lie, with the
//! pixels of several images side by side.

use super::{Ending, Plan, TASKS};
use crate::cpu::Element;
use crate::cpu::blank::{Blank, by_chunks, by_columns};
use crate::cpu::columns::{self, Columns};
use crate::cpu::gemm::Mat;

/// Columns of a product: planes of images side by side as long as there are no more.
const WIDE: usize = 512;
/// Pixels of an image that are too few for a product of its own. With more, and more images than fit side by side, each may
/// as well have one.
const FEW: usize = 64;
/// Rows of a product that a task takes, at least and at most; both suit whole tiles.
const ROWS: [usize; 2] = [24, 96];

impl Plan {
    /// How many images are side by side in a product, where that is the way.
    fn side_by_side(&self) -> Option<usize> {
        let positions = self.patches.positions();
        let few = positions <= FEW || self.batch * positions <= WIDE;
        let suits = self.groups == 1 && self.patches.are_picked() && few;
        let some = [self.batch, positions, self.c_in, self.c_out].iter().all(|&size| size > 0);
        let most = (suits && some).then(|| WIDE / positions)?;
        (1..=most.min(self.batch)).rev().find(|images| self.batch.is_multiple_of(*images))
    }

    pub(super) fn pointwise_forward<T: Element>(&self, x: &[T], w: &[T], end: Ending<T>) -> Option<Vec<T>> {
        let (w, positions) = (Mat::new(w, self.c_out, self.c_in), self.patches.positions());
        let write = |channel: usize, sums: &[T], y: &mut Blank<'_, T>| {
            let y = match end.bias() {
                Some(b) => y.map(sums, |sum| sum + b[channel]),
                None => y.map(sums, |sum| sum),
            };
            end.line(channel, y);
        };
        let images = self.side_by_side()?;
        let columns = x.chunks_exact(images * self.c_in * self.patches.plane()).map(|x| {
            let pick = |from: &[T], to: &mut [T]| self.patches.pick(from, to);
            Columns::of_planes(x, [images, self.c_in], positions, pick)
        });
        Some(self.planes(w, columns.collect(), images, positions, write))
    }

    /// `dx = wᵀ · dy` on top of `b`, which alone is where no window sees a pixel.
    pub(super) fn pointwise_input_gradient<T: Element>(
        &self,
        dy: &[T],
        w: &[T],
        b: Option<&[T]>,
    ) -> Option<Vec<T>> {
        let (w, positions) = (Mat::new(w, self.c_out, self.c_in).t(), self.patches.positions());
        let write = |channel: usize, sums: &[T], dx: &mut Blank<'_, T>| {
            let b = b.map_or(T::ZERO, |b| b[channel]);
            if self.patches.are_pixels() {
                dx.map(sums, |sum| sum + b);
                return;
            }
            let sums: Vec<T> = sums.iter().map(|&sum| sum + b).collect();
            self.patches.put(&sums, dx.fill(|_| b));
        };
        let images = self.side_by_side()?;
        let columns = dy.chunks_exact(images * self.c_out * positions).map(|dy| {
            let pick = |from: &[T], to: &mut [T]| to.copy_from_slice(from);
            Columns::of_planes(dy, [images, self.c_out], positions, pick)
        });
        Some(self.planes(w, columns.collect(), images, self.patches.plane(), write))
    }

    /// `dw = dy · xᵀ`, summed over images.
    pub(super) fn pointwise_weight_gradient<T: Element>(&self, dy: &[T], x: &[T]) -> Option<Vec<T>> {
        self.side_by_side()?;
        let (i, o, plane, positions) =
            (self.c_in, self.c_out, self.patches.plane(), self.patches.positions());
        let pixels: Vec<Columns<T>> = x
            .chunks_exact(i * plane)
            .map(|x| {
                if self.patches.are_pixels() {
                    return Columns::of_rows(x, positions);
                }
                let mut picked = vec![T::ZERO; i * positions];
                for (x, picked) in x.chunks_exact(plane).zip(picked.chunks_exact_mut(positions)) {
                    self.patches.pick(x, picked);
                }
                Columns::of_rows(&picked, positions)
            })
            .collect();
        let width = pixels[0].width();
        let rows = rows(o, 1);
        Some(by_chunks(o * i, rows * i, columns::work(self.multiply_adds()), |n, dw| {
            let (first, count) = (n * rows, dw.len() / i);
            let mut sums = vec![T::ZERO; count * width];
            for (pixels, dy) in pixels.iter().zip(dy.chunks_exact(o * positions)) {
                let dy = &dy[first * positions..][..count * positions];
                pixels.add_times(Mat::new(dy, count, positions), &mut sums);
            }
            dw.fill_parts(i, |r, dw| {
                dw.map(&sums[r * width..][..i], |sum| sum);
            });
        }))
    }

    /// Planes `[images, rows, plane]`, of which `write` makes one from its row's sums; `columns` are those of several images.
    fn planes<T: Element>(
        &self,
        w: Mat<T>,
        columns: Vec<Columns<T>>,
        images: usize,
        plane: usize,
        write: impl Fn(usize, &[T], &mut Blank<'_, T>) + Sync + Send,
    ) -> Vec<T> {
        let (rows, positions) = (rows(w.rows, columns.len()), self.patches.positions());
        let (shape, work) = ([columns.len(), images, w.rows * plane], columns::work(self.multiply_adds()));
        by_columns(shape, rows * plane, work, |at, y| {
            let (first, count) = (at.start / plane, y.first().map_or(0, |y| y.len()) / plane);
            let columns = &columns[at.slab];
            let sums = columns.times(Mat { data: &w.data[first * w.row..], rows: count, ..w });
            for (image, y) in y.iter_mut().enumerate() {
                y.fill_parts(plane, |r, y| {
                    write(first + r, &sums[r * columns.width() + image * positions..][..positions], y);
                });
            }
        })
    }
}

/// Rows of a task, of so many in each of some products.
fn rows(all: usize, products: usize) -> usize {
    let wanted = all.div_ceil(TASKS.div_ceil(products));
    wanted.next_multiple_of(ROWS[0]).clamp(ROWS[0], ROWS[1])
}
