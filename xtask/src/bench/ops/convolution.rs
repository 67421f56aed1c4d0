//! Convolutions of the classic networks.

use nn_core::ops::{
    Activation, Convolution, Padding, TransposedConvolution, conv_transpose1d, conv_transpose2d, conv1d,
    conv2d, conv2d_scale_shift,
};

use super::case::{Case, Input, fixed, trained};
use crate::bench::machine::Work;

/// `batch × c_in → c_out`, image side, kernel, stride.
type Size = (usize, usize, usize, usize, usize, usize);

/// Stages of ResNets at batch 8 and 1.
const STAGES: &[Size] = &[
    (8, 64, 64, 56, 3, 1),
    (8, 128, 128, 28, 3, 1),
    (8, 256, 256, 14, 3, 1),
    (8, 512, 512, 7, 3, 1),
    (1, 64, 64, 56, 3, 1),
    (1, 128, 128, 28, 3, 1),
    (1, 256, 256, 14, 3, 1),
    (1, 512, 512, 7, 3, 1),
    (8, 64, 128, 56, 3, 2),
    (8, 256, 64, 56, 1, 1),
    (8, 64, 256, 56, 1, 1),
    (8, 1024, 256, 14, 1, 1),
    (8, 512, 2048, 7, 1, 1),
    (1, 256, 64, 56, 1, 1),
    (8, 256, 512, 56, 1, 2),
];

/// First layers, whose input is not trained: ResNet, AlexNet, VGG, Inception, LeNet-5, the tutorials' CNN.
const FIRST: &[Size] = &[
    (8, 3, 64, 224, 7, 2),
    (8, 3, 64, 224, 11, 4),
    (8, 3, 64, 224, 3, 1),
    (8, 3, 32, 299, 3, 2),
    (1, 3, 64, 224, 7, 2),
    (64, 1, 6, 28, 5, 1),
    (1, 1, 6, 28, 5, 1),
    (64, 1, 16, 28, 5, 1),
];

/// Later layers of small networks.
const SMALL: &[Size] = &[(64, 6, 16, 14, 5, 1), (1, 6, 16, 14, 5, 1), (64, 16, 32, 14, 5, 1)];

/// Of MobileNets: channels, image side, stride.
const DEPTHWISE: &[(usize, usize, usize, usize)] =
    &[(8, 32, 112, 1), (8, 96, 112, 2), (8, 144, 56, 1), (8, 384, 14, 1), (8, 960, 7, 1), (1, 144, 56, 1)];

/// Of text, speech and wave forms: `batch × c_in → c_out`, length, kernel, stride, dilation.
const SEQUENCES: &[(usize, usize, usize, usize, usize, usize, usize)] = &[
    (8, 128, 128, 400, 3, 1, 1),
    (1, 80, 384, 3000, 3, 1, 1),
    (8, 64, 64, 1024, 2, 1, 64),
    (8, 1, 512, 4000, 10, 5, 1),
];

/// Up again: `batch × c_in → c_out`, image side, kernel, stride, padding. FCN's three, a U-Net's, a generator's.
const UP: &[(usize, usize, usize, usize, usize, usize, usize)] = &[
    (1, 21, 21, 14, 64, 32, 16),
    (1, 21, 21, 28, 16, 8, 4),
    (4, 21, 21, 14, 4, 2, 1),
    (1, 512, 256, 28, 2, 2, 0),
    (8, 256, 128, 16, 4, 2, 1),
    (8, 128, 64, 28, 3, 1, 1),
];

pub(super) fn cases() -> Vec<Case> {
    let stages = STAGES.iter().chain(SMALL).map(|size| case(*size, trained));
    let first = FIRST.iter().map(|size| case(*size, fixed));
    let of_images = stages.chain(first).chain(DEPTHWISE.iter().map(|size| depthwise(*size)));
    let of_images = of_images.chain(ENDED.iter().map(ended));
    of_images.chain(SEQUENCES.iter().map(sequence)).chain(UP.iter().map(up)).chain([up_sequence()]).collect()
}

