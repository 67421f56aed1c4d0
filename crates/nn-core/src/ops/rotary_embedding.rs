//! Rotary position embedding: the numbers of a query or key are turned in pairs, by an angle that grows with the position.
//!
//! Why not Candle's: its `rope` has no gradient, without a word, and takes no views (docs/candle-gaps.md).
//! Source: Su et al. 2021, "RoFormer", arXiv:2104.09864, §3.2.2, equation 34.

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, Strided, View, apply3, detached3, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::blank::by_chunks;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::ensure;

/// Which two numbers of a vector of `D` are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryPairs {
    /// `i` and `i + D / 2`: LLaMA's checkpoints as Hugging Face has them, GPT-NeoX.
    Halves,
    /// `2i` and `2i + 1`: the paper, GPT-J.
    Interleaved,
}

/// `(y₁, y₂) = (x₁ · cos[t, i] − x₂ · sin[t, i], x₁ · sin[t, i] + x₂ · cos[t, i])` for pair `i` at position `t`.
///
/// `[B, N, T, D]`, `cos` and `sin` `[T, D / 2]` → `[B, N, T, D]`
///
/// # Errors
/// If `x` is not rank 4, `D` is odd, `cos` or `sin` is not `[T, D / 2]`, or the types differ or are integers.
pub fn rotary_embedding(x: &Tensor, cos: &Tensor, sin: &Tensor, pairs: RotaryPairs) -> Result<Tensor> {
    if let Some(half) = half_precision("rotary_embedding", &[x, cos, sin])? {
        return rotary_embedding(&widen(x)?, &widen(cos)?, &widen(sin)?, pairs)?.to_dtype(half);
    }
    let &[_, _, t, d] = x.dims() else {
        candle_core::bail!("rotary_embedding: x must be [B, N, T, D], got {:?}", x.dims())
    };
    ensure!(d.is_multiple_of(2), "rotary_embedding: D must be even, got {:?}", x.dims());
    for (name, table) in [("cos", cos), ("sin", sin)] {
        ensure!(
            table.dims() == [t, d / 2],
            "rotary_embedding: {name} must be [T, D / 2] for x {:?}, got {:?}",
            x.dims(),
            table.dims()
        );
    }
    // Angles are hardly ever trained, and have no kernel for it.
    let trained = wants_gradient(cos) || wants_gradient(sin);
    if on_cpu(&[x, cos, sin]) && !trained {
        apply3(Rotate(pairs), &of_whole_rows(x)?, &cos.contiguous()?, &sin.contiguous()?)
    } else {
        portable(x, cos, sin, pairs)
    }
}

/// `x` with the numbers of a vector side by side, which those of heads split from a projection are already.
fn of_whole_rows(x: &Tensor) -> Result<Tensor> {
    if x.stride()[3] == 1 { Ok(x.clone()) } else { x.contiguous() }
}

#[derive(Clone, Copy)]
struct Rotate(RotaryPairs);

impl Kernel<3> for Rotate {
    const NAME: &'static str = "rotary_embedding";

    fn forward<T: Element>(&self, _: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        unreachable!("reads its arguments where they lie")
    }

