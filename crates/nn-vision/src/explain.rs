//! Where in an image a network looked for its answer.
//!
//! Source: Selvaraju et al. 2017, "Grad-CAM", arXiv:1610.02391, equations 1 and 2; Abnar & Zuidema 2020, "Quantifying attention
//! flow in transformers", arXiv:2005.00928, section 3.
//!
//! No network knows of this: an observer hears the layers that are called.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Error, Result, Tensor, TensorId, Var};
use nn_core::ctx::{Event, Observer};
use nn_core::{Ctx, Layer, ParamStore, backward, ensure, ops};

use crate::Classifier;

/// How much each place of the last map of features speaks for `class`: `relu(Σ αₖ · Aₖ)`, where `αₖ` is the mean of the
/// gradient of the class's logit by the map's channel `Aₖ`. `[1, C, H, W]` → `[h, w]`, as large as that map.
///
/// ```
/// # use nn_core::candle_core::{DType, Device, Result, Tensor};
/// # use nn_core::ParamStore;
/// # use nn_vision::{explain::grad_cam, lenet::{LENET5, LeNet5}};
/// # fn main() -> Result<()> {
/// let network = LeNet5::new(&LENET5, ParamStore::new(0).vb(DType::F32, &Device::Cpu))?;
/// let image = Tensor::ones((1, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(grad_cam(&network, &image, 3)?.dims(), [1, 1]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is not one image, it does not suit the network, there is no such class, or what follows the last map is not a chain
/// of layers, as in a vision transformer: for these there is [`attention_rollout`].
pub fn grad_cam(network: &dyn Classifier, image: &Tensor, class: usize) -> Result<Tensor> {
    one("grad_cam", image)?;
    let called = Called::default();
    let maps = network.features(image, &Ctx::eval().observed(&called))?;
    let lost =
        || Error::Msg(format!("grad_cam: what {} makes of its last map cannot be followed", network.kind()));
    let last = maps.last().ok_or_else(lost)?.id();
    let path = lock(&called.0).iter().rev().find(|(id, _)| *id == last).map(|(_, path)| path.clone());
    let tail = Tail { path: path.ok_or_else(lost)?, state: Mutex::default() };
    let logits = network.call(image, &Ctx::eval().observed(&tail))?;
    let State { map, mut made, failure } = tail.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (map, logits) = map.zip(made.remove(&logits.id())).ok_or_else(lost)?;
    let classes = logits.dim(1)?;
    ensure!(class < classes, "grad_cam: the class must be below {classes}, got {class}");
    let gradients = backward(&ops::select(&logits, 1, class)?)?;
    let gradient = gradients.get(&map).ok_or_else(lost)?;
    let (map, gradient) = (map.as_detached_tensor(), gradient.detach()); // [1, K, h, w]
    let weights = gradient.mean_keepdim((2, 3))?;
    map.broadcast_mul(&weights)?.sum(1)?.relu()?.squeeze(0)
}

/// How much of each patch the class token has taken up through all layers: the product of `½ A + ½ I` over the layers, `A` being
/// the mean of the heads' attention. `[1, C, H, W]` → `[H / patch, W / patch]`; of a network of the zoo with its parameters
/// in `store`, whose heads are 64 wide.
///
/// # Errors
/// If there is not one image, it does not suit the network, or the network is no vision transformer with a class token.
pub fn attention_rollout(network: &dyn Layer, store: &ParamStore, image: &Tensor) -> Result<Tensor> {
    one("attention_rollout", image)?;
    let seen = Attentions::default();
    network.call(image, &Ctx::eval().observed(&seen))?;
    let (inputs, grid) = (lock(&seen.inputs), *lock(&seen.grid));
    let Some([h, w]) = grid.filter(|_| !inputs.is_empty()) else {
        candle_core::bail!("attention_rollout: {} is no vision transformer", network.kind());
    };
    let parameters = store.tensors();
    let mut flow: Option<Tensor> = None;
    for (path, x) in inputs.iter() {
        let parameter = |name: &str| {
            let name = format!("{path}.{name}");
            parameters.get(&name).ok_or_else(|| Error::Msg(format!("attention_rollout: there is no {name}")))
        };
        let attention = attention(x, parameter("in_proj_weight")?, parameter("in_proj_bias")?)?.mean(0)?;
        let with_residual =
            ((&attention + Tensor::eye(attention.dim(0)?, attention.dtype(), &Device::Cpu)?)? * 0.5)?;
        flow = Some(match flow {
            Some(before) => with_residual.matmul(&before)?,
            None => with_residual,
        });
    }
    let Some(flow) = flow else { candle_core::bail!("attention_rollout: there is no layer") };
    let tokens = flow.dim(0)?;
    ensure!(
        tokens > h * w,
        "attention_rollout: there must be a class token, got {tokens} tokens for {h} × {w}"
    );
    flow.narrow(0, 0, 1)?.narrow(1, tokens - h * w, h * w)?.reshape((h, w))
}

