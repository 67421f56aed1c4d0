//! The bridge from a CPU kernel to a differentiable Candle op.
//!
//! A kernel sees contiguous slices of `f32` or `f64` and returns a vector; dtype, strides, offsets and devices
//! end here. Nothing outside this file and its folder names `CpuStorage`, `Layout` and Candle's `_no_bwd`.

mod linked;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Error, InplaceOp1, Layout, Result, Shape,
    Storage, Tensor, WithDType,
};

pub(crate) use self::linked::Link;
use crate::activations::{Activations, Left};
use crate::backward::{Derivative, Mark};
use crate::cpu::Element;
use crate::cpu::strided::gather;
use crate::ensure;
use crate::graph::{Operation, Origin};

/// A contiguous, row-major read of one argument.
pub(crate) struct View<'a, T: Clone> {
    /// The elements in row-major order.
    pub(crate) data: Cow<'a, [T]>,
    /// The argument's shape.
    pub(crate) dims: &'a [usize],
}

/// One argument as it lies in memory.
pub(crate) struct Strided<'a, T> {
    /// The elements from the first on: `[i, j, …]` is at `i · strides[0] + j · strides[1] + …`.
    pub(crate) data: &'a [T],
    layout: &'a Layout,
}

impl<'a, T: Element> Strided<'a, T> {
    fn new(storage: &'a CpuStorage, layout: &'a Layout) -> Result<Self> {
        // A part of a tensor without elements may begin beyond its end.
        Ok(Self { data: storage.as_slice::<T>()?.get(layout.start_offset()..).unwrap_or_default(), layout })
    }

    pub(crate) fn dims(&self) -> &'a [usize] {
        self.layout.dims()
    }

    pub(crate) fn strides(&self) -> &'a [usize] {
        self.layout.stride()
    }

    fn contiguous(self) -> View<'a, T> {
        let data = match self.layout.contiguous_offsets() {
            Some((start, end)) => Cow::Borrowed(&self.data[..end - start]),
            None => Cow::Owned(gather(self.data, self.dims(), self.strides())),
        };
        View { data, dims: self.layout.dims() }
    }

    /// What `view` sees of the argument, in row-major order, and its shape.
    pub(crate) fn seen_by(&self, view: impl FnOnce(&Layout) -> Result<Layout>) -> Result<(Vec<T>, Shape)> {
        let seen = view(self.layout)?;
        let from = seen.start_offset() - self.layout.start_offset();
        Ok((gather(&self.data[from..], seen.dims(), seen.stride()), seen.shape().clone()))
    }
}

/// A function of `N` tensors of one float type, and its derivative.
pub(crate) trait Kernel<const N: usize>: Clone + Send + Sync + 'static {
    /// How Candle's error messages call the op.
    const NAME: &'static str;

    /// The output in row-major order and its shape; arguments were checked before dispatch.
    fn forward<T: Element>(&self, xs: [View<'_, T>; N]) -> Result<(Vec<T>, Shape)>;

    /// [`Kernel::forward`] for a kernel that reads arguments where they lie and spares their copies.
    fn forward_strided<T: Element>(&self, xs: [Strided<'_, T>; N]) -> Result<(Vec<T>, Shape)> {
        self.forward(xs.map(Strided::contiguous))
    }

    /// The gradient of each argument, from arguments, output and the output's gradient.
    ///
    /// Return `None` where the argument takes none; see [`wants_gradient`].
    fn backward(&self, xs: [&Tensor; N], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; N]> {
        let _ = (xs, y, dy);
        Err(Error::BackwardNotSupported { op: Self::NAME })
    }

    /// What [`Kernel::backward`] reads the numbers of; it sees all shapes.
    fn reads(&self) -> Reads {
        Reads::Both
    }

    /// The kernel without what its forward pass alone reads.
    fn settled(self) -> Self {
        self
    }

    /// What is kept of the result, if the result is an activation that [`linked`] took out of the graph.
    fn link(&self) -> Option<Arc<Link>> {
        None
    }

    /// What the kernel computes, in words, one after the other; none if it has none.
    fn operations(&self) -> Vec<Operation> {
        Vec::new()
    }

    /// What it computes that from: its arguments, and what it reads by itself.
    fn operands(&self, args: &[Tensor]) -> Vec<Tensor> {
        args.to_vec()
    }
}

/// What a gradient is worked out from, besides the output's gradient and what the forward pass [saved](super::saved).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    Nothing,
    Arguments,
    Output,
    /// The output, of which small differences matter: it is not rounded.
    OutputExactly,
    Both,
    /// Both, not rounded.
    Exactly,
}

/// What a gradient needs of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Shape,
    /// The numbers, which may be rounded.
    Numbers,
    ExactNumbers,
}

