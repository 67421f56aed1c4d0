//! Forecasts, toy tasks, entities and translations from the command line: trained on little, evaluated, asked.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::stage::{Ended, call, ended, folder, xtask};

/// Trains and evaluates; the figure on the test part by its key.
fn figure(dir: &Path, words: &str, key: &str) -> f64 {
    let train = call(dir, &format!("train {words} --out run --json")).ok().json();
    let test = &train["summary"]["test"];
    let value = test[key].as_f64().unwrap_or_else(|| panic!("no {key} in {test}"));
    let eval: Value = call(dir, "eval run --json").ok().json();
    let again = eval[key].as_f64().expect("a number");
    assert!((again - value).abs() < 1e-4 * value.abs().max(1.0), "{key}: {value}, then {again}");
    value
}

fn predict(dir: &Path, text: &str, options: &[&str]) -> Ended {
    let mut command = xtask(dir);
    ended(command.args(["predict", "run", text]).args(options).output().expect("the program starts"))
}

fn report(dir: &Path) -> String {
    fs::read_to_string(dir.join("run/report.html")).expect("a report")
}

#[test]
fn a_wave_is_foretold_better_than_by_its_last_value() {
    let dir = folder();
    let mut csv = "\"day\",\"height\"\n".to_owned();
    for day in 0..160 {
        let _ = writeln!(csv, "{day},{:.4}", 10.0 + 0.02 * f64::from(day) + (f64::from(day) * 0.6).sin());
    }
    fs::write(dir.path().join("wave.csv"), &csv).expect("a writable folder");
    let words = "forecast-airline-gru --data-dir . --epochs 40 --lr 0.01 --set data.file=wave.csv \
        --set data.target=height --set data.values=plain --set data.length=12 --set data.horizon=2 \
        --set data.season=10 --set model.hidden=16";
    let rmse = figure(dir.path(), words, "rmse");
    assert!(rmse < 0.3, "{rmse}");
    let page = report(dir.path());
    for told in ["the last value", "the value 10 steps before", "the network", "height foretold"] {
        assert!(page.contains(told), "{told}");
    }
    let past: Vec<String> = (160..172).map(|day| format!("{:.3}", 10.0 + 0.02 * f64::from(day))).collect();
    let answer = predict(dir.path(), &past.join(","), &["--json"]).ok().json();
    assert_eq!(answer[0]["forecast"].as_array().map(Vec::len), Some(2));
    let file = predict(dir.path(), "wave.csv", &[]).ok().stdout;
    assert_eq!(file.split_whitespace().count(), 2, "{file}");
    predict(dir.path(), "1,2,3", &[]).fails(&["reads 12 values, got 3"]);
    predict(dir.path(), "1,x", &[]).fails(&["value 2 is no number", "\"x\""]);
    fs::write(dir.path().join("wave.csv"), csv.replace("\n0,10.0000", "\n0,warm")).expect("writable");
    call(dir.path(), &format!("train {words} --out other")).fails(&["line 2, column height", "\"warm\""]);
    call(dir.path(), &format!("train {words} --set data.season=0 --out other"))
        .fails(&["data.season must be at least 1"]);
}

#[test]
fn symbols_are_copied_and_numbers_added() {
    let dir = folder();
    let small = "--epochs 16 --set data.train_examples=2000 --set data.test_examples=100 --lr 0.01";
    let toy = format!("toy-copy {small} --set data.symbols=4 --set data.longest=3");
    assert!(figure(dir.path(), &toy, "exact") > 0.9);
    assert_eq!(predict(dir.path(), "3 1 4", &[]).ok().stdout.trim(), "3 1 4");
    assert!(report(dir.path()).contains("Where each symbol of an answer looks"));
    predict(dir.path(), "3 5", &[]).fails(&["symbol 2 must be a number from 1 to 4, got \"5\""]);
    let dir = folder();
    let adding = format!("toy-adding {small} --set data.length=4 --set model.hidden=24");
    assert!(figure(dir.path(), &adding, "exact") > 0.3);
    let sum = predict(dir.path(), "0.5* 0.1 0.25* 0.3", &[]).ok().stdout;
    assert!((sum.trim().parse::<f64>().expect("a number") - 0.75).abs() < 0.2, "{sum}");
    predict(dir.path(), "0.5 2", &[]).fails(&["number 2 must be in [0, 1]"]);
    let dir = folder();
    let attending = "--set model.kind=transformer --set model.width=16 --set model.heads=2 --set model.feed_forward=16 \
                     --set model.dropout=0.0 --set model.longest=4";
    let adding = format!("toy-adding {small} --set data.length=4 {attending}");
    assert!(figure(dir.path(), &adding, "exact") > 0.3);
    call(dir.path(), &format!("train toy-adding --set data.length=5 {attending} --out other"))
        .fails(&["data.length must be at most model.longest, 4, got 5"]);
}