/// Numbers of a token that a head sees, in every transformer of the zoo.
const HEAD: usize = 64;

/// `softmax(Q Kᵀ / √64)` of each head: `[1, T, D]` → `[heads, T, T]`.
fn attention(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, tokens, width) = x.dims3()?;
    ensure!(
        width.is_multiple_of(HEAD),
        "attention_rollout: heads must be {HEAD} wide, got tokens of {width}"
    );
    let project = |part: usize| {
        let rows = part * width;
        let y = ops::linear(
            x,
            &weight.narrow(0, rows, width)?.contiguous()?,
            Some(&bias.narrow(0, rows, width)?),
        )?;
        y.reshape((tokens, width / HEAD, HEAD))?.transpose(0, 1)?.contiguous() // [heads, T, 64]
    };
    let scores = (project(0)?.matmul(&project(1)?.transpose(1, 2)?)? * (HEAD as f64).powf(-0.5))?;
    ops::softmax(&scores, 2)?.to_device(&Device::Cpu)
}

fn one(who: &str, image: &Tensor) -> Result<()> {
    ensure!(
        image.rank() == 4 && image.dim(0)? == 1,
        "{who}: the input must be one image, got {:?}",
        image.dims()
    );
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What each layer returned, and where it stands.
#[derive(Default)]
struct Called(Mutex<Vec<(TensorId, String)>>);

impl Observer for Called {
    fn observe(&self, event: &Event<'_>) {
        lock(&self.0).push((event.output.id(), event.path()));
    }
}

/// Does once more what a network does behind a layer, beginning with a variable that has the numbers of the layer's output: so
/// that there is a way back to that place.
struct Tail {
    path: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    map: Option<Var>,
    /// What was made of the variable, by the tensor of the network's own that it equals.
    made: HashMap<TensorId, Tensor>,
    failure: Option<Error>,
}

impl State {
    fn follow(&mut self, event: &Event<'_>) -> Result<()> {
        if let Some(x) = self.made.get(&event.input.id()) {
            let y = event.layer.call(x, &Ctx::eval())?;
            self.made.insert(event.output.id(), y);
        }
        Ok(())
    }
}

impl Observer for Tail {
    fn observe(&self, event: &Event<'_>) {
        let mut state = lock(&self.state);
        if state.failure.is_some() {
            return;
        }
        let done = match &state.map {
            Some(_) => state.follow(event),
            None if event.path() == self.path => Var::from_tensor(event.output).map(|map| {
                state.made.insert(event.output.id(), map.as_tensor().clone());
                state.map = Some(map);
            }),
            None => Ok(()),
        };
        state.failure = done.err();
    }
}

/// What the attention of each layer was given, and how the patches lie.
#[derive(Default)]
struct Attentions {
    inputs: Mutex<Vec<(String, Tensor)>>,
    grid: Mutex<Option<[usize; 2]>>,
}

impl Observer for Attentions {
    fn observe(&self, event: &Event<'_>) {
        let path = event.path();
        if path == "conv_proj" {
            *lock(&self.grid) = event.output.dims4().ok().map(|(_, _, h, w)| [h, w]);
        } else if path.ends_with(".self_attention") {
            lock(&self.inputs).push((path, event.input.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use nn_core::testing::{assert_close, randn};

    use super::*;
    use crate::resnet::{RESNET18, ResNet};
    use crate::vit::{VIT_T_16, Vit, VitConfig};

    /// Selvaraju et al., section 3.1: where a mean and a dense layer follow the last map, as in a ResNet, `αₖ` is the dense
    /// layer's weight over the size of the map.
    #[test]
    fn before_a_mean_and_a_dense_layer_it_is_the_weights_of_that_layer() -> Result<()> {
        let store = ParamStore::new(3);
        let network = ResNet::new(&RESNET18, store.vb(DType::F32, &Device::Cpu))?;
        let image = randn(5, (1, 3, 64, 96))?.to_dtype(DType::F32)?;
        let cam = grad_cam(&network, &image, 7)?;
        let map = network.features(&image, &Ctx::eval())?.remove(3).detach(); // [1, 512, 2, 3]
        let weights = (store.tensors()["fc.weight"].narrow(0, 7, 1)?.reshape((1, 512, 1, 1))? / 6.0)?;
        assert_eq!(cam.dims(), [2, 3]);
        assert_close(&cam, &map.broadcast_mul(&weights)?.sum(1)?.relu()?.squeeze(0)?, 0.0, 1e-5)?;
        Ok(())
    }

    #[test]
    fn what_cannot_be_explained_is_told() -> Result<()> {
        let store = ParamStore::new(3);
        let network = ResNet::new(&RESNET18, store.vb(DType::F32, &Device::Cpu))?;
        let images = Tensor::zeros((2, 3, 64, 64), DType::F32, &Device::Cpu)?;
        let image = images.narrow(0, 0, 1)?.contiguous()?;
        let why = |result: Result<Tensor>| result.expect_err("refused").to_string();
        assert!(why(grad_cam(&network, &images, 0)).contains("one image"));
        assert!(why(grad_cam(&network, &image, 1000)).contains("below 1000, got 1000"));
        assert!(why(attention_rollout(&network, &store, &image)).contains("no vision transformer"));
        let (network, _) = transformer()?;
        assert!(
            why(grad_cam(&network, &images.narrow(0, 0, 1)?.contiguous()?, 0)).contains("cannot be followed")
        );
        Ok(())
    }

    /// Two layers of two heads over 4 × 4 patches.
    fn transformer() -> Result<(Vit, ParamStore)> {
        let store = ParamStore::new(4);
        let cfg = VitConfig { width: 128, heads: 2, depth: 2, image_size: 64, ..VIT_T_16 };
        Ok((Vit::new(&cfg, store.vb(DType::F32, &Device::Cpu))?, store))
    }

    /// What a layer of the transformer returned under a name that ends so, and what it was given.
    struct Heard(Mutex<Vec<[Tensor; 2]>>);

    impl Observer for Heard {
        fn observe(&self, event: &Event<'_>) {
            if event.path().ends_with("layers.encoder_layer_1.self_attention") {
                lock(&self.0).push([event.input.clone(), event.output.clone()]);
            }
        }
    }

    #[test]
    fn attention_is_what_the_layer_computes_with() -> Result<()> {
        let (network, store) = transformer()?;
        let heard = Heard(Mutex::default());
        network.call(&randn(6, (1, 3, 64, 64))?.to_dtype(DType::F32)?, &Ctx::eval().observed(&heard))?;
        let [x, y] = lock(&heard.0).remove(0);
        let parameters = store.tensors();
        let p = |name: &str| &parameters[&format!("encoder.layers.encoder_layer_1.self_attention.{name}")];
        let attention = attention(&x, p("in_proj_weight"), p("in_proj_bias"))?; // [2, 17, 17]
        let (weight, bias) =
            (p("in_proj_weight").narrow(0, 256, 128)?, p("in_proj_bias").narrow(0, 256, 128)?);
        let values = ops::linear(&x, &weight.contiguous()?, Some(&bias.contiguous()?))?.squeeze(0)?; // [17, 128]
        let head = |n: usize| attention.get(n)?.matmul(&values.narrow(1, 64 * n, 64)?.contiguous()?);
        let all = Tensor::cat(&[head(0)?, head(1)?], 1)?;
        let expected = ops::linear(&all, p("out_proj.weight"), Some(p("out_proj.bias")))?;
        assert_close(&y.squeeze(0)?, &expected, 0.0, 1e-5)?;
        Ok(())
    }

    #[test]
    fn a_rollout_is_the_product_of_the_layers_and_loses_nothing() -> Result<()> {
        let (network, store) = transformer()?;
        let image = randn(6, (1, 3, 64, 64))?.to_dtype(DType::F32)?;
        let seen = Attentions::default();
        network.call(&image, &Ctx::eval().observed(&seen))?;
        let p = store.tensors();
        let inputs = lock(&seen.inputs);
        let matrices = inputs.iter().map(|(path, x)| {
            attention(x, &p[&format!("{path}.in_proj_weight")], &p[&format!("{path}.in_proj_bias")])?.mean(0)
        });
        let [first, second] = &matrices.collect::<Result<Vec<_>>>()?[..] else { panic!("two layers") };
        let half = |a: &Tensor| (a + Tensor::eye(17, DType::F32, &Device::Cpu)?)? * 0.5;
        let flow = half(second)?.matmul(&half(first)?)?;
        assert_close(&flow.sum(1)?, &Tensor::ones(17, DType::F32, &Device::Cpu)?, 0.0, 1e-5)?;
        let patches = flow.narrow(0, 0, 1)?.narrow(1, 1, 16)?.reshape((4, 4))?;
        assert_close(&attention_rollout(&network, &store, &image)?, &patches, 0.0, 1e-6)?;
        Ok(())
    }
}
