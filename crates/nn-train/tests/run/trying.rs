//! What is tried before a run: learning rates, and one batch by heart.

use std::ops::ControlFlow;

use nn_core::Ctx;
use nn_train::data::Order;
use nn_train::{FitConfig, LrPoint, LrRange, Schedule, TrainError, lr_find, overfit};

use crate::toy::{Toy, classify, config, go_on, loader, toy};

type Result<T> = std::result::Result<T, TrainError>;

fn tensors(toy: &Toy) -> Vec<Vec<f32>> {
    let tensors = toy.trainer.store().tensors().into_values();
    tensors.map(|t| t.flatten_all().and_then(|t| t.to_vec1()).expect("numbers")).collect()
}

#[test]
fn rates_are_tried_and_nothing_is_left_of_it() -> Result<()> {
    let range = LrRange { from: 1e-4, to: 1e4, steps: 60, ..LrRange::default() };
    let (mut tried, mut fresh) = (toy(config()), toy(config()));
    let before = tensors(&tried);
    let Toy { model, trainer } = &mut tried;
    let train = loader(18, Order::Shuffled);
    let mut heard = 0;
    let hear = |_: &LrPoint| {
        heard += 1;
        ControlFlow::Continue(())
    };
    let curve = lr_find(trainer, &train, range, hear, |batch, ctx| classify(model, batch, ctx))?;
    assert!(curve.points.len() == heard && (20..=60).contains(&heard), "{heard}");
    let found = curve.suggestion().expect("the loss fell");
    assert!(1e-3 < found.steepest && found.steepest < found.lowest && found.lowest < 1e3, "{found:?}");
    assert_eq!(tensors(&tried), before);
    assert_eq!(tried.trainer.steps(), 0);
    tried.fit(go_on)?;
    fresh.fit(go_on)?;
    assert_eq!(tensors(&tried), tensors(&fresh));
    Ok(())
}

#[test]
fn a_batch_is_learnt_by_heart_unless_nothing_is_learnt() -> Result<()> {
    let at = |lr| FitConfig { schedule: Schedule { lr, ..Schedule::default() }, ..config() };
    for (lr, learnt) in [(0.1, true), (0.0, false)] {
        let Toy { model, mut trainer } = toy(at(lr));
        let train = loader(18, Order::Shuffled);
        let found = overfit(
            &mut trainer,
            &train,
            400,
            |_, _| ControlFlow::Continue(()),
            |batch, _| classify(&model, batch, &Ctx::eval()),
        )?;
        assert_eq!(found.learnt(), learnt, "{found:?}");
        assert_eq!(found.steps == 400, !learnt);
    }
    Ok(())
}

#[test]
fn runs_in_a_folder_and_empty_data_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let range = LrRange::default();
    let go = |_: &LrPoint| ControlFlow::Continue(());
    let Toy { model, mut trainer } = toy(config()).create(&folder.path().join("run"))?;
    let train = loader(18, Order::Shuffled);
    let error =
        lr_find(&mut trainer, &train, range, go, |b, ctx| classify(&model, b, ctx)).expect_err("a run");
    assert!(error.to_string().contains("a run in a folder"), "{error}");
    let heart = |_: u64, _: &nn_train::Figures| ControlFlow::Continue(());
    let error =
        overfit(&mut trainer, &train, 9, heart, |b, ctx| classify(&model, b, ctx)).expect_err("a run");
    assert!(error.to_string().contains("a run in a folder"), "{error}");
    let Toy { model, mut trainer } = toy(config());
    let none = loader(0, Order::Shuffled);
    let error =
        lr_find(&mut trainer, &none, range, go, |b, ctx| classify(&model, b, ctx)).expect_err("empty");
    assert!(error.to_string().contains("an example to train on, got 0"), "{error}");
    let error = overfit(&mut trainer, &none, 9, heart, |b, ctx| classify(&model, b, ctx)).expect_err("empty");
    assert!(error.to_string().contains("an example to train on, got 0"), "{error}");
    Ok(())
}