impl Reads {
    fn of_arguments(self) -> Need {
        match self {
            Self::Nothing | Self::Output | Self::OutputExactly => Need::Shape,
            Self::Arguments | Self::Both => Need::Numbers,
            Self::Exactly => Need::ExactNumbers,
        }
    }

    fn of_output(self) -> Need {
        match self {
            Self::Nothing | Self::Arguments => Need::Shape,
            Self::Output | Self::Both => Need::Numbers,
            Self::OutputExactly | Self::Exactly => Need::ExactNumbers,
        }
    }
}

/// Whether the CPU kernels can take these tensors: all on the CPU, all `f32` or all `f64`.
pub(crate) fn on_cpu(xs: &[&Tensor]) -> bool {
    let dtype = xs[0].dtype();
    matches!(dtype, DType::F32 | DType::F64) && xs.iter().all(|x| x.device().is_cpu() && x.dtype() == dtype)
}

/// Whether anything upstream of `x` is trained and a backward pass may come: the pixels of a first layer want no gradient.
pub(crate) fn wants_gradient(x: &Tensor) -> bool {
    x.track_op() && Left::now() != Left::Nothing
}

/// What an op of these tensors leaves behind: its result, and perhaps a place in the graph.
fn left_by(xs: &[&Tensor]) -> Left {
    if xs.iter().any(|x| wants_gradient(x)) { Left::now() } else { Left::Nothing }
}

pub(crate) fn apply1<K: Kernel<1>>(k: K, x: &Tensor) -> Result<Tensor> {
    match left_by(&[x]) {
        Left::Nothing => detached1(k, x),
        Left::Graph(Activations::Whole) => put1(k, x),
        Left::Graph(Activations::Bf16) => {
            linked::apply(k, [x], |k, [x]| detached1(k, x), |k, [x]| put1(k, x))
        }
    }
}

pub(crate) fn apply2<K: Kernel<2>>(k: K, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match left_by(&[a, b]) {
        Left::Nothing => detached2(k, a, b),
        Left::Graph(Activations::Whole) => put2(k, a, b),
        Left::Graph(Activations::Bf16) => {
            linked::apply(k, [a, b], |k, [a, b]| detached2(k, a, b), |k, [a, b]| put2(k, a, b))
        }
    }
}

pub(crate) fn apply3<K: Kernel<3>>(k: K, a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    match left_by(&[a, b, c]) {
        Left::Nothing => detached3(k, a, b, c),
        Left::Graph(Activations::Whole) => put3(k, a, b, c),
        Left::Graph(Activations::Bf16) => {
            linked::apply(k, [a, b, c], |k, [a, b, c]| detached3(k, a, b, c), |k, [a, b, c]| put3(k, a, b, c))
        }
    }
}

/// Puts an op into the graph.
fn put1<K: Kernel<1>>(k: K, x: &Tensor) -> Result<Tensor> {
    let (op, mark) = Op::marked(k.clone());
    let y = x.apply_op1(op)?;
    mark.record(&y, &[x], Numbered::<_, 1>(k));
    Ok(y)
}

fn put2<K: Kernel<2>>(k: K, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (op, mark) = Op::marked(k.clone());
    let y = a.apply_op2(b, op)?;
    mark.record(&y, &[a, b], Numbered::<_, 2>(k));
    Ok(y)
}

fn put3<K: Kernel<3>>(k: K, a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    let (op, mark) = Op::marked(k.clone());
    let y = a.apply_op3(b, c, op)?;
    mark.record(&y, &[a, b, c], Numbered::<_, 3>(k));
    Ok(y)
}