#[test]
fn names_are_found_by_their_capitals() {
    let dir = folder();
    let mut text = String::new();
    for n in 0..60 {
        let who = ["Ada", "Bob", "Cleo", "Dan", "Eva"][n % 5];
        let place = ["Rome", "Oslo", "Lima"][n % 3];
        let _ = writeln!(
            text,
            "{who}\tB-person\n{who}son\tI-person\nwent\tO\nto\tO\n{place}\tB-location\n.\tO\n"
        );
    }
    fs::write(dir.path().join("train.conll"), &text).expect("a writable folder");
    fs::write(dir.path().join("test.conll"), text.split_inclusive("\n\n").take(15).collect::<String>())
        .expect("a writable folder");
    let words = "entities-wnut17 --data-dir . --epochs 30 --lr 0.01 --set data.train=train.conll \
        --set data.validation=test.conll --set data.test=test.conll --set model.hidden=16 --set model.width=16 --set model.letter_hidden=8";
    assert!(figure(dir.path(), words, "entity_f1") > 0.9);
    assert_eq!(
        predict(dir.path(), "Eva Evason went to Oslo.", &[]).ok().stdout.trim(),
        "person: Eva Evason; location: Oslo"
    );
    let json = predict(dir.path(), "Bob went.", &["--json"]).ok().json();
    assert_eq!(json[0]["tokens"].as_array().map(Vec::len), Some(3));
    let page = report(dir.path());
    assert!(page.contains("Entities by kind") && page.contains("What each tag is taken for"));
    fs::write(dir.path().join("train.conll"), "Ada B-person\nwent\n").expect("writable");
    call(dir.path(), &format!("train {words} --out other")).fails(&["train.conll: line 2", "\"went\" alone"]);
}

#[test]
fn sentences_are_translated_by_each_kind_of_network() {
    let words = [("dog", "hund"), ("cat", "katze"), ("bird", "vogel"), ("horse", "pferd")];
    let acts = [("sleeps", "schläft"), ("eats", "frisst"), ("runs", "rennt")];
    for (recipe, rest) in [
        ("translation-gru", "--set model.hidden=32 --set model.width=32 --set model.dropout=0.0"),
        (
            "translation-transformer",
            "--set model.width=32 --set model.heads=2 --set model.feed_forward=64 --set model.layers=1 --set model.dropout=0.0",
        ),
    ] {
        let dir = folder();
        let (mut from, mut to) = (String::new(), String::new());
        for n in 0..240 {
            let ((thing, ding), (acts, tut)) = (words[n % 4], acts[n % 3]);
            let _ = writeln!(from, "A {thing} {acts} here.");
            let _ = writeln!(to, "Hier {tut} ein {ding}.");
        }
        fs::write(dir.path().join("a.en"), &from).expect("a writable folder");
        fs::write(dir.path().join("a.de"), &to).expect("a writable folder");
        let files = "--set data.train=[\"a.en\",\"a.de\"] --set data.validation=[\"a.en\",\"a.de\"] --set data.test=[\"a.en\",\"a.de\"]";
        let words = format!("{recipe} --data-dir . --epochs 16 --batch-size 16 --lr 0.005 {files} {rest}");
        let bleu = figure(dir.path(), &words, "bleu");
        assert!(bleu > 90.0, "{recipe}: {bleu}");
        let answer = predict(dir.path(), "A bird eats here.", &[]).ok().stdout;
        assert_eq!(answer.trim(), "hier frisst ein vogel .");
        assert!(report(dir.path()).contains("Translations"));
        fs::write(dir.path().join("a.de"), "Hier.\n").expect("writable");
        call(dir.path(), &format!("train {words} --out other")).fails(&["has 240 lines", "has 1"]);
    }
}
