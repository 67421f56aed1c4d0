use candle_core::{DType, Device};

use super::*;
use crate::ops::oracle::{assert_same, assert_types};
use crate::testing::{gradcheck, randn};

/// Every function with its default, and where there is an option other values of it.
fn kinds() -> Vec<Activation> {
    let others = [
        Activation::LeakyRelu { slope: 0.0 },
        Activation::LeakyRelu { slope: -0.5 },
        Activation::Elu { alpha: 0.4 },
        Activation::Softplus { beta: 2.5 },
    ];
    Activation::ALL.into_iter().chain(others).collect()
}

fn portable(kind: Activation, x: &Tensor) -> Result<Tensor> {
    struct Portable<'a>(&'a Tensor);
    impl Visitor for Portable<'_> {
        type Output = Result<Tensor>;

        fn visit<P: Pointwise>(self, f: P) -> Result<Tensor> {
            f.portable(self.0)
        }
    }
    kind.visit(Portable(x))
}

/// Values and derivatives at `x`, in `f32`.
fn at(kind: Activation, x: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
    let x = candle_core::Var::new(x, &Device::Cpu)?;
    let y = kind.forward(&x)?;
    let grads = y.sum_all()?.backward()?;
    Ok((y.to_vec1()?, grads.get(&x).expect("x is a variable").to_vec1()?))
}

#[test]
fn values_and_derivatives_at_kinks_are_those_of_pytorch() -> Result<()> {
    // torch 2.15: y = f(x); y.sum().backward(); y, x.grad
    const X: [f32; 6] = [-1.0, 0.0, 1.0, 6.0, 7.0, f32::INFINITY];
    type Case = (Activation, [f32; 6], [f32; 6]);
    let inf = f32::INFINITY;
    let cases: [Case; 6] = [
        (Activation::HardTanh, [-1.0, 0.0, 1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        (
            Activation::Elu { alpha: 0.5 },
            [-0.31606027, 0.0, 1.0, 6.0, 7.0, inf],
            [0.18393973, 0.5, 1.0, 1.0, 1.0, 1.0],
        ),
        (Activation::Relu, [0.0, 0.0, 1.0, 6.0, 7.0, f32::INFINITY], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
        (
            Activation::LeakyRelu { slope: 0.1 },
            [-0.1, 0.0, 1.0, 6.0, 7.0, f32::INFINITY],
            [0.1, 0.1, 1.0, 1.0, 1.0, 1.0],
        ),
        (
            Activation::LeakyRelu { slope: -0.5 },
            [0.5, 0.0, 1.0, 6.0, 7.0, f32::INFINITY],
            [-0.5, -0.5, 1.0, 1.0, 1.0, 1.0],
        ),
        (Activation::Relu6, [0.0, 0.0, 1.0, 6.0, 6.0, 6.0], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    ];
    for (kind, y, dx) in cases {
        let got = at(kind, &X)?;
        assert_eq!((got.0.as_slice(), got.1.as_slice()), (y.as_slice(), dx.as_slice()), "{kind:?}");
    }
    for kind in kinds() {
        assert!(at(kind, &[f32::NAN])?.0[0].is_nan(), "{kind:?} hides NaN");
    }
    Ok(())
}

#[test]
fn worked_examples() -> Result<()> {
    let (y, dx) = at(Activation::Sigmoid, &[0.0, 3f32.ln(), -1000.0, 1000.0])?;
    assert_eq!((y[0], y[2], y[3]), (0.5, 0.0, 1.0));
    assert_eq!((dx[0], dx[2], dx[3]), (0.25, 0.0, 0.0));
    assert!((y[1] - 0.75).abs() < 1e-7 && (dx[1] - 0.1875).abs() < 1e-7);
    let (y, dx) = at(Activation::Tanh, &[0.0, 0.5 * 3f32.ln(), -1000.0, 1000.0])?;
    assert_eq!((y[0], y[2], y[3]), (0.0, -1.0, 1.0));
    assert_eq!((dx[0], dx[2], dx[3]), (1.0, 0.0, 0.0));
    assert!((y[1] - 0.5).abs() < 1e-7 && (dx[1] - 0.75).abs() < 1e-7);
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    for kind in kinds() {
        for shape in [vec![], vec![0, 3], vec![1], vec![3, 4, 5], vec![2, 3, 70, 90]] {
            let x = (randn(7, shape.as_slice())? * 4.0)?;
            for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
                let x = x.to_dtype(dtype)?;
                assert_same(|x| kind.forward(&x[0]), |x| portable(kind, &x[0]), &[x], tolerance)?;
            }
        }
        let view = |x: &Tensor| x.transpose(0, 2)?.narrow(1, 1, 3);
        assert_same(
            |x| kind.forward(&view(&x[0])?),
            |x| portable(kind, &view(&x[0])?),
            &[randn(8, (3, 5, 4))?],
            1e-13,
        )?;
        // The kinks themselves.
        let x = Tensor::new(&[-1.0, 0.0, -0.0, 6.0, 7.0], &Device::Cpu)?;
        assert_same(|x| kind.forward(&x[0]), |x| portable(kind, &x[0]), &[x], 1e-13)?;
    }
    Ok(())
}

#[test]
fn gradients_are_derivatives() -> Result<()> {
    let x = (randn(9, (3, 4, 5))? * 4.0)?;
    for kind in kinds() {
        gradcheck(|x| kind.forward(&x[0]), std::slice::from_ref(&x))?;
        gradcheck(|x| kind.forward(&x[0].t()?.narrow(1, 1, 3)?), std::slice::from_ref(&x))?;
    }
    Ok(())
}

#[test]
fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
    for kind in kinds() {
        assert_types(kind.name(), |x| kind.forward(&x[0]), &[(randn(1, (3, 7))? * 3.0)?])?;
    }
    Ok(())
}

#[test]
fn far_from_0_nothing_overflows() -> Result<()> {
    let x = [-1e30, -200.0, -90.0, 90.0, 200.0, 1e30];
    for kind in kinds() {
        let (y, dx) = at(kind, &x)?;
        assert!(y.iter().chain(&dx).all(|y| y.is_finite()), "{kind:?}: {y:?}, {dx:?}");
    }
    Ok(())
}

#[test]
fn names_go_both_ways() -> Result<()> {
    for kind in Activation::ALL {
        assert_eq!(Activation::from_name(kind.name())?, kind);
    }
    let error = Activation::from_name("swish").expect_err("not there").to_string();
    assert!(error.contains("one of relu, leaky_relu, relu6,") && error.contains("got \"swish\""), "{error}");
    Ok(())
}
