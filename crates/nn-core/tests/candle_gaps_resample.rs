//! What stock Candle 0.11.1 gets wrong about images of another size and rotary embeddings, beside what replaces it.

use nn_core::candle_core::{Device, Result, Tensor, Var};
use nn_core::candle_nn::rotary_emb::rope;
use nn_core::ops::{Interpolation, RotaryPairs, Sampling, interpolate, rotary_embedding};
use nn_core::testing::{gradcheck, randn};

const FIXED: &str = "stock Candle does this right now: drop this gap";

fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.flatten_all()?.to_vec1()
}

/// FCN and DeepLab end with it, and cannot be trained.
#[test]
fn bilinear_interpolation_has_a_gradient() -> Result<()> {
    let x = Var::from_tensor(&randn(1, (1, 2, 3, 4))?)?;
    assert!(x.upsample_bilinear2d(6, 7, false)?.sum_all()?.backward().is_err(), "{FIXED}");
    gradcheck(|x| interpolate(&x[0], [6, 7], Interpolation::Bilinear(Sampling::Centers)), &[x.copy()?])
}

/// If nothing changes its size, all the memory behind a view is returned as if it were the view.
#[test]
fn an_image_of_the_same_size_is_the_same_image() -> Result<()> {
    let x = Tensor::arange(0f64, 8.0, &Device::Cpu)?.reshape((2, 1, 2, 2))?.narrow(0, 1, 1)?;
    assert_ne!(values(&x.upsample_bilinear2d(2, 2, false)?)?, [4.0, 5.0, 6.0, 7.0], "{FIXED}");
    let same = interpolate(&x, [2, 2], Interpolation::Bilinear(Sampling::Centers))?;
    assert_eq!(values(&same)?, [4.0, 5.0, 6.0, 7.0]);
    Ok(())
}

#[test]
fn nearest_pixels_have_a_gradient_for_any_size() -> Result<()> {
    let x = Var::from_tensor(&randn(1, (1, 1, 2, 2))?)?;
    for [h, w] in [[3, 3], [2, 4]] {
        assert!(x.upsample_nearest2d(h, w)?.sum_all()?.backward().is_err(), "{FIXED}");
        gradcheck(|x| interpolate(&x[0], [h, w], Interpolation::Nearest), &[x.copy()?])?;
    }
    Ok(())
}

/// What a U-Net's decoder sends back takes the place of what another use of the same features has sent.
#[test]
fn a_skip_connection_keeps_its_gradient() -> Result<()> {
    let x = Var::from_tensor(&randn(1, (1, 1, 1, 1))?)?;
    let gradients = |up: fn(&Tensor) -> Result<Tensor>| -> Result<[f64; 2]> {
        let mut both = [0.0; 2];
        for (order, gradient) in both.iter_mut().enumerate() {
            let (up, skip) = (up(&x)?.sum_all()?, (x.as_tensor() * 10.0)?.sum_all()?);
            let loss = if order == 0 { up + skip } else { skip + up }?;
            *gradient = values(loss.backward()?.get(&x).expect("the input's gradient"))?[0];
        }
        Ok(both)
    };
    assert!(gradients(|x| x.upsample_nearest2d(2, 2))?.contains(&4.0), "{FIXED}");
    assert_eq!(gradients(|x| interpolate(x, [2, 2], Interpolation::Nearest))?, [14.0; 2]);
    Ok(())
}

/// A ViT's position embeddings are fitted to images of another size by bicubic weights, antialiased.
#[test]
fn interpolation_is_bicubic_and_antialiased() -> Result<()> {
    let x = Tensor::new(&[[[[0f64, 0.0, 1.0, 0.0, 0.0, 0.0]]]], &Device::Cpu)?;
    // A third of the size: the tent is six pixels wide, where the plain one is two and misses the bright pixel.
    assert_eq!(values(&x.upsample_bilinear2d(1, 2, false)?)?, [0.0, 0.0], "{FIXED}");
    let y = values(&interpolate(&x, [1, 2], Interpolation::Bilinear(Sampling::Antialiased))?)?;
    assert!(y.iter().all(|&y| y > 0.1), "{y:?}");
    // Cubic weights overshoot beside an edge.
    let y = values(&interpolate(&x, [1, 12], Interpolation::Bicubic(Sampling::Antialiased))?)?;
    assert!(y.iter().any(|&y| y < -0.01), "{y:?}");
    Ok(())
}

#[test]
fn rotary_embeddings_have_a_gradient_and_take_views() -> Result<()> {
    let (x, angles) = (Var::from_tensor(&randn(1, (1, 3, 2, 4))?)?, randn(2, (3, 2))?);
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    // Heads behind positions, as a projection leaves them.
    assert!(rope(&x.transpose(1, 2)?, &cos, &sin).is_err(), "{FIXED}");
    let turned = rope(&x.transpose(1, 2)?.contiguous()?, &cos, &sin)?;
    assert!(turned.sum_all()?.backward()?.get(&x).is_none(), "{FIXED}");
    let ours = |x: &[Tensor]| rotary_embedding(&x[0].transpose(1, 2)?, &cos, &sin, RotaryPairs::Halves);
    assert_eq!(values(&ours(&[x.as_tensor().clone()])?)?.len(), 24);
    gradcheck(ours, &[x.copy()?])
}
