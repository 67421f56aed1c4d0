//! Any classifier as the body of another network: its feature maps, without what comes after them.
//!
//! Source: Long, Shelhamer & Darrell 2015, arXiv:1411.4038, section 4, for leaving the classifier out; timm's
//! `feature_info` for what a stage tells about itself.

use std::collections::BTreeSet;
use std::sync::Mutex;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use nn_core::ctx::{Event, Observer};
use nn_core::{Ctx, ensure};

use crate::Classifier;

/// A classifier that has given up its head: only what its features are made with has parameters.
pub struct Backbone {
    network: Box<dyn Classifier>,
    stages: Vec<Stage>,
}

/// A map that [`Backbone::features`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Channels of the map.
    pub channels: usize,
    /// Pixels of the image from one of the map to the next.
    pub stride: usize,
}

/// Sides of the images on which a backbone is tried: multiples of every stride, and not too small for any network.
const PROBES: [usize; 2] = [96, 160];

impl Backbone {
    /// What `build` makes of `vb`, without the parameters that [`Classifier::features`] does without.
    ///
    /// It is built twice: once without memory for parameters, to see which layers images of zeros with `in_channels`
    /// channels go through, and what comes out.
    ///
    /// # Errors
    /// As for `build`; if the network does not take so many channels.
    pub fn new<C: Classifier + 'static>(
        in_channels: usize,
        build: impl Fn(VarBuilder<'static>) -> Result<C>,
        vb: VarBuilder<'static>,
    ) -> Result<Self> {
        let (dtype, device) = (vb.dtype(), vb.device().clone());
        let sketch = build(Headless { inner: None, layers: BTreeSet::new() }.builder(dtype, &device))?;
        let called = Called::default();
        let maps = |side: usize| {
            let image = Tensor::zeros((1, in_channels, side, side), dtype, &device)?;
            sketch.features(&image, &Ctx::eval().observed(&called))
        };
        let stages = maps(PROBES[0])?.into_iter().zip(maps(PROBES[1])?).map(|(small, large)| {
            let ((_, channels, small, _), (_, _, large, _)) = (small.dims4()?, large.dims4()?);
            ensure!(
                large > small,
                "Backbone: a larger image must have larger maps, got {small} and {large} rows"
            );
            Ok(Stage { channels, stride: (PROBES[1] - PROBES[0]) / (large - small) })
        });
        let stages = stages.collect::<Result<_>>()?;
        let layers = called.0.into_inner().unwrap_or_default();
        let network = build(Headless { inner: Some(vb), layers }.builder(dtype, &device))?;
        Ok(Self { network: Box::new(network), stages })
    }

    /// What [`Backbone::features`] returns, finest first.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// `[B, C, H, W]` → a map for each of [`Backbone::stages`].
    ///
    /// # Errors
    /// As for [`Classifier::features`].
    pub fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        self.network.features(x, ctx)
    }
}

/// The paths of layers that were called.
#[derive(Default)]
struct Called(Mutex<BTreeSet<String>>);

impl Observer for Called {
    fn observe(&self, event: &Event<'_>) {
        if let Ok(mut paths) = self.0.lock() {
            paths.insert(event.path());
        }
    }
}

/// Parameters of some layers are those of `inner`; all others are zeros that take no memory.
struct Headless {
    inner: Option<VarBuilder<'static>>,
    layers: BTreeSet<String>,
}

impl Headless {
    fn builder(self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), dtype, device.clone())
    }

    /// A parameter without a layer of its own belongs to the network, whose features may use it.
    fn keeps(&self, name: &str) -> bool {
        name.rsplit_once('.').is_none_or(|(layer, _)| self.layers.contains(layer))
    }
}

impl SimpleBackend for Headless {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        match &self.inner {
            Some(inner) if self.keeps(name) => inner.get_with_hints_dtype(shape, name, init, dtype),
            _ => Tensor::zeros((), dtype, device)?.broadcast_as(shape),
        }
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("Backbone: the shape of {name} was not given")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.inner.as_ref().is_some_and(|inner| self.keeps(name) && inner.contains_tensor(name))
    }
}
