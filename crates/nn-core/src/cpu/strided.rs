//! Elements that lie apart, copied into one row.

use super::blank::{Blank, by_chunks};

/// Elements that one task copies, at least.
const TASK: usize = 16_384;

/// The elements of `dims` in row-major order; `[i, j, …]` is `data[i · strides[0] + j · strides[1] + …]`.
pub(crate) fn gather<T: Copy + Send + Sync>(data: &[T], dims: &[usize], strides: &[usize]) -> Vec<T> {
    let count = dims.iter().product::<usize>();
    if count == 0 {
        return Vec::new();
    }
    let (outer, [len, step]) = runs(dims, strides);
    let rows = TASK.div_ceil(len);
    by_chunks(count, rows * len, count, |i, blank| {
        let mut index = Odometer::at(i * rows, &outer);
        blank.fill_parts(len, |_, run| {
            copy(run, &data[index.start..], step);
            index.advance(&outer);
        });
    })
}

/// Length and stride of the innermost axis, and those of the others, outermost first. Axes that lie one behind the
/// other become one, so that runs are as long as they can be.
fn runs(dims: &[usize], strides: &[usize]) -> (Vec<[usize; 2]>, [usize; 2]) {
    let mut axes: Vec<[usize; 2]> = Vec::with_capacity(dims.len());
    for (&n, &stride) in dims.iter().zip(strides).filter(|&(&n, _)| n != 1) {
        match axes.last_mut() {
            Some([outer, step]) if *step == n * stride => (*outer, *step) = (*outer * n, stride),
            _ => axes.push([n, stride]),
        }
    }
    let inner = axes.pop().unwrap_or([1, 1]);
    (axes, inner)
}

fn copy<T: Copy>(run: &mut Blank<'_, T>, data: &[T], step: usize) {
    let len = run.len();
    match step {
        0 => run.fill(|_| data[0]),
        1 => run.map(&data[..len], |v| v),
        _ => run.fill(|i| data[i * step]),
    };
}

/// Counts through the outer axes, the last one fastest.
struct Odometer {
    index: Vec<usize>,
    start: usize,
}

impl Odometer {
    fn at(mut row: usize, axes: &[[usize; 2]]) -> Self {
        let (mut index, mut start) = (vec![0; axes.len()], 0);
        for (index, [n, stride]) in index.iter_mut().zip(axes).rev() {
            (*index, row) = (row % n, row / n);
            start += *index * stride;
        }
        Self { index, start }
    }

    fn advance(&mut self, axes: &[[usize; 2]]) {
        for (index, [n, stride]) in self.index.iter_mut().zip(axes).rev() {
            *index += 1;
            self.start += stride;
            if *index < *n {
                return;
            }
            self.start -= stride * n;
            *index = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, an element at a time.
    fn expected(dims: &[usize], strides: &[usize]) -> Vec<usize> {
        let count = dims.iter().product();
        (0..count)
            .map(|mut i| {
                let axes = dims.iter().zip(strides).rev();
                axes.fold(0, |at, (n, stride)| {
                    let index = i % n;
                    i /= n;
                    at + index * stride
                })
            })
            .collect()
    }

    #[test]
    fn elements_come_in_order_whatever_the_strides() {
        let data: Vec<usize> = (0..200_000).collect();
        for (dims, strides) in [
            (vec![], vec![]),
            (vec![1], vec![7]),
            (vec![0, 3], vec![3, 1]),
            (vec![3, 4], vec![4, 1]),
            (vec![4, 3], vec![1, 4]),
            (vec![2, 3, 4], vec![20, 4, 1]),
            (vec![2, 3, 4], vec![12, 1, 3]),
            (vec![3, 1, 5], vec![0, 9, 0]),
            (vec![5, 4, 3], vec![24, 6, 2]),
            (vec![300, 400], vec![1, 300]),
            (vec![5, 90, 333], vec![30_000, 333, 1]),
        ] {
            assert_eq!(gather(&data, &dims, &strides), expected(&dims, &strides), "{dims:?} {strides:?}");
        }
    }

    #[test]
    fn axes_that_follow_one_another_are_one_run() {
        assert_eq!(runs(&[2, 3, 4], &[24, 4, 1]), (vec![[2, 24]], [12, 1]));
        assert_eq!(runs(&[2, 1, 4], &[4, 9, 1]), (vec![], [8, 1]));
    }
}
