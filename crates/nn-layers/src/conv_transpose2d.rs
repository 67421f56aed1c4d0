//! The transposed convolution layer: maps that grow.

use candle_core::{Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{TransposedConvolution, conv_transpose2d};
use nn_core::store::parameter;
use nn_core::{Ctx, Layer, ensure};

use crate::init::Bias;

/// What the weight of a [`ConvTranspose2d`] starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Uniform in `±1/√(c_out / groups · kh · kw)`, PyTorch's default.
    #[default]
    Uniform,
    /// Each channel interpolates itself bilinearly and sees no other: Long et al. 2015, arXiv:1411.4038, section 3.3.
    Bilinear,
}

/// Options of [`ConvTranspose2d`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvTranspose2dConfig {
    /// Strides, padding, dilation and groups.
    pub how: TransposedConvolution,
    /// Whether each output channel has a bias.
    pub bias: Bias,
    /// What the weight starts from.
    pub start: Start,
}

/// A pixel of the input writes a kernel of pixels of the output; see [`conv_transpose2d`].
///
/// Parameters: `weight [c_in, c_out / groups, kh, kw]`, `bias [c_out]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    how: TransposedConvolution,
}

impl ConvTranspose2d {
    /// From `channels[0]` to `channels[1]` channels with a `[height, width]` kernel.
    ///
    /// # Errors
    /// If `groups` does not divide both channel counts, a bilinear start has not as many channels out as in, or `vb` has
    /// the names with other shapes.
    pub fn new(
        channels: [usize; 2],
        kernel: [usize; 2],
        cfg: ConvTranspose2dConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let ConvTranspose2dConfig { how, bias, start } = cfg;
        let ([c_in, c_out], groups) = (channels, how.groups);
        ensure!(
            groups > 0 && c_in.is_multiple_of(groups) && c_out.is_multiple_of(groups),
            "ConvTranspose2d: groups must divide both channel counts, got {groups} groups and {c_in} → {c_out} channels"
        );
        let dims = [c_in, c_out / groups, kernel[0], kernel[1]];
        let bound = 1.0 / (dims[1..].iter().product::<usize>().max(1) as f64).sqrt();
        let uniform = Init::Uniform { lo: -bound, up: bound };
        let weight = match start {
            Start::Uniform => vb.get_with_hints(&dims, "weight", uniform)?,
            Start::Bilinear => {
                ensure!(
                    c_in == c_out,
                    "ConvTranspose2d: a bilinear start needs as many channels out as in, got {c_in} → {c_out}"
                );
                parameter(&vb, "weight", &bilinear(dims)?)?
            }
        };
        let bias = match bias {
            Bias::Learned => Some(vb.get_with_hints(c_out, "bias", uniform)?),
            Bias::StartsAt(value) => Some(vb.get_with_hints(c_out, "bias", Init::Const(value))?),
            Bias::None => None,
        };
        Ok(Self { weight, bias, how })
    }
}

/// Tents over the kernel where a channel meets itself, zeros elsewhere.
fn bilinear([c_in, per_group, kh, kw]: [usize; 4]) -> Result<Tensor> {
    let tent = |k: usize| {
        let factor = k.div_ceil(2) as f64;
        let center = if k % 2 == 1 { factor - 1.0 } else { factor - 0.5 };
        (0..k).map(move |i| 1.0 - (i as f64 - center).abs() / factor)
    };
    let plane: Vec<f64> = tent(kh).flat_map(|y| tent(kw).map(move |x| y * x)).collect();
    let mut weight = vec![0.0; c_in * per_group * plane.len()];
    for (channel, own) in weight.chunks_exact_mut(per_group * plane.len()).enumerate() {
        let place = channel % per_group * plane.len();
        own[place..place + plane.len()].copy_from_slice(&plane);
    }
    Tensor::from_vec(weight, (c_in, per_group, kh, kw), &Device::Cpu)
}

impl Layer for ConvTranspose2d {
    /// `[B, c_in, H, W]` → `[B, c_out, H', W']`
    fn call(&self, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        conv_transpose2d(x, &self.weight, self.bias.as_ref(), self.how)
    }

    fn multiply_adds(&self, x: &Tensor, _y: &Tensor) -> u64 {
        let per_input: usize = self.weight.dims()[1..].iter().product();
        (x.elem_count() * per_input) as u64
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use nn_core::ParamStore;
    use nn_core::ops::{Interpolation, Sampling, interpolate};
    use nn_core::testing::{assert_close, randn};

    use super::*;

    /// Away from the border, where interpolation repeats pixels and a transposed convolution has zeros.
    #[test]
    fn a_bilinear_start_interpolates() -> Result<()> {
        for groups in [1, 3] {
            let store = ParamStore::new(0);
            let how = TransposedConvolution { stride: [2, 2], padding: [1, 1], groups, ..Default::default() };
            let cfg = ConvTranspose2dConfig { how, bias: Bias::None, start: Start::Bilinear };
            let layer = ConvTranspose2d::new([3, 3], [4, 4], cfg, store.vb(DType::F64, &Device::Cpu))?;
            let x = randn(1, (2, 3, 5, 6))?;
            let expected = interpolate(&x, [10, 12], Interpolation::Bilinear(Sampling::Centers))?;
            let inside = |t: &Tensor| t.narrow(2, 1, 8)?.narrow(3, 1, 10);
            assert_close(&inside(&layer.call(&x, &Ctx::eval())?)?, &inside(&expected)?, 1e-12, 1e-12)?;
        }
        Ok(())
    }

    #[test]
    fn a_bilinear_start_to_other_channels_is_refused() {
        let cfg = ConvTranspose2dConfig { start: Start::Bilinear, ..Default::default() };
        let vb = ParamStore::new(0).vb(DType::F32, &Device::Cpu);
        let message = ConvTranspose2d::new([3, 2], [4, 4], cfg, vb).expect_err("3 → 2").to_string();
        assert!(message.contains("3 → 2"), "{message}");
    }
}