/// Runs a kernel outside the graph: for gradients, which Candle differentiates no further.
pub(crate) fn detached1<K: Kernel<1>>(k: K, x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Op::detached(k))
}

/// [`detached1`] for two arguments.
pub(crate) fn detached2<K: Kernel<2>>(k: K, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.apply_op2_no_bwd(b, &Op::detached(k))
}

/// [`detached1`] for three arguments.
pub(crate) fn detached3<K: Kernel<3>>(k: K, a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    a.apply_op3_no_bwd(b, c, &Op::detached(k))
}

/// [`detached1`] for any number of arguments: Candle's own way takes three.
pub(crate) fn detached<K: Kernel<N>, const N: usize>(k: &K, xs: [&Tensor; N]) -> Result<Tensor> {
    fn typed<T: Element, K: Kernel<N>, const N: usize>(k: &K, xs: [&Tensor; N]) -> Result<Tensor> {
        let (data, shape) = with_strided::<T, _, N>(xs, |xs| k.forward_strided(xs))??;
        Tensor::from_vec(data, shape, &Device::Cpu)
    }
    match xs[0].dtype() {
        DType::F32 => typed::<f32, K, N>(k, xs),
        DType::F64 => typed::<f64, K, N>(k, xs),
        other => Err(Error::UnsupportedDTypeForOp(other, K::NAME).bt()),
    }
}

