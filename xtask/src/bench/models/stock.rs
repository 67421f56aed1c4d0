//! Stock Candle's side of `bench models`: models as its own layers alone express them, with the same weights, in this process.
//!
//! Source: torchvision's shapes. Candle has no padded pooling, so ResNet's pads with zeros, below which a ReLU does not go.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Result, ensure};
use candle_core::{D, DType, Device, Module, ModuleT, Tensor};
use nn_core::candle_nn::{self, Conv2dConfig, VarBuilder};

/// A network in evaluation.
type Forward = Box<dyn Fn(&Tensor) -> candle_core::Result<Tensor>>;
type Build = fn(VarBuilder<'_>) -> candle_core::Result<Forward>;

/// What it can express.
const BUILDERS: &[(&str, Build)] = &[
    ("vgg16", vgg16),
    ("resnet18", |vb| resnet(vb, &[2, 2, 2, 2], Block::Basic)),
    ("resnet50", |vb| resnet(vb, &[3, 4, 6, 3], Block::Bottleneck)),
    ("mobilenet_v2", mobilenet_v2),
];

/// The two sides' numbers may differ by so much of the largest.
const TOLERANCE: f32 = 1e-3;

/// A model, and the batch it is shown.
pub(super) struct Stock {
    forward: Forward,
    images: Tensor,
}

impl Stock {
    /// The model of that name, if it is among those that can be expressed, with our weights; its answer is ours.
    pub(super) fn new(
        name: &str,
        weights: HashMap<String, Tensor>,
        images: &Tensor,
        ours: &Tensor,
    ) -> Result<Option<Self>> {
        let Some((_, build)) = BUILDERS.iter().find(|(known, _)| *known == name) else { return Ok(None) };
        let forward = build(VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu))?;
        let most = |x: Tensor| x.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
        let (off, size) = (most((forward(images)? - ours)?)?, most(ours.clone())?);
        ensure!(
            off <= TOLERANCE * size,
            "stock Candle's {name} is another model: its logits are {off} off of {size}"
        );
        Ok(Some(Self { forward, images: images.clone() }))
    }

    /// Seconds a call.
    pub(super) fn seconds(&self, calls: u32) -> Result<f64> {
        let began = Instant::now();
        for _ in 0..calls {
            drop(std::hint::black_box((self.forward)(&self.images)?));
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(calls))
    }
}

/// Kernel, stride, padding and groups of a convolution.
#[derive(Clone, Copy)]
struct Window(usize, usize, usize, usize);