    fn forward_strided<T: Element>(&self, [x, cos, sin]: [Strided<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (&[b, n, t, d], &[batch, head, position, _]) = (x.dims(), x.strides()) else {
            unreachable!("checked by rotary_embedding")
        };
        let (half, rows) = (d / 2, (CHUNK / d.max(1)).max(1));
        let pairs = self.0;
        let y = by_chunks(b * n * t * d, rows * d, 2 * b * n * t * d, |i, y| {
            vectorised(
                #[inline(always)]
                || {
                    y.fill_parts(
                        d,
                        #[inline(always)]
                        |r, y| {
                            let row = i * rows + r;
                            let (at, of) = (row % t, row / t);
                            let start = of / n * batch + of % n * head + at * position;
                            let angles = [cos.data, sin.data].map(|table| &table[at * half..][..half]);
                            turn(&x.data[start..][..d], angles, y.fill(|_| T::ZERO), pairs);
                        },
                    );
                },
            );
        });
        Ok((y, x.dims().into()))
    }

    /// The gradient of a rotation is the rotation back.
    fn backward(&self, [_, cos, sin]: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        Ok([Some(detached3(*self, &of_whole_rows(dy)?, cos, &sin.neg()?)?), None, None])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }
}

/// One vector.
#[inline(always)]
fn turn<T: Element>(x: &[T], [cos, sin]: [&[T]; 2], y: &mut [T], pairs: RotaryPairs) {
    match pairs {
        RotaryPairs::Halves => {
            let ((a, b), (y, z)) = (x.split_at(cos.len()), y.split_at_mut(cos.len()));
            let angles = cos.iter().zip(sin);
            for ((y, z), ((&a, &b), (&cos, &sin))) in y.iter_mut().zip(z).zip(a.iter().zip(b).zip(angles)) {
                (*y, *z) = turned(a, b, cos, sin);
            }
        }
        RotaryPairs::Interleaved => {
            let (x, y) = (x.as_chunks::<2>().0, y.as_chunks_mut::<2>().0);
            for ((y, &[a, b]), (&cos, &sin)) in y.iter_mut().zip(x).zip(cos.iter().zip(sin)) {
                (y[0], y[1]) = turned(a, b, cos, sin);
            }
        }
    }
}

#[inline(always)]
fn turned<T: Element>(a: T, b: T, cos: T, sin: T) -> (T, T) {
    (a.mul_add(cos, -(b * sin)), a.mul_add(sin, b * cos))
}

/// The same function from differentiable Candle operations: other devices, trained angles, and the kernel's oracle.
fn portable(x: &Tensor, cos: &Tensor, sin: &Tensor, pairs: RotaryPairs) -> Result<Tensor> {
    let (b, n, t, d) = x.dims4()?;
    // An axis of two, for which of a pair it is.
    let (shape, axis) = match pairs {
        RotaryPairs::Halves => ([b, n, t, 2, d / 2], 3),
        RotaryPairs::Interleaved => ([b, n, t, d / 2, 2], 4),
    };
    let split = x.reshape(&shape)?;
    let [first, second] =
        [split.narrow(axis, 0, 1)?.squeeze(axis)?, split.narrow(axis, 1, 1)?.squeeze(axis)?];
    let y = (first.broadcast_mul(cos)? - second.broadcast_mul(sin)?)?; // [B, N, T, D / 2]
    let z = (first.broadcast_mul(sin)? + second.broadcast_mul(cos)?)?;
    Tensor::stack(&[y, z], axis)?.reshape((b, n, t, d))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types, with_gradients};
    use crate::testing::{assert_close, gradcheck, randn};

    const BOTH: [RotaryPairs; 2] = [RotaryPairs::Halves, RotaryPairs::Interleaved];

    fn cos_and_sin(t: usize, d: usize) -> Result<[Tensor; 2]> {
        let angles = randn(7, (t, d / 2))?;
        Ok([angles.cos()?, angles.sin()?])
    }