fn sequence(
    &(batch, c_in, c_out, length, kernel, stride, dilation): &(
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
    ),
) -> Case {
    let pad = if stride == 1 { (kernel - 1) * dilation / 2 } else { 0 };
    let out = (length + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
    let macs = (batch * c_out * out * c_in * kernel) as f64;
    let p = Convolution {
        stride: [stride],
        padding: Padding::Symmetric([pad]),
        dilation: [dilation],
        ..Convolution::default()
    };
    Case::new(
        "conv1d",
        format!("{batch}×{c_in}→{c_out}, {length}, k{kernel} s{stride} d{dilation}"),
        [trained(&[batch, c_in, length]), trained(&[c_out, c_in, kernel])],
        move |x| conv1d(&x[0], &x[1], None, p),
    )
    .work(Work::MultiplyAdds(macs), Work::MultiplyAdds(3.0 * macs))
    .candle(move |x| x[0].conv1d(&x[1], pad, stride, dilation, 1))
    .torch(format!("F.conv1d(x[0], x[1], stride={stride}, padding={pad}, dilation={dilation})"))
}

fn up(
    &(batch, c_in, c_out, side, kernel, stride, pad): &(usize, usize, usize, usize, usize, usize, usize),
) -> Case {
    let macs = (batch * c_in * side * side * c_out * kernel * kernel) as f64;
    let p =
        TransposedConvolution { stride: [stride; 2], padding: [pad; 2], ..TransposedConvolution::default() };
    Case::new(
        "conv_transpose2d",
        format!("{batch}×{c_in}→{c_out}, {side}², k{kernel} s{stride}"),
        [trained(&[batch, c_in, side, side]), trained(&[c_in, c_out, kernel, kernel])],
        move |x| conv_transpose2d(&x[0], &x[1], None, p),
    )
    .work(Work::MultiplyAdds(macs), Work::MultiplyAdds(3.0 * macs))
    .candle(move |x| x[0].conv_transpose2d(&x[1], pad, 0, stride, 1))
    .torch(format!("F.conv_transpose2d(x[0], x[1], stride={stride}, padding={pad})"))
}

/// A vocoder's first step up.
fn up_sequence() -> Case {
    let macs = (512 * 100 * 256 * 16) as f64;
    let p = TransposedConvolution { stride: [8], padding: [4], ..TransposedConvolution::default() };
    Case::new(
        "conv_transpose1d",
        "1×512→256, 100, k16 s8",
        [trained(&[1, 512, 100]), trained(&[512, 256, 16])],
        move |x| conv_transpose1d(&x[0], &x[1], None, p),
    )
    .work(Work::MultiplyAdds(macs), Work::MultiplyAdds(3.0 * macs))
    .candle_forward(|x| x[0].conv_transpose1d(&x[1], 4, 0, 8, 1, 1))
    .torch("F.conv_transpose1d(x[0], x[1], stride=8, padding=4)")
}

/// A convolution with what follows it in evaluation, batch norm as a line and ReLU: sizes of the stages, and depthwise.
const ENDED: &[(Size, usize)] = &[
    ((8, 64, 64, 56, 3, 1), 1),
    ((1, 64, 64, 56, 3, 1), 1),
    ((8, 64, 256, 56, 1, 1), 1),
    ((1, 512, 512, 7, 3, 1), 1),
    ((8, 144, 144, 56, 3, 1), 144),
];

fn ended(&((batch, c_in, c_out, side, kernel, stride), groups): &(Size, usize)) -> Case {
    let (pad, out) = (kernel / 2, side.div_ceil(stride));
    let macs = (batch * c_out * out * out * c_in / groups * kernel * kernel) as f64;
    let p = Convolution {
        stride: [stride; 2],
        padding: Padding::Symmetric([pad; 2]),
        groups,
        ..Convolution::default()
    };
    Case::new(
        "conv2d_scale_shift",
        format!("{batch}×{c_in}→{c_out}, {side}², k{kernel} s{stride} g{groups}"),
        [
            fixed(&[batch, c_in, side, side]),
            fixed(&[c_out, c_in / groups, kernel, kernel]),
            fixed(&[c_out]),
            fixed(&[c_out]),
        ],
        move |x| conv2d_scale_shift(&x[0], &x[1], [&x[2], &x[3]], Some(Activation::Relu), p),
    )
    .work(Work::MultiplyAdds(macs), Work::MultiplyAdds(macs))
    .setup(format!("mean, var = torch.zeros({c_out}), torch.ones({c_out})"))
    .torch(format!(
        "F.relu(F.batch_norm(F.conv2d(x[0], x[1], stride={stride}, padding={pad}, groups={groups}), mean, var, x[2], x[3], False))"
    ))
}

fn case((batch, c_in, c_out, side, kernel, stride): Size, input: fn(&[usize]) -> Input) -> Case {
    let pad = if kernel == 11 { 2 } else { kernel / 2 };
    let out = (side + 2 * pad - kernel) / stride + 1;
    let macs = (batch * c_out * out * out * c_in * kernel * kernel) as f64;
    let gradients = if c_in > 3 { 2.0 } else { 1.0 };
    let p =
        Convolution { stride: [stride; 2], padding: Padding::Symmetric([pad; 2]), ..Convolution::default() };
    Case::new(
        "conv2d",
        format!("{batch}×{c_in}→{c_out}, {side}², k{kernel} s{stride}"),
        [input(&[batch, c_in, side, side]), trained(&[c_out, c_in, kernel, kernel])],
        move |x| conv2d(&x[0], &x[1], None, p),
    )
    .work(Work::MultiplyAdds(macs), Work::MultiplyAdds((1.0 + gradients) * macs))
    .candle(move |x| x[0].conv2d(&x[1], pad, stride, 1, 1))
    .torch(format!("F.conv2d(x[0], x[1], stride={stride}, padding={pad})"))
}

fn depthwise((batch, channels, side, stride): (usize, usize, usize, usize)) -> Case {
    let p = Convolution {
        stride: [stride; 2],
        padding: Padding::Symmetric([1, 1]),
        groups: channels,
        ..Convolution::default()
    };
    let (read, written) = (batch * channels * side * side, batch * channels * (side / stride).pow(2));
    let forward = 4.0 * (read + written) as f64;
    Case::new(
        "depthwise",
        format!("{batch}×{channels}, {side}², k3 s{stride}"),
        [trained(&[batch, channels, side, side]), trained(&[channels, 1, 3, 3])],
        move |x| conv2d(&x[0], &x[1], None, p),
    )
    // Backward: read the gradient and the input, write the input's gradient.
    .work(Work::Bytes(forward), Work::Bytes(forward + 4.0 * (written + 2 * read) as f64))
    .candle(move |x| x[0].conv2d(&x[1], 1, stride, 1, channels))
    .torch(format!("F.conv2d(x[0], x[1], stride={stride}, padding=1, groups={channels})"))
}
