//! What the loss of the first step does not depend on.

use std::ops::ControlFlow;

use candle_core::{Device, Result, Tensor};
use candle_nn::Init;
use nn_core::{Ctx, ParamStore};
use nn_train::data::{Batch, Order};
use nn_train::{Outcome, TrainError, Trainer, overfit, without_gradient};

use crate::toy::{Model, Toy, config, go_on, loader};

/// The toy with a head that nobody asks.
fn with_head() -> Result<Toy> {
    let store = ParamStore::new(5);
    let vb = store.vb(candle_core::DType::F32, &Device::Cpu).pp("aux");
    for (name, shape) in [("weight", &[3, 6][..]), ("bias", &[3])] {
        vb.get_with_hints(shape, name, Init::Const(0.5))?;
    }
    let model = Model::new(&store)?;
    Ok(Toy { trainer: Trainer::new(&store, config())?, model })
}

/// The first layer is cut off, as a detached tensor does it.
fn cut(model: &Model, batch: &Batch, _: &Ctx<'_>) -> Result<Outcome> {
    let scores = model.call(&batch.inputs, &Ctx::eval())?;
    let head = model.second_of(&Tensor::ones_like(&batch.inputs)?)?;
    Outcome::classification(&(scores.detach() + head)?, &batch.targets)
}

#[test]
fn the_first_step_names_what_has_no_gradient() -> Result<()> {
    let mut toy = with_head()?;
    let error = toy.fit(go_on).expect_err("the head is not asked");
    assert!(matches!(&error, TrainError::Unused { parameters } if *parameters == ["aux.bias", "aux.weight"]));
    let told = error.to_string();
    assert!(
        told.contains("2 parameters have no gradient") && told.contains(": aux.bias, aux.weight;"),
        "{told}"
    );
    let error = toy_with(cut)?.expect_err("the first layer is cut off").to_string();
    assert!(error.contains("first.bias, first.weight"), "{error}");
    Ok(())
}

fn toy_with(
    forward: fn(&Model, &Batch, &Ctx<'_>) -> Result<Outcome>,
) -> Result<std::result::Result<(), TrainError>> {
    Ok(crate::toy::toy(config()).fit_with(go_on, forward).map(drop))
}

#[test]
fn what_may_be_unused_is_left_as_it_is() -> Result<()> {
    let mut toy = with_head()?;
    toy.trainer.allow_unused(|name, _| name.starts_with("aux."));
    toy.fit(go_on).expect("the head may be left out");
    let weight = toy.trainer.store().tensors()["aux.weight"].flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(weight, [0.5; 18]);
    Ok(())
}

#[test]
fn a_batch_by_heart_is_audited_too_and_so_is_a_loop_of_ones_own() -> Result<()> {
    let Toy { model, mut trainer } = with_head()?;
    let train = loader(18, Order::Shuffled);
    let forward = |batch: &Batch, _: &Ctx<'_>| crate::toy::classify(&model, batch, &Ctx::eval());
    let error =
        overfit(&mut trainer, &train, 9, |_, _| ControlFlow::Continue(()), forward).expect_err("unused");
    assert!(matches!(error, TrainError::Unused { .. }), "{error}");
    let batch = train.epoch(0).next().expect("a batch")?;
    let grads = nn_core::backward(forward(&batch, &Ctx::train(0))?.loss())?;
    let parameters = trainer.store().parameters();
    assert_eq!(without_gradient(&grads, &parameters), ["aux.bias", "aux.weight"]);
    Ok(())
}