    #[test]
    fn a_quarter_turn() -> Result<()> {
        let x = Tensor::new(&[[[[1f64, 2.0, 3.0, 4.0]]]], &Device::Cpu)?;
        // The first pair stays, the second turns by 90°.
        let (cos, sin) =
            (Tensor::new(&[[1f64, 0.0]], &Device::Cpu)?, Tensor::new(&[[0f64, 1.0]], &Device::Cpu)?);
        for (pairs, turned) in BOTH.into_iter().zip([[1.0, -4.0, 3.0, 2.0], [1.0, 2.0, -4.0, 3.0]]) {
            let y = rotary_embedding(&x, &cos, &sin, pairs)?;
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, turned);
        }
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for pairs in BOTH {
            for [b, n, t, d] in
                [[1, 1, 1, 2], [2, 3, 5, 6], [2, 2, 33, 64], [3, 4, 70, 40], [0, 2, 3, 4], [1, 2, 0, 4]]
            {
                let x = randn(1, (b, n, t, d))?;
                let [cos, sin] = cos_and_sin(t, d)?;
                if x.elem_count() == 0 {
                    assert_eq!(rotary_embedding(&x, &cos, &sin, pairs)?.dims(), x.dims());
                    continue;
                }
                for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
                    let [x, cos, sin] = [&x, &cos, &sin].map(|x| x.to_dtype(dtype));
                    let (x, cos, sin) = (x?, cos?, sin?);
                    let ours = |x: &[Tensor]| rotary_embedding(&x[0], &cos, &sin, pairs);
                    assert_same(ours, |x| portable(&x[0], &cos, &sin, pairs), &[x], tolerance)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives_of_angles_too() -> Result<()> {
        for pairs in BOTH {
            let [cos, sin] = cos_and_sin(4, 6)?;
            let x = randn(2, (2, 3, 4, 6))?;
            gradcheck(|x| rotary_embedding(&x[0], &cos, &sin, pairs), std::slice::from_ref(&x))?;
            gradcheck(|x| rotary_embedding(&x[0], &x[1], &x[2], pairs), &[x, cos, sin])?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        type View = fn(&Tensor) -> Result<Tensor>;
        // Heads split from a projection; columns of a matrix; the same vector at every position.
        let views: [View; 3] = [
            |x| x.transpose(1, 2)?.narrow(2, 1, 3),
            |x| x.transpose(2, 3)?.narrow(3, 0, 2)?.narrow(2, 0, 3),
            |x| x.narrow(1, 0, 1)?.broadcast_as((2, 4, 3, 4)),
        ];
        for pairs in BOTH {
            for view in views {
                let x = randn(3, (2, 4, 3, 4))?;
                let shape = view(&x)?.dims().to_vec();
                let [cos, sin] = cos_and_sin(shape[2] + 1, shape[3])?;
                let [cos, sin] = [cos.narrow(0, 1, shape[2])?, sin.narrow(0, 1, shape[2])?];
                let f = |x: &[Tensor]| rotary_embedding(&view(&x[0])?, &cos, &sin, pairs);
                gradcheck(f, std::slice::from_ref(&x))?;
                assert_close(
                    &f(std::slice::from_ref(&x))?,
                    &portable(&view(&x)?, &cos, &sin, pairs)?,
                    1e-14,
                    1e-14,
                )?;
            }
        }
        Ok(())
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
        let x = [randn(5, (2, 3, 101, 64))?.to_dtype(DType::F32)?];
        let [cos, sin] = cos_and_sin(101, 64)?;
        let (cos, sin) = (cos.to_dtype(DType::F32)?, sin.to_dtype(DType::F32)?);
        for pairs in BOTH {
            let with = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| with_gradients(|x| rotary_embedding(&x[0], &cos, &sin, pairs), &x))
            };
            let ((y, dx), (z, dz)) = (with(1)?, with(3)?);
            let [Some(dx), Some(dz)] = [&dx[0], &dz[0]] else { panic!("no gradient") };
            assert_close(&y, &z, 0.0, 0.0)?;
            assert_close(dx, dz, 0.0, 0.0)?;
        }
        Ok(())
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        for pairs in BOTH {
            let [cos, sin] = cos_and_sin(4, 6)?;
            let inputs = [randn(6, (1, 2, 4, 6))?, cos, sin];
            assert_types("rotary_embedding", |x| rotary_embedding(&x[0], &x[1], &x[2], pairs), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (x, cos, sin, rule) in [
            (vec![2, 3, 4], [3, 2], [3, 2], "x must be [B, N, T, D], got [2, 3, 4]"),
            (vec![1, 2, 3, 5], [3, 2], [3, 2], "D must be even, got [1, 2, 3, 5]"),
            (vec![1, 2, 3, 4], [4, 2], [3, 2], "cos must be [T, D / 2] for x [1, 2, 3, 4], got [4, 2]"),
            (vec![1, 2, 3, 4], [3, 2], [3, 4], "sin must be [T, D / 2] for x [1, 2, 3, 4], got [3, 4]"),
        ] {
            let [x, cos, sin] =
                [x, cos.to_vec(), sin.to_vec()].map(|dims| Tensor::zeros(dims, DType::F32, &Device::Cpu));
            let error = rotary_embedding(&x?, &cos?, &sin?, RotaryPairs::Halves).expect_err(rule).to_string();
            assert!(error.contains("rotary_embedding") && error.contains(rule), "{error}");
        }
        Ok(())
    }
}
