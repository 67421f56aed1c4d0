//! A graph that keeps activations small ([`Activations::Bf16`]).
//!
//! A node of Candle's graph holds the tensors it was made from, so as long as the graph lives no activation can go. Here the
//! nodes are *links* of one number each, which hold what the gradients will read, rounded; an activation hangs on its link,
//! and goes when nobody holds it any longer. The gradients, which are of the activations' shapes, are handed over beside
//! the graph.

use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Tensor, Var};

use super::{Kernel, Need, Op, Strided, View, lend};
use crate::backward::link;
use crate::cpu::{Element, bf16};
use crate::ops::sum_of;

/// `kernel` of `xs`, on a link; `run` runs it outside the graph, and `put` puts an op into it.
pub(super) fn apply<K: Kernel<N>, const N: usize>(
    kernel: K,
    xs: [&Tensor; N],
    run: impl FnOnce(K, [&Tensor; N]) -> Result<Tensor>,
    put: impl FnOnce(Linked<K, N>, [&Tensor; N]) -> Result<Tensor>,
) -> Result<Tensor> {
    let y = run(kernel.clone(), xs)?;
    let reads = kernel.reads();
    let arguments = xs.map(Argument::of);
    for (argument, x) in arguments.iter().zip(xs) {
        if let Some(link) = &argument.link {
            link.keep(x, reads.of_arguments())?;
        }
    }
    let result = Arc::new(Link::new(y.shape().clone()));
    let places = arguments.clone();
    let linked = Linked { kernel: kernel.settled(), arguments: arguments.into(), result: result.clone() };
    let place = put(linked, places.each_ref().map(|argument| &argument.place))?;
    let y = super::put1(Laid::new(elements(&y)?, result.shape.clone(), Some(result.clone())), &place)?;
    result.keep(&y, reads.of_output())?;
    Ok(y)
}

/// Takes the elements out of a tensor that nobody else has.
fn elements(y: &Tensor) -> Result<CpuStorage> {
    struct Take(Mutex<Option<CpuStorage>>);
    impl InplaceOp1 for Take {
        fn name(&self) -> &'static str {
            "take"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
            let taken = std::mem::replace(storage, CpuStorage::F32(Vec::new()));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
            Ok(())
        }
    }
    let take = Take(Mutex::default());
    y.inplace_op1(&take)?;
    let taken = take.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Some(taken) = taken else { unreachable!("an op runs once") };
    Ok(taken)
}

/// An argument as the graph sees it.
#[derive(Clone)]
struct Argument {
    /// The activation's place in the graph, or what is none: a parameter, data, the result of an operation of Candle's.
    place: Tensor,
    link: Option<Arc<Link>>,
}

impl Argument {
    fn of(x: &Tensor) -> Self {
        match link(x) {
            Some((place, link)) => Self { place, link: Some(link) },
            None => Self { place: x.clone(), link: None },
        }
    }

    /// The argument as a gradient is to see it.
    fn seen(&self, need: Need) -> Result<Tensor> {
        match &self.link {
            Some(link) => link.seen(need, self.place.dtype()),
            None => Ok(self.place.clone()),
        }
    }

    /// Hands over a gradient, or gives it to the graph.
    fn differentiate(&self, dx: Option<Tensor>) -> Result<Option<Tensor>> {
        match (&self.link, dx) {
            (Some(link), Some(dx)) => link.differentiate(dx, &self.place).map(Some),
            (_, dx) => Ok(dx),
        }
    }
}

/// What the graph keeps of an activation.
pub(crate) struct Link {
    shape: Shape,
    rounded: OnceLock<Vec<u16>>,
    whole: OnceLock<Tensor>,
    /// The sum of those that have come back; taken when all have.
    gradient: Mutex<Option<Tensor>>,
}

/// What nothing may be learned from but a shape.
static NOTHING: LazyLock<Result<[Var; 2]>> =
    LazyLock::new(|| Ok([Var::new(f32::NAN, &Device::Cpu)?, Var::new(f64::NAN, &Device::Cpu)?]));

fn nothing(dtype: DType) -> Result<&'static Var> {
    match &*NOTHING {
        Ok([single, double]) => Ok(if dtype == DType::F64 { double } else { single }),
        Err(e) => candle_core::bail!("{e}"),
    }
}

impl Link {
    fn new(shape: Shape) -> Self {
        Self { shape, rounded: OnceLock::new(), whole: OnceLock::new(), gradient: Mutex::new(None) }
    }

    fn keep(&self, x: &Tensor, need: Need) -> Result<()> {
        match need {
            Need::Shape => Ok(()),
            Need::Numbers => self.keep_rounded(x),
            Need::ExactNumbers => {
                self.keep_whole(x);
                Ok(())
            }
        }
    }

    /// The activation as a gradient that needs so much of it is to see it.
    fn seen(&self, need: Need, dtype: DType) -> Result<Tensor> {
        match need {
            Need::Shape => self.shape_alone(dtype),
            Need::Numbers | Need::ExactNumbers => self.activation(),
        }
    }

    fn keep_rounded(&self, x: &Tensor) -> Result<()> {
        if x.dtype() != DType::F32 {
            self.keep_whole(x);
        } else if self.rounded.get().is_none() {
            let rounded = lend(Some(x), |x| Ok(bf16::round(x.unwrap_or_default())))?;
            self.rounded.get_or_init(|| rounded);
        }
        Ok(())
    }

    fn keep_whole(&self, x: &Tensor) {
        self.whole.get_or_init(|| x.detach());
    }