/// A convolution without bias and its norm, under two names.
fn unit(
    [c_in, c_out]: [usize; 2],
    Window(kernel, stride, padding, groups): Window,
    [conv, norm]: [VarBuilder<'_>; 2],
) -> candle_core::Result<Forward> {
    let cfg = Conv2dConfig { stride, padding, groups, ..Conv2dConfig::default() };
    let conv = candle_nn::conv2d_no_bias(c_in, c_out, kernel, cfg, conv)?;
    let norm = candle_nn::batch_norm(c_out, 1e-5, norm)?;
    Ok(Box::new(move |x| norm.forward_t(&conv.forward(x)?, false)))
}

fn vgg16(vb: VarBuilder<'_>) -> candle_core::Result<Forward> {
    let (features, classifier) = (vb.pp("features"), vb.pp("classifier"));
    let (mut stages, mut c_in, mut index) = (Vec::new(), 3, 0);
    for (depth, c_out) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
        let mut convs = Vec::new();
        for _ in 0..depth {
            let cfg = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
            convs.push(candle_nn::conv2d(c_in, c_out, 3, cfg, features.pp(index))?);
            (c_in, index) = (c_out, index + 2);
        }
        stages.push(convs);
        index += 1;
    }
    let dense = |c_in, c_out, name: usize| candle_nn::linear(c_in, c_out, classifier.pp(name));
    let dense = [dense(512 * 7 * 7, 4096, 0)?, dense(4096, 4096, 3)?, dense(4096, 1000, 6)?];
    Ok(Box::new(move |x| {
        let mut x = x.clone();
        for convs in &stages {
            x = convs.iter().try_fold(x, |x, conv| conv.forward(&x)?.relu())?.max_pool2d(2)?;
        }
        let x = dense[1].forward(&dense[0].forward(&x.flatten_from(1)?)?.relu()?)?.relu()?;
        dense[2].forward(&x)
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Basic,
    Bottleneck,
}

fn resnet(vb: VarBuilder<'_>, depths: &[usize; 4], kind: Block) -> candle_core::Result<Forward> {
    let stem = unit([3, 64], Window(7, 2, 3, 1), [vb.pp("conv1"), vb.pp("bn1")])?;
    let (mut blocks, mut c_in) = (Vec::new(), 64);
    for (stage, &depth) in depths.iter().enumerate() {
        for block in 0..depth {
            let (width, stride) = (64 << stage, if block == 0 && stage > 0 { 2 } else { 1 });
            let vb = vb.pp(format!("layer{}.{block}", stage + 1));
            let names = |n: usize| [vb.pp(format!("conv{n}")), vb.pp(format!("bn{n}"))];
            let (convs, c_out) = match kind {
                Block::Basic => (
                    vec![
                        unit([c_in, width], Window(3, stride, 1, 1), names(1))?,
                        unit([width, width], Window(3, 1, 1, 1), names(2))?,
                    ],
                    width,
                ),
                Block::Bottleneck => (
                    vec![
                        unit([c_in, width], Window(1, 1, 0, 1), names(1))?,
                        unit([width, width], Window(3, stride, 1, 1), names(2))?,
                        unit([width, 4 * width], Window(1, 1, 0, 1), names(3))?,
                    ],
                    4 * width,
                ),
            };
            let skip = (stride > 1 || c_in != c_out)
                .then(|| {
                    let vb = vb.pp("downsample");
                    unit([c_in, c_out], Window(1, stride, 0, 1), [vb.pp(0), vb.pp(1)])
                })
                .transpose()?;
            blocks.push((convs, skip));
            c_in = c_out;
        }
    }
    let fc = candle_nn::linear(c_in, 1000, vb.pp("fc"))?;
    Ok(Box::new(move |x| {
        let x = stem(x)?.relu()?.pad_with_zeros(D::Minus1, 1, 1)?.pad_with_zeros(D::Minus2, 1, 1)?;
        let mut x = x.max_pool2d_with_stride(3, 2)?;
        for (convs, skip) in &blocks {
            let Some((last, first)) = convs.split_last() else { continue };
            let y = last(&first.iter().try_fold(x.clone(), |x, conv| conv(&x)?.relu())?)?;
            let skip = skip.as_ref().map_or(Ok(x.clone()), |skip| skip(&x))?;
            x = (y + skip)?.relu()?;
        }
        fc.forward(&x.mean(D::Minus1)?.mean(D::Minus1)?)
    }))
}

/// A convolution and its norm in a sequence.
fn pair(vb: VarBuilder<'_>) -> [VarBuilder<'_>; 2] {
    [vb.pp(0), vb.pp(1)]
}

fn mobilenet_v2(vb: VarBuilder<'_>) -> candle_core::Result<Forward> {
    const TABLE: [[usize; 4]; 7] = [
        [1, 16, 1, 1],
        [6, 24, 2, 2],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ];
    let features = vb.pp("features");
    let stem = unit([3, 32], Window(3, 2, 1, 1), pair(features.pp(0)))?;
    let (mut blocks, mut c_in, mut n) = (Vec::new(), 32, 1);
    for [widen, c_out, repeats, first] in TABLE {
        for block in 0..repeats {
            let (stride, wide) = (if block == 0 { first } else { 1 }, c_in * widen);
            let vb = features.pp(n).pp("conv");
            let mut units = Vec::new();
            if widen > 1 {
                units.push(unit([c_in, wide], Window(1, 1, 0, 1), pair(vb.pp(0)))?);
            }
            let at = units.len();
            units.push(unit([wide, wide], Window(3, stride, 1, wide), pair(vb.pp(at)))?);
            let linear = unit([wide, c_out], Window(1, 1, 0, 1), [vb.pp(at + 1), vb.pp(at + 2)])?;
            blocks.push((units, linear, stride == 1 && c_in == c_out));
            (c_in, n) = (c_out, n + 1);
        }
    }
    let last = unit([c_in, 1280], Window(1, 1, 0, 1), pair(features.pp(n)))?;
    let head = candle_nn::linear(1280, 1000, vb.pp("classifier.1"))?;
    let relu6 = |x: Tensor| x.clamp(0f32, 6f32);
    Ok(Box::new(move |x| {
        let mut x = relu6(stem(x)?)?;
        for (units, linear, residual) in &blocks {
            let y = linear(&units.iter().try_fold(x.clone(), |x, unit| relu6(unit(&x)?))?)?;
            x = if *residual { (x + y)? } else { y };
        }
        head.forward(&relu6(last(&x)?)?.mean(D::Minus1)?.mean(D::Minus1)?)
    }))
}

#[cfg(test)]
mod tests {
    use nn_core::{Ctx, Layer, ParamStore, Random};

    use super::*;

    /// In our own weights, for a small image.
    #[test]
    fn stock_models_are_ours() -> Result<()> {
        for name in ["resnet18", "resnet50", "mobilenet_v2"] {
            let entry = nn_vision::find(name).expect("a model of the zoo");
            let store = ParamStore::new(0);
            let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
            let mut draws = Random::new(0).draws();
            let pixels: Vec<f32> = (0..3 * 64 * 64).map(|_| draws.normal() as f32).collect();
            let images = Tensor::from_vec(pixels, (1, 3, 64, 64), &Device::Cpu)?;
            let logits = model.call(&images, &Ctx::eval())?;
            let weights = || store.tensors().into_iter().collect::<HashMap<_, _>>();
            assert!(Stock::new(name, weights(), &images, &logits)?.is_some());
            let error = Stock::new(name, weights(), &images, &(logits * 1.01)?).err().expect("another's");
            assert!(error.to_string().contains("another model"), "{error}");
            assert!(Stock::new("lenet5", weights(), &images, &images)?.is_none());
        }
        Ok(())
    }
}