/// Lends what tensors on the CPU hold.
pub(crate) fn with_views<T: Element, R, const N: usize>(
    xs: [&Tensor; N],
    f: impl FnOnce([View<'_, T>; N]) -> R,
) -> Result<R> {
    with_strided(xs, |xs| f(xs.map(Strided::contiguous)))
}

/// [`with_views`] for any number of tensors.
pub(crate) fn with_all_views<T: Element, R>(
    xs: &[Tensor],
    f: impl FnOnce(Vec<View<'_, T>>) -> R,
) -> Result<R> {
    let xs: Vec<&Tensor> = xs.iter().collect();
    with_all_strided(&xs, |xs| f(xs.into_iter().map(Strided::contiguous).collect()))
}

fn with_strided<T: Element, R, const N: usize>(
    xs: [&Tensor; N],
    f: impl FnOnce([Strided<'_, T>; N]) -> R,
) -> Result<R> {
    with_all_strided(&xs, |xs| {
        let Ok(xs) = xs.try_into() else { unreachable!("one argument each") };
        f(xs)
    })
}

fn with_all_strided<T: Element, R>(xs: &[&Tensor], f: impl FnOnce(Vec<Strided<'_, T>>) -> R) -> Result<R> {
    let borrowed: Vec<_> = xs.iter().map(|x| x.storage_and_layout()).collect();
    let mut lent = Vec::with_capacity(xs.len());
    for (storage, layout) in &borrowed {
        let Storage::Cpu(storage) = &**storage else { unreachable!("kernels are for tensors on the CPU") };
        lent.push(Strided::new(storage, layout)?);
    }
    Ok(f(lent))
}

/// Lends `f` the elements of a contiguous tensor on the CPU, if there is one.
pub(crate) fn lend<T: WithDType, R>(
    x: Option<&Tensor>,
    f: impl FnOnce(Option<&[T]>) -> Result<R>,
) -> Result<R> {
    let Some(x) = x else { return f(None) };
    let (storage, layout) = x.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("lend: needs a contiguous CPU tensor, got {layout:?}")
    };
    f(Some(&storage.as_slice::<T>()?[start..end]))
}

/// The adapter Candle sees, and what else its node holds.
struct Op<K>(K, #[expect(dead_code, reason = "it is there to be dropped")] Option<Mark>);

impl<K> Op<K> {
    fn marked(k: K) -> (Self, Mark) {
        let mark = Mark::default();
        (Self(k, Some(mark.clone())), mark)
    }

    /// Outside the graph.
    fn detached(k: K) -> Self {
        Self(k, None)
    }
}

/// A kernel as [`crate::backward()`] sees it, which knows no number of arguments.
struct Numbered<K, const N: usize>(K);

impl<const N: usize, K: Kernel<N>> Derivative for Numbered<K, N> {
    fn origin(&self, args: &[Tensor]) -> Origin {
        Origin { op: K::NAME, operations: self.0.operations(), arguments: self.0.operands(args) }
    }

    fn gradients(&self, args: &[Tensor], y: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let args = std::array::from_fn(|i| &args[i]);
        Ok(self.0.backward(args, y, dy)?.into())
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.0.link()
    }
}

/// Runs the kernel in the arguments' float type.
fn run<K: Kernel<N>, const N: usize>(
    kernel: &K,
    args: [(&CpuStorage, &Layout); N],
) -> Result<(CpuStorage, Shape)> {
    fn typed<T: Element, K: Kernel<N>, const N: usize>(
        kernel: &K,
        args: [(&CpuStorage, &Layout); N],
    ) -> Result<(CpuStorage, Shape)> {
        let mut xs = Vec::with_capacity(N);
        for (storage, layout) in args {
            xs.push(Strided::new(storage, layout)?);
        }
        let Ok(xs) = xs.try_into() else { unreachable!("one argument each") };
        let (data, shape) = kernel.forward_strided::<T>(xs)?;
        debug_assert_eq!(data.len(), shape.elem_count());
        Ok((T::to_cpu_storage_owned(data), shape))
    }
    match args[0].0 {
        CpuStorage::F32(_) => typed::<f32, K, N>(kernel, args),
        CpuStorage::F64(_) => typed::<f64, K, N>(kernel, args),
        other => Err(Error::UnsupportedDTypeForOp(other.dtype(), K::NAME).bt()),
    }
}

impl<K: Kernel<1>> CustomOp1 for Op<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        run(&self.0, [(s, l)])
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [dx] = self.0.backward([x], y, dy)?;
        Ok(dx)
    }
}

impl<K: Kernel<2>> CustomOp2 for Op<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        run(&self.0, [(s1, l1), (s2, l2)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [da, db] = self.0.backward([a, b], y, dy)?;
        Ok((da, db))
    }
}

impl<K: Kernel<3>> CustomOp3 for Op<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        run(&self.0, [(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [da, db, dc] = self.0.backward([a, b, c], y, dy)?;
        Ok((da, db, dc))
    }
}

/// Changes contiguous `f32` CPU tensors in place, all of them in one pass over memory, beside others that are only read.
///
/// `f` receives the elements of each tensor of `state` and of `read`, in the orders given. This is what an optimiser step
/// is made of: Candle's own operations would write a new tensor for every term. The tensors are borrowed one inside the
/// other, so there should be dozens of them rather than thousands.
///
/// # Errors
/// If a tensor of `state` is not a contiguous `f32` tensor on the CPU, one of `read` not an `f32` tensor on the CPU, or if
/// what is to be changed shares its memory with another tensor.
pub fn update_in_place(
    state: &[&Tensor],
    read: &[&Tensor],
    f: impl FnOnce(&mut [&mut [f32]], &[&[f32]]),
) -> Result<()> {
    let mut places = HashSet::new();
    for place in state.iter().map(|x| place(x)) {
        ensure!(places.insert(place), "update_in_place: two of the tensors to be changed share their memory");
    }
    let shared = read.iter().any(|x| places.contains(&place(x)));
    ensure!(!shared, "update_in_place: a tensor that is read shares its memory with one that is changed");
    let held: Vec<_> = read.iter().map(|x| x.storage_and_layout()).collect();
    let plain = held.iter().zip(read).map(|((storage, layout), x)| match &**storage {
        Storage::Cpu(storage) => Strided::<f32>::new(storage, layout).map(|x| x.contiguous()),
        _ => candle_core::bail!("update_in_place: needs CPU tensors, got one on {:?}", x.device().location()),
    });
    let plain = plain.collect::<Result<Vec<_>>>()?;
    let read: Vec<&[f32]> = plain.iter().map(|x| &*x.data).collect();
    nest(state, Vec::with_capacity(state.len()), &read, f)
}

/// Where the storage lies that a tensor is a view of.
fn place(x: &Tensor) -> *const Storage {
    std::ptr::from_ref(&*x.storage_and_layout().0)
}

/// Lends `f` the elements of a contiguous `f32` tensor on the CPU, to be written over.
///
/// # Errors
/// If it is not such a tensor.
pub(crate) fn overwrite<R>(x: &Tensor, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    let mut result = None;
    nest(&[x], Vec::with_capacity(1), &[], |open, _| {
        let [x] = open else { unreachable!("one tensor was given") };
        result = Some(f(x));
    })?;
    let Some(result) = result else { unreachable!("called once") };
    Ok(result)
}

/// Borrows the tensors one inside the other: Candle lends one mutable storage at a time, for the length of a call.
fn nest<F: FnOnce(&mut [&mut [f32]], &[&[f32]])>(
    state: &[&Tensor],
    mut open: Vec<&mut [f32]>,
    read: &[&[f32]],
    f: F,
) -> Result<()> {
    let Some((first, rest)) = state.split_first() else {
        f(&mut open, read);
        return Ok(());
    };
    first.inplace_op1(&Nested { inner: Mutex::new(Some((rest, open, read, f))) })
}

/// What is left to borrow, handed from call to call.
type Remaining<'a, 's, F> = (&'a [&'a Tensor], Vec<&'s mut [f32]>, &'a [&'a [f32]], F);

struct Nested<'a, 's, F> {
    inner: Mutex<Option<Remaining<'a, 's, F>>>,
}

impl<F: FnOnce(&mut [&mut [f32]], &[&[f32]])> InplaceOp1 for Nested<'_, '_, F> {
    fn name(&self) -> &'static str {
        "update_in_place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let taken = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((rest, open, read, f)) = taken else { unreachable!("Candle runs an op once") };
        let CpuStorage::F32(data) = storage else {
            candle_core::bail!("update_in_place: needs f32 tensors, got {:?}", storage.dtype())
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("update_in_place: needs contiguous tensors, got strides {:?}", layout.stride())
        };
        // The vector's lifetime shrinks to this call, so it can take the slice this call was lent.
        let mut open: Vec<&mut [f32]> = open.into_iter().collect();
        open.push(&mut data[start..end]);
        nest(rest, open, read, f)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn update_in_place_sees_all_tensors_at_once() -> Result<()> {
        let (p, m) = (Var::new(&[1f32, 2.0], &Device::Cpu)?, Var::new(&[10f32, 20.0], &Device::Cpu)?);
        let grad = Tensor::new(&[0.5f32, 0.25], &Device::Cpu)?;
        update_in_place(&[&p, &m], &[&grad], |state, read| {
            let ([p, m], [grad]) = (state, read) else { unreachable!("three tensors were given") };
            for i in 0..grad.len() {
                m[i] += grad[i];
                p[i] -= m[i];
            }
        })?;
        assert_eq!(m.to_vec1::<f32>()?, [10.5, 20.25]);
        assert_eq!(p.to_vec1::<f32>()?, [-9.5, -18.25]);
        Ok(())
    }

    #[test]
    fn update_in_place_refuses_other_types() -> Result<()> {
        let p = Var::new(&[1f64], &Device::Cpu)?;
        let grad = Tensor::new(&[1f32], &Device::Cpu)?;
        let error = update_in_place(&[&p], &[&grad], |_, _| {}).expect_err("f64").to_string();
        assert!(error.contains("f32") && error.contains("F64"), "{error}");
        Ok(())
    }

    #[test]
    fn update_in_place_refuses_shared_memory() -> Result<()> {
        let p = Var::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        let other = Var::from_tensor(&p.copy()?)?;
        let row = p.get(0)?;
        let none = Var::zeros(0, DType::F32, &Device::Cpu)?;
        for (state, read, what) in [
            (&[none.as_tensor(), &none][..], &[][..], "two of the tensors to be changed"),
            (&[p.as_tensor(), &other, &p], &[][..], "two of the tensors to be changed"),
            (&[&other, &p], &[&other.t()?, &row], "a tensor that is read shares"),
        ] {
            let error = update_in_place(state, read, |_, _| unreachable!("refused")).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        }
        // What is only read may be read twice.
        update_in_place(&[&other], &[&p, &row], |_, read| {
            assert_eq!(read, [&[1.0, 2.0, 3.0, 4.0][..], &[1.0, 2.0]])
        })
    }
}
