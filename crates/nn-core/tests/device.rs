//! The portable path on an accelerator against the kernels on the CPU, values and gradients.
//!
//! `cargo test --release -p nn-core --features cuda --test device` on a machine with a GPU; without one it says so.

use candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::ops::{
    self, Activation, AvgPool2d, BatchNorm, Convolution, MaxPool2d, Padding, RecurrentOptions,
    RecurrentWeights, Reduction, TransposedConvolution,
};
use nn_core::testing::{assert_close, randn};
use nn_core::{Ctx, backward};

/// A function of some tensors.
type Function = fn(&[Tensor]) -> Result<Tensor>;

/// An op: its name, the shapes of its arguments, itself.
type Case = (&'static str, &'static [&'static [usize]], Function);

const CASES: &[Case] = &[
    ("conv2d", &[&[2, 4, 9, 8], &[6, 2, 3, 3], &[6]], |x| {
        let p = Convolution { stride: [2, 1], padding: Padding::Same, groups: 2, ..Convolution::default() };
        ops::conv2d(&x[0], &x[1], Some(&x[2]), p)
    }),
    ("depthwise", &[&[2, 4, 9, 8], &[4, 1, 3, 3]], |x| {
        ops::conv2d(&x[0], &x[1], None, Convolution { groups: 4, ..Convolution::default() })
    }),
    ("conv1d", &[&[2, 4, 19], &[6, 4, 3]], |x| {
        ops::conv1d(&x[0], &x[1], None, Convolution { dilation: [2], ..Convolution::default() })
    }),
    ("conv_transpose2d", &[&[2, 4, 5, 6], &[4, 3, 4, 4]], |x| {
        let p = TransposedConvolution { stride: [2, 2], padding: [1, 1], ..TransposedConvolution::default() };
        ops::conv_transpose2d(&x[0], &x[1], None, p)
    }),
    ("linear", &[&[3, 5], &[4, 5], &[4]], |x| ops::linear(&x[0], &x[1], Some(&x[2]))),
    ("max_pool2d", &[&[2, 3, 9, 8]], |x| ops::max_pool2d(&x[0], MaxPool2d::new([3, 2]))),
    ("avg_pool2d", &[&[2, 3, 9, 8]], |x| ops::avg_pool2d(&x[0], AvgPool2d::new([3, 2]))),
    ("batch_norm", &[&[4, 3, 5, 5], &[3], &[3]], |x| {
        let options = BatchNorm { activation: Some(Activation::Relu), ..BatchNorm::default() };
        ops::batch_norm(&x[0], Some([&x[1], &x[2]]), None, options, &Ctx::train(0))
    }),
    ("layer_norm", &[&[4, 3, 7], &[7], &[7]], |x| ops::layer_norm(&x[0], 1, Some(&x[1]), Some(&x[2]), 1e-5)),
    ("group_norm", &[&[4, 6, 5], &[6], &[6]], |x| ops::group_norm(&x[0], 3, Some([&x[1], &x[2]]), 1e-5)),
    ("softmax", &[&[4, 3, 7]], |x| ops::softmax(&x[0], 1)),
    ("gelu", &[&[4, 3, 7]], |x| ops::gelu(&x[0])),
    ("silu", &[&[4, 3, 7]], |x| ops::silu(&x[0])),
    ("cross_entropy", &[&[4, 5]], |x| {
        let labels = Tensor::new(&[0u32, 4, 2, 2], x[0].device())?;
        ops::cross_entropy(&x[0], &labels, Reduction::Mean)
    }),
    ("attention", &[&[2, 2, 5, 4], &[2, 2, 6, 4], &[2, 2, 6, 4]], |x| {
        ops::scaled_dot_product_attention(&x[0], &x[1], &x[2], ops::Attention::default(), &Ctx::eval())
    }),
    ("lstm", &[&[2, 4, 3], &[8, 3], &[8, 2], &[8], &[8]], |x| {
        let [w_ih, w_hh, b_ih, b_hh] = [1, 2, 3, 4].map(|i| x[i].clone());
        let weights = RecurrentWeights { w_ih, w_hh, b_ih: Some(b_ih), b_hh: Some(b_hh) };
        Ok(ops::lstm(&x[0], &weights, None, RecurrentOptions::default())?.0)
    }),
];

/// The op's output, and the gradients of its sum by every argument.
fn run(&(_, shapes, f): &Case, device: &Device) -> Result<Vec<Tensor>> {
    let args = (1..).zip(shapes).map(|(seed, &shape)| {
        let values = randn(seed, shape)?.to_dtype(DType::F32)?;
        Var::from_tensor(&values.to_device(device)?)
    });
    let args = args.collect::<Result<Vec<_>>>()?;
    let tensors: Vec<_> = args.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let grads = backward(&y)?;
    let gradients = args.iter().map(|var| grads.get(var).expect("every argument has a gradient").clone());
    [y.clone()].into_iter().chain(gradients).map(|t| t.to_device(&Device::Cpu)).collect()
}

fn accelerator() -> Result<Option<Device>> {
    let device =
        if cfg!(feature = "metal") { Device::metal_if_available(0)? } else { Device::cuda_if_available(0)? };
    Ok((!device.is_cpu()).then_some(device))
}

#[test]
fn an_accelerator_gives_what_the_cpu_gives() -> Result<()> {
    let device = accelerator()?;
    if device.is_none() {
        println!("skipped on the accelerator: there is none, or neither `cuda` nor `metal` is on");
    }
    for case in CASES {
        let ours = run(case, &Device::Cpu)?;
        for t in &ours {
            let finite = t.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite());
            assert!(finite, "{}: not finite", case.0);
        }
        let Some(device) = &device else { continue };
        for (cpu, gpu) in ours.iter().zip(run(case, device)?) {
            assert_close(&gpu, cpu, 1e-4, 1e-5)?;
        }
    }
    Ok(())
}