    /// What was kept, as a tensor that wants a gradient.
    fn activation(&self) -> Result<Tensor> {
        let value = match (self.whole.get(), self.rounded.get()) {
            (Some(whole), _) => elements(&whole.copy()?)?,
            (None, Some(rounded)) => CpuStorage::F32(bf16::widen(rounded)),
            (None, None) => unreachable!("kept for the op that reads it"),
        };
        let dtype = self.whole.get().map_or(DType::F32, Tensor::dtype);
        nothing(dtype)?.apply_op1(Op::detached(Laid::new(value, self.shape.clone(), None)))
    }

    /// A tensor that wants a gradient and whose numbers nobody should read: all are NaN.
    fn shape_alone(&self, dtype: DType) -> Result<Tensor> {
        nothing(dtype)?.broadcast_as(&self.shape)
    }

    /// Adds a gradient, and gives what stands for it in the graph.
    fn differentiate(&self, dx: Tensor, place: &Tensor) -> Result<Tensor> {
        let mut sum = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match sum.take() {
            Some(other) => sum_of(&other, &dx)?,
            None => dx.detach(),
        };
        *sum = Some(next);
        place.zeros_like()
    }

    /// The gradient, of which no part is missing any longer.
    fn gradient(&self) -> Tensor {
        let gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(gradient) = gradient else { unreachable!("handed over before its place's turn") };
        gradient
    }
}

/// A place in the graph: one zero, made from the places of a kernel's arguments.
#[derive(Clone)]
pub(super) struct Linked<K, const N: usize> {
    kernel: K,
    arguments: Arc<[Argument; N]>,
    result: Arc<Link>,
}

impl<K: Kernel<N>, const N: usize> Kernel<N> for Linked<K, N> {
    const NAME: &'static str = K::NAME;

    fn forward<T: Element>(&self, _: [View<'_, T>; N]) -> Result<(Vec<T>, Shape)> {
        Ok((vec![T::ZERO], 1.into()))
    }

    fn forward_strided<T: Element>(&self, _: [Strided<'_, T>; N]) -> Result<(Vec<T>, Shape)> {
        Ok((vec![T::ZERO], 1.into()))
    }

    fn backward(&self, _: [&Tensor; N], place: &Tensor, _: &Tensor) -> Result<[Option<Tensor>; N]> {
        let (reads, dy) = (self.kernel.reads(), self.result.gradient());
        let y = self.result.seen(reads.of_output(), place.dtype())?;
        let mut xs = Vec::with_capacity(N);
        for argument in &*self.arguments {
            xs.push(argument.seen(reads.of_arguments())?);
        }
        let mut gradients = self.kernel.backward(std::array::from_fn(|i| &xs[i]), &y, &dy)?;
        for (gradient, argument) in gradients.iter_mut().zip(&*self.arguments) {
            *gradient = argument.differentiate(gradient.take())?;
        }
        Ok(gradients)
    }
}

/// An activation, laid where an op can read it; from its place in the graph.
#[derive(Clone)]
struct Laid {
    value: Arc<Mutex<Option<CpuStorage>>>,
    shape: Shape,
    link: Option<Arc<Link>>,
}

impl Laid {
    fn new(value: CpuStorage, shape: Shape, link: Option<Arc<Link>>) -> Self {
        Self { value: Arc::new(Mutex::new(Some(value))), shape, link }
    }
}

impl Kernel<1> for Laid {
    const NAME: &'static str = "activation";

    fn forward<T: Element>(&self, _: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(value) = value else { unreachable!("an op runs once") };
        Ok((T::cpu_storage_data(value)?, self.shape.clone()))
    }

    fn backward(&self, [place]: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        self.link.as_ref().map_or(Ok([None]), |link| Ok([Some(link.differentiate(dy.clone(), place)?)]))
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.link.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reads, apply1};
    use super::*;
    use crate::Activations;
    use crate::testing::{gradcheck, randn};

    /// `x²`, which reads `x` and may not say so.
    #[derive(Clone)]
    struct Square(Reads);

    impl Kernel<1> for Square {
        const NAME: &'static str = "square";

        fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
            Ok((x.data.iter().map(|&x| x * x).collect(), x.dims.into()))
        }

        fn backward(&self, [x]: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
            Ok([Some((x.detach() * dy)?.affine(2.0, 0.0)?)])
        }

        fn reads(&self) -> Reads {
            self.0
        }
    }

    #[test]
    fn a_kernel_that_reads_more_than_it_says_fails_its_gradient_check() -> Result<()> {
        let x = [randn(1, (2, 3))?];
        for reads in [Reads::Arguments, Reads::Both, Reads::Exactly] {
            gradcheck(|x| apply1(Square(reads), &x[0]), &x)?;
        }
        for reads in [Reads::Nothing, Reads::Output, Reads::OutputExactly] {
            let error = gradcheck(|x| apply1(Square(reads), &x[0]), &x).expect_err("it reads its argument");
            assert!(error.to_string().contains("NaN"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn what_is_exact_is_not_rounded() -> Result<()> {
        let x = Var::new(&[1.001f32], &Device::Cpu)?;
        let slope = |reads| -> Result<f32> {
            let y = Activations::Bf16.keep(|| apply1(Square(reads), &crate::ops::reshape(&x, 1)?))?;
            crate::backward(&y)?.get(&x).expect("trained").get(0)?.to_scalar()
        };
        assert_eq!((slope(Reads::Arguments)?, slope(Reads::Exactly)?), (2.0, 2.0 * 1.001));
        Ok(())
    }
}
