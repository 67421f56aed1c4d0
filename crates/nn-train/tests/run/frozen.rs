//! Runs in which a part of the model is frozen, or learns at a rate of its own.

use candle_core::Result;
use nn_core::{Freeze, Mode, ParamStore};
use nn_train::{FitConfig, Norms, Rule, Scale, Sgd, TrainError};

use crate::toy::{SEED, Toy, classify, config, go_on, toy, toy_in};

fn frozen() -> Toy {
    let store = ParamStore::new(SEED);
    store.freeze(Freeze::Until("second".to_owned()));
    toy_in(store, config())
}

/// Whether each of the layers has other weights than it started with.
fn changed(toy: &Toy) -> Result<[bool; 2]> {
    let start = self::toy(config());
    let values = |toy: &Toy, layer: &str| -> Result<Vec<f32>> {
        toy.trainer.store().tensors()[&format!("{layer}.weight")].flatten_all()?.to_vec1()
    };
    let differs = |layer| -> Result<bool> { Ok(values(toy, layer)? != values(&start, layer)?) };
    Ok([differs("first")?, differs("second")?])
}

#[test]
fn what_is_frozen_stays_and_the_rest_learns() -> std::result::Result<(), TrainError> {
    let mut toy = frozen();
    toy.fit_with(go_on, |model, batch, ctx| {
        if ctx.mode() == Mode::Train {
            assert_eq!((ctx.at("first").mode(), ctx.at("second").mode()), (Mode::Eval, Mode::Train));
        }
        classify(model, batch, ctx)
    })?;
    assert_eq!(changed(&toy)?, [false, true]);
    Ok(())
}

#[test]
fn a_run_with_a_frozen_part_is_resumed_whole() -> std::result::Result<(), TrainError> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    let mut stopped = frozen().create(&path)?;
    stopped.fit(|event| match event {
        nn_train::Event::Epoch(epoch) if epoch.epoch == 2 => std::ops::ControlFlow::Break(()),
        _ => go_on(event),
    })?;
    drop(stopped);
    let (mut resumed, mut whole) = (frozen().resume(&path)?, frozen());
    resumed.fit(go_on)?;
    whole.fit(go_on)?;
    for (name, tensor) in whole.trainer.store().tensors() {
        let other = resumed.trainer.store().tensors()[&name].flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(other, tensor.flatten_all()?.to_vec1::<f32>()?, "{name}");
    }
    Ok(())
}

#[test]
fn norms_may_go_by_what_they_came_with() -> std::result::Result<(), TrainError> {
    for (norms, still) in [(Norms::Batch, 0), (Norms::Running, 1)] {
        let store = ParamStore::new(SEED);
        let vb = store.vb(candle_core::DType::F32, &candle_core::Device::Cpu);
        nn_core::store::buffer(&vb.pp("first.norm"), 3, "running_mean", 0.0)?;
        let toy = toy_in(store, FitConfig { norms, ..config() });
        assert_eq!(toy.trainer.still_layers().len(), still);
        assert_eq!(toy.trainer.still_layers().contains("first.norm"), still == 1);
    }
    Ok(())
}

/// Plain gradient descent at a rate of 0 leaves what it is for.
#[test]
fn groups_have_rates_of_their_own() -> std::result::Result<(), TrainError> {
    let mut toy = toy(FitConfig { optimizer: Rule::Sgd(Sgd::default()), ..config() });
    let first = toy.trainer.store().parameters().into_iter().filter(|(name, _)| name.starts_with("first."));
    let ids: Vec<_> = first.map(|(_, var)| var.id()).collect();
    toy.trainer.scale(Scale { lr: 0.0, ..Scale::default() }, |_, var| ids.contains(&var.id()))?;
    toy.fit(go_on)?;
    assert_eq!(changed(&toy)?, [false, true]);
    Ok(())
}
