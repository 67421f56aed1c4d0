//! Weights that a run leaves say where they are from.

use std::collections::BTreeMap;

use nn_core::weights::WeightFile;
use nn_train::run::{About, Begin, EMA, MODEL};
use nn_train::{FitConfig, TrainError};

use crate::toy::{config, go_on, toy};

#[test]
fn the_best_weights_say_what_they_were_made_of_and_how_good_they_are() -> Result<(), TrainError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let start = BTreeMap::from([("start.licence".to_owned(), "MIT".to_owned())]);
    let about = About { title: "toy on tables".to_owned(), provenance: start, ..About::default() };
    let averaged = || toy(FitConfig { ema: Some(0.5), ..config() });
    let mut toy = averaged();
    toy.trainer.create(&path, Begin { recipe: "model = \"toy\"\n", known: "{}", about })?;
    toy.fit(|_| std::ops::ControlFlow::Break(()))?;
    drop(toy);
    // Also of a run that was taken up again.
    let summary = averaged().resume(&path)?.fit(go_on)?;
    let best = [summary.best, summary.best_ema].map(|best| best.expect("an evaluation"));
    for (name, best) in [MODEL, EMA].into_iter().zip(best) {
        let file = WeightFile::open(path.join(name))?;
        let said = |key: &str| file.about().metadata.get(key).map(String::as_str);
        assert_eq!(said("recipe"), Some("model = \"toy\"\n"));
        assert_eq!(said("source"), Some("a training run: toy on tables"));
        assert_eq!(said("start.licence"), Some("MIT"));
        assert_eq!(said("step"), Some(best.step.to_string().as_str()));
        assert_eq!(said("loss"), Some(format!("{:.4}", best.eval.loss).as_str()));
        for (measure, value) in best.eval.measures() {
            assert_eq!(said(measure.key()), Some(measure.text(value).as_str()));
        }
        assert!(
            said("accuracy").is_some() && said("trained_by").is_some_and(|by| by.starts_with("nn-train "))
        );
    }
    Ok(())
}
