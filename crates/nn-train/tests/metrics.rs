//! Metrics, streamed over batches, against those of scikit-learn, seqeval, sacreBLEU and JiWER in
//! `tests/golden/metrics.json`.

use std::sync::LazyLock;

use candle_core::{Device, Result, Tensor};
use nn_train::metrics::{Average, Bleu, Case, Edits, ValueErrors, entities_found, tokens_13a};
use nn_train::{Counts, Evaluation, Figures, Measure, Metrics, Outcome};
use serde::de::DeserializeOwned;
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/metrics.json");

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(GOLDEN).expect("golden data");
    serde_json::from_str(&text).expect("JSON")
});

fn get<T: DeserializeOwned>(of: &Value, key: &str) -> T {
    serde_json::from_value(of[key].clone()).unwrap_or_else(|e| panic!("{key}: {e}"))
}

#[track_caller]
fn close(ours: f64, theirs: f64, what: &str) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0), "{what}: {ours}, the reference {theirs}");
}

/// Of counts, a batch after the other.
fn figures(batches: impl IntoIterator<Item = Counts>) -> Result<Figures> {
    let mut metrics = Metrics::default();
    for counts in batches {
        metrics.add(
            &Outcome::new(Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu)?, 1)?.counting(counts),
        )?;
    }
    Ok(metrics.figures())
}

#[track_caller]
fn agree(figures: &Figures, golden: &Value, measures: &[(Measure, &str)]) {
    for &(measure, key) in measures {
        close(figures.get(measure).unwrap_or_else(|| panic!("no {key}")), get(golden, key), key);
    }
}

#[test]
fn errors_of_values_are_scikit_learns() -> Result<()> {
    let golden = &DOCUMENT["values"];
    let [truth, predicted]: [Vec<Vec<f64>>; 2] = ["truth", "predicted"].map(|key| get(golden, key));
    let counts = predicted.iter().zip(&truth).map(|(predicted, truth)| {
        let [predicted, truth] = [predicted, truth].map(|row| Tensor::new(row.as_slice(), &Device::Cpu));
        Ok(Counts { values: Some(ValueErrors::of(&predicted?, &truth?)?), ..Counts::default() })
    });
    let figures = figures(counts.collect::<Result<Vec<_>>>()?)?;
    let measures =
        [(Measure::Mae, "mae"), (Measure::Rmse, "rmse"), (Measure::Mape, "mape"), (Measure::R2, "r2")];
    agree(&figures, golden, &measures);
    Ok(())
}

#[test]
fn entities_are_seqevals() -> Result<()> {
    let golden = &DOCUMENT["entities"];
    let [truth, predicted]: [Vec<Vec<String>>; 2] = ["truth", "predicted"].map(|key| get(golden, key));
    let counts = truth.iter().zip(&predicted).map(|(truth, predicted)| Counts {
        entities: Some(entities_found(truth, predicted)),
        ..Counts::default()
    });
    let measures = [
        (Measure::EntityF1, "f1"),
        (Measure::EntityPrecision, "precision"),
        (Measure::EntityRecall, "recall"),
    ];
    agree(&figures(counts)?, golden, &measures);
    Ok(())
}

#[test]
fn bleu_is_sacrebleus() -> Result<()> {
    let golden = &DOCUMENT["bleu"];
    for case in get::<Vec<Value>>(golden, "tokens") {
        let text: String = get(&case, "text");
        assert_eq!(tokens_13a(&text).join(" "), get::<String>(&case, "tokens"), "{text}");
    }
    for set in get::<Vec<Value>>(golden, "scores") {
        let [ours, references]: [Vec<String>; 2] = ["translations", "references"].map(|key| get(&set, key));
        let case = if get(&set, "lower") { Case::Lower } else { Case::Kept };
        let counts = ours.iter().zip(&references).map(|(ours, reference)| Counts {
            bleu: Some(Bleu::of(ours, reference, case)),
            ..Counts::default()
        });
        let name = format!("{} {case:?}", set["name"]);
        close(figures(counts)?.get(Measure::Bleu).expect("translations"), get(&set, "score"), &name);
    }
    Ok(())
}

#[test]
fn error_rates_are_jiwers() -> Result<()> {
    let golden = &DOCUMENT["edits"];
    let [texts, references]: [Vec<String>; 2] = ["texts", "references"].map(|key| get(golden, key));
    let counts = texts.iter().zip(&references).map(|(text, reference)| Counts {
        words: Some(Edits::of_words(text, reference)),
        characters: Some(Edits::of_characters(text, reference)),
        ..Counts::default()
    });
    agree(&figures(counts)?, golden, &[(Measure::Wer, "wer"), (Measure::Cer, "cer")]);
    Ok(())
}

/// Of a classifier's batches.
fn evaluation(golden: &Value) -> Result<Evaluation> {
    let (targets, logits): (Vec<Vec<u32>>, Vec<Vec<Vec<f32>>>) =
        (get(golden, "targets"), get(golden, "logits"));
    let mut evaluation = Evaluation::default();
    for (targets, logits) in targets.into_iter().zip(logits) {
        let logits = Tensor::new(logits, &Device::Cpu)?;
        evaluation.add(&Outcome::classification(&logits, &Tensor::new(targets, &Device::Cpu)?)?)?;
    }
    Ok(evaluation)
}

#[test]
fn precision_and_recall_are_scikit_learns() -> Result<()> {
    let golden = &DOCUMENT["classes"];
    let evaluation = evaluation(golden)?;
    agree(&evaluation.figures(), golden, &[(Measure::Accuracy, "accuracy")]);
    let confusion = evaluation.confusion().expect("few classes");
    for case in get::<Vec<Value>>(golden, "averages") {
        let (average, beta, theirs): (String, f64, [f64; 3]) =
            (get(&case, "average"), get(&case, "beta"), get(&case, "figures"));
        let kind = if average == "micro" { Average::Micro } else { Average::Macro };
        let ours = confusion.precision_recall(kind, beta).expect("decisions");
        for (ours, theirs) in [ours.precision, ours.recall, ours.f].into_iter().zip(theirs) {
            close(ours, theirs, &format!("{average} {beta}"));
        }
    }
    let theirs: [Vec<f64>; 3] = get(golden, "each");
    for (class, found) in confusion.found().iter().enumerate() {
        for (ours, theirs) in [found.precision(), found.recall(), found.f(2.0)].into_iter().zip(&theirs) {
            close(ours, theirs[class], &format!("class {class}"));
        }
    }
    Ok(())
}

#[test]
fn the_best_five_and_rankings_are_scikit_learns() -> Result<()> {
    let golden = &DOCUMENT["many_classes"];
    agree(&evaluation(golden)?.figures(), golden, &[(Measure::Top5, "top5")]);
    let golden = &DOCUMENT["two_classes"];
    let measures = [(Measure::RocAuc, "roc_auc"), (Measure::AveragePrecision, "average_precision")];
    agree(&evaluation(golden)?.figures(), golden, &measures);
    Ok(())
}
