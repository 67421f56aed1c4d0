use candle_core::{DType, Device, Result, Tensor, Var};

use super::*;
use crate::ops::oracle::{assert_same, assert_types};
use crate::testing::{assert_close, gradcheck, randn};

fn attend(x: &[Tensor], attention: Attention<'_>) -> Result<Tensor> {
    scaled_dot_product_attention(&x[0], &x[1], &x[2], attention, &Ctx::train(7))
}

fn oracle(x: &[Tensor], attention: Attention<'_>) -> Result<Tensor> {
    portable(&x[0], &x[1], &x[2], attention, &Ctx::train(7))
}

/// `[B, N, T, D]`, then `M`, `S`, `E`.
fn inputs([b, n, t, d]: [usize; 4], [m, s, e]: [usize; 3]) -> Result<[Tensor; 3]> {
    Ok([randn(1, (b, n, t, d))?, randn(2, (b, m, s, d))?, randn(3, (b, m, s, e))?])
}

/// Zeros and ones.
fn coins(seed: u64, dims: &[usize]) -> Result<Tensor> {
    randn(seed, dims)?.ge(-0.4)
}

/// Every option alone and all together, for `[B, N, T, S]`.
fn with_options([b, n, t, s]: [usize; 4], f: impl Fn(Attention<'_>) -> Result<()>) -> Result<()> {
    let plain = Attention::default();
    f(plain)?;
    f(Attention { scale: Some(0.7), ..plain })?;
    f(Attention { causal: true, ..plain })?;
    f(Attention { dropout: 0.3, ..plain })?;
    let keys = coins(4, &[b, s])?;
    f(Attention { keys: Some(&keys), ..plain })?;
    for dims in [&[t, s][..], &[b, 1, 1, s], &[n, t, 1], &[1, n, 1, s], &[b, n, t, s]] {
        f(Attention { mask: Some(&coins(5, dims)?), ..plain })?;
    }
    let all = Attention { scale: Some(-0.5), causal: true, keys: Some(&keys), mask: None, dropout: 0.5 };
    f(Attention { mask: Some(&coins(6, &[n, t, s])?), ..all })
}

#[test]
fn worked_example() -> Result<()> {
    // Scores ln 3 and 0: weights ¾ and ¼.
    let q = Tensor::new(&[[[[3f64.ln()]]]], &Device::Cpu)?;
    let k = Tensor::new(&[[[[1.0], [0.0]]]], &Device::Cpu)?;
    let v = Tensor::new(&[[[[4.0, 0.0], [0.0, 8.0]]]], &Device::Cpu)?;
    let y = attend(&[q, k, v], Attention::default())?.flatten_all()?.to_vec1::<f64>()?;
    assert!((y[0] - 3.0).abs() < 1e-12 && (y[1] - 2.0).abs() < 1e-12, "{y:?}");
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    for (q, kv) in [
        ([1, 1, 1, 1], [1, 1, 1]),
        ([2, 3, 5, 7], [3, 9, 4]),
        ([1, 2, 70, 16], [2, 70, 32]),
        ([1, 4, 17, 33], [2, 131, 5]),
        ([2, 2, 130, 3], [1, 67, 48]),
    ] {
        let x = inputs(q, kv)?;
        with_options([q[0], q[1], q[2], kv[1]], |attention| {
            assert_same(|x| attend(x, attention), |x| oracle(x, attention), &x, 1e-11)
        })?;
        let x: Vec<Tensor> = x.iter().map(|x| x.to_dtype(DType::F32)).collect::<Result<_>>()?;
        let attention = Attention { causal: true, ..Attention::default() };
        assert_same(|x| attend(x, attention), |x| oracle(x, attention), &x, 2e-5)?;
    }
    Ok(())
}

#[test]
fn nothing_to_see_gives_zeros() -> Result<()> {
    for (q, kv) in [
        ([0, 2, 3, 4], [2, 3, 4]),
        ([2, 2, 0, 4], [2, 3, 4]),
        ([2, 2, 3, 4], [2, 0, 4]),
        ([1, 1, 3, 4], [1, 3, 0]),
    ] {
        with_options([q[0], q[1], q[2], kv[1]], |attention| {
            let x = inputs(q, kv)?.map(|x| Var::from_tensor(&x));
            let [q, k, v] = x.map(|x| x.expect("a float tensor"));
            let x = [q, k, v].map(|x| x.as_tensor().clone());
            let y = attend(&x, attention)?;
            assert_close(&y, &y.zeros_like()?, 0.0, 0.0)?;
            assert_close(&oracle(&x, attention)?, &y, 0.0, 0.0)?;
            let grads = y.sum_all()?.backward()?;
            for x in &x {
                let gradient = grads.get(x).cloned().unwrap_or(x.zeros_like()?);
                assert_close(&gradient, &x.zeros_like()?, 0.0, 0.0)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn numbers_are_added_to_scores() -> Result<()> {
    let x = inputs([2, 2, 67, 5], [2, 70, 3])?;
    for dims in [&[67, 70][..], &[2, 1, 1, 70], &[1, 2, 67, 1]] {
        let mask = randn(8, dims)?;
        let hidden = Tensor::new(f64::NEG_INFINITY, &Device::Cpu)?.broadcast_as(dims)?;
        let mask = coins(9, dims)?.where_cond(&mask, &hidden)?;
        let attention = Attention { mask: Some(&mask), ..Attention::default() };
        assert_same(|x| attend(x, attention), |x| oracle(x, attention), &x, 1e-11)?;
    }
    Ok(())
}

#[test]
fn gradients_are_derivatives() -> Result<()> {
    let x = inputs([2, 2, 3, 4], [1, 5, 2])?;
    with_options([2, 2, 3, 5], |attention| gradcheck(|x| attend(x, attention), &x))?;
    // A bias of relative positions is learnt.
    let [q, k, v] = x;
    let causal = Attention { causal: true, ..Attention::default() };
    gradcheck(|x| attend(x, Attention { mask: Some(&x[3]), ..causal }), &[q, k, v, randn(4, (2, 3, 5))?])
}

#[test]
fn views_of_one_projection_are_read_where_they_are() -> Result<()> {
    let (b, t, n, d) = (2, 5, 3, 4);
    let views = |x: &Tensor| -> Result<Vec<Tensor>> {
        let x = x.reshape((b, t, 3, n, d))?.permute((2, 0, 3, 1, 4))?; // [3, B, N, T, D]
        (0..3).map(|i| x.get(i)).collect()
    };
    let x = [randn(1, (b, t, 3 * n * d))?];
    let attention = Attention { causal: true, ..Attention::default() };
    gradcheck(|x| attend(&views(&x[0])?, attention), &x)?;
    // Queries, keys and values lie across, and so does the gradient.
    let across = |x: &[Tensor]| -> Result<Tensor> {
        let x: Vec<Tensor> = x.iter().map(Tensor::t).collect::<Result<_>>()?;
        attend(&x, attention)?.t()?.transpose(0, 1)
    };
    gradcheck(across, &[randn(1, (2, 1, 3, 4))?, randn(2, (2, 1, 3, 6))?, randn(3, (2, 1, 2, 6))?])
}

#[test]
fn a_query_that_sees_nothing_gives_zeros_and_takes_no_gradient() -> Result<()> {
    let x = inputs([1, 2, 3, 4], [2, 5, 2])?;
    let mask = Tensor::new(&[[1u8, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], &Device::Cpu)?;
    let hidden = Tensor::new(f64::NEG_INFINITY, &Device::Cpu)?.broadcast_as((3, 5))?;
    let added = mask.where_cond(&Tensor::zeros((3, 5), DType::F64, &Device::Cpu)?, &hidden)?;
    let truth = attend(&x, Attention { mask: Some(&mask), ..Attention::default() })?;
    for mask in [&mask, &added, Var::from_tensor(&added)?.as_tensor()] {
        let attention = Attention { mask: Some(mask), ..Attention::default() };
        let q = Var::from_tensor(&x[0])?;
        let y = attend(&[q.as_tensor().clone(), x[1].clone(), x[2].clone()], attention)?;
        assert_close(&y, &truth, 1e-12, 1e-12)?;
        assert_eq!(y.narrow(2, 1, 1)?.flatten_all()?.to_vec1::<f64>()?, [0.0; 4]);
        let grads = y.sqr()?.sum_all()?.backward()?;
        let dq = grads.get(&q).expect("q is a variable");
        assert_eq!(dq.narrow(2, 1, 1)?.flatten_all()?.to_vec1::<f64>()?, [0.0; 8]);
        assert!(dq.flatten_all()?.to_vec1::<f64>()?.iter().all(|x| x.is_finite()));
    }
    Ok(())
}

#[test]
fn large_scores_do_not_overflow() -> Result<()> {
    let [q, k, v] = inputs([1, 1, 20, 8], [1, 150, 3])?;
    let x = [(q * 1000.0)?.to_dtype(DType::F32)?, k.to_dtype(DType::F32)?, v.to_dtype(DType::F32)?];
    assert_same(|x| attend(x, Attention::default()), |x| oracle(x, Attention::default()), &x, 1e-3)
}

#[test]
fn only_what_is_trained_gets_a_gradient() -> Result<()> {
    let [q, k, v] = inputs([1, 1, 2, 3], [1, 2, 3])?;
    let k = Var::from_tensor(&k)?;
    let y = attend(&[q.clone(), k.as_tensor().clone(), v.clone()], Attention::default())?;
    let grads = y.sum_all()?.backward()?;
    assert!(grads.get(&q).is_none() && grads.get(&v).is_none() && grads.get(&k).is_some());
    Ok(())
}

#[test]
fn dropout_is_repeatable_and_only_in_training() -> Result<()> {
    let [q, k, v] = inputs([1, 2, 20, 4], [2, 30, 4])?;
    let attention = Attention { dropout: 0.5, ..Attention::default() };
    let run = |ctx: &Ctx, attention| {
        scaled_dot_product_attention(&q, &k, &v, attention, ctx)?.flatten_all()?.to_vec1::<f64>()
    };
    let first = run(&Ctx::train(1), attention)?;
    assert_eq!(first, run(&Ctx::train(1), attention)?);
    assert_ne!(first, run(&Ctx::train(1).step(2), attention)?);
    assert_eq!(run(&Ctx::eval(), attention)?, run(&Ctx::eval(), Attention::default())?);
    let none = run(&Ctx::train(1), Attention { dropout: 1.0, ..attention })?;
    assert!(none.iter().all(|&y| y == 0.0));
    Ok(())
}

#[test]
fn half_precision_runs_in_f32_and_integers_are_refused() -> Result<()> {
    let x = inputs([1, 2, 5, 8], [2, 7, 8])?;
    assert_types(NAME, |x| attend(x, Attention::default()), &x)
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let [q, k, v] = inputs([2, 4, 3, 5], [2, 7, 6])?;
    let plain = Attention::default();
    let of = |dims: &[usize]| Tensor::zeros(dims, DType::F64, &Device::Cpu);
    let refuse = |x: [&Tensor; 3], attention: Attention<'_>, message: &str| {
        let error =
            scaled_dot_product_attention(x[0], x[1], x[2], attention, &Ctx::eval()).expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    };
    refuse([&of(&[3, 5])?, &k, &v], plain, "q must be of rank 4, got [3, 5]");
    refuse([&q, &of(&[2, 2, 7, 4])?, &v], plain, "got [2, 4, 3, 5], [2, 2, 7, 4] and [2, 2, 7, 6]");
    refuse([&q, &k, &of(&[2, 2, 8, 6])?], plain, "must be [B, N, T, D]");
    refuse([&q, &of(&[2, 3, 7, 5])?, &of(&[2, 3, 7, 6])?], plain, "the heads of k must divide");
    refuse([&of(&[2, 4, 3, 0])?, &of(&[2, 2, 7, 0])?, &v], plain, "queries must have numbers");
    for dropout in [-0.1, 1.5, f64::NAN] {
        refuse([&q, &k, &v], Attention { dropout, ..plain }, "dropout must be in [0, 1]");
    }
    let keys = of(&[2, 7])?;
    refuse(
        [&q, &k, &v],
        Attention { keys: Some(&keys), ..plain },
        "keys must be [2, 7] of U8, got [2, 7] of F64",
    );
    let mask = of(&[2, 3, 7])?;
    refuse(
        [&q, &k, &v],
        Attention { mask: Some(&mask), ..plain },
        "broadcastable to [2, 4, 3, 7], got [2, 3, 7]",
    );
    let mask = of(&[3, 7])?.to_dtype(DType::F32)?;
    refuse([&q, &k, &v], Attention { mask: Some(&mask), ..plain }, "mask must be of U8 or F64, got F32");
    Ok(())
}
