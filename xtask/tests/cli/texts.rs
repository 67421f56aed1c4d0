//! Models of texts from the command line: trained on a few lines, evaluated, asked.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::stage::{Ended, call, ended, folder, xtask};

/// Ninety sentences of either kind, told apart by one word.
fn reviews(dir: &Path) {
    let (mut good, mut bad) = (String::new(), String::new());
    for n in 0..90 {
        let (who, what) = (["she", "he", "it", "one"][n % 4], ["film", "play", "show"][n % 3]);
        let _ = writeln!(good, "{who} loves this {what} , {n} times");
        let _ = writeln!(bad, "{who} hates this {what} , {n} times !");
    }
    fs::write(dir.join("good.txt"), good).expect("a writable folder");
    fs::write(dir.join("bad.txt"), bad).expect("a writable folder");
}

/// A text with little to learn.
fn poem(dir: &Path) {
    fs::write(dir.join("input.txt"), "to be or not to be,\nthat is it.\n".repeat(60))
        .expect("a writable folder");
}

const SENTENCES: &str = "--data-dir . --epochs 6 --batch-size 16 --lr 0.02 --set data.folder=reviews \
    --set data.classes={bad=\"bad.txt\",good=\"good.txt\"} --set model.width=16 --set model.dropout=0.0";

const LETTERS: &str = "--data-dir . --epochs 8 --batch-size 8 --lr 0.02 --set data.folder=poem \
    --set data.length=16 --set model.width=16 --set model.layers=1";

/// The words of options with a text, which may hold blanks, in their midst.
fn predict(dir: &Path, run: &str, text: &str, options: &str) -> Ended {
    let mut command = xtask(dir);
    command.args(["predict", run, text]).args(options.split_whitespace());
    ended(command.output().expect("the program starts"))
}

#[test]
fn sentences_are_classified_by_each_kind_of_network() {
    let dir = folder();
    reviews(dir.path());
    for (recipe, rest) in [
        ("sentiment-lstm", "--set model.hidden=16"),
        ("sentiment-transformer", "--set model.heads=2 --set model.feed_forward=16 --set model.longest=5"),
    ] {
        let words = format!("train {recipe} {SENTENCES} {rest} --out {recipe} --json");
        let train = call(dir.path(), &words).ok().json();
        let accuracy = train["summary"]["best"]["eval"]["accuracy"].as_f64().expect("a number");
        assert!(accuracy > 0.9, "{recipe}: {accuracy}");
        let eval = call(dir.path(), &format!("eval {recipe} --json")).ok().json();
        assert_eq!((&eval["examples"], eval["accuracy"].as_f64()), (&18.into(), Some(accuracy)));
        assert_eq!(eval["data"], "reviews");
        let report = fs::read_to_string(dir.path().join(recipe).join("report.html")).expect("a report");
        assert!(report.contains("Confusion matrix"), "{report}");
        let elsewhere = folder();
        let run = dir.path().join(recipe).display().to_string();
        for (text, label) in
            [("She LOVES this opera , 7 times", "good"), ("one hates this show , 7 times !", "bad")]
        {
            let answer = predict(elsewhere.path(), &run, text, "--json").ok().json();
            assert_eq!(answer[0]["text"], text);
            let predictions = answer[0]["predictions"].as_array().expect("an array");
            assert_eq!((predictions.len(), &predictions[0]["label"]), (2, &label.into()), "{answer}");
        }
        let table = predict(elsewhere.path(), &run, "she hates this film , 7 times !", "--top 1").ok().stdout;
        assert!(
            table.contains("she hates this film") && table.contains("bad") && table.contains(" %"),
            "{table}"
        );
    }
}

#[test]
fn letters_are_written_by_each_kind_of_network() {
    let dir = folder();
    poem(dir.path());
    for (recipe, rest) in [
        ("char-lstm", "--set model.hidden=32"),
        ("char-transformer", "--set model.heads=2 --set model.feed_forward=32 --set model.longest=16"),
    ] {
        let train = call(dir.path(), &format!("train {recipe} {LETTERS} {rest} --out {recipe} --json"));
        let train = train.ok().json();
        let best = &train["summary"]["best"]["eval"];
        assert!(
            best["loss"].as_f64().is_some_and(|loss| loss < 1.0) && best["accuracy"].is_null(),
            "{train}"
        );
        let report = fs::read_to_string(dir.path().join(recipe).join("report.html")).expect("a report");
        assert!(report.contains("A text of its own, at temperature 0.8"), "{report}");
        let told = predict(dir.path(), recipe, "to be or", "--temperature 0.3 --max-length 40").ok().stdout;
        assert!(told.starts_with("to be or") && told.trim_end_matches('\n').len() <= 48, "{told}");
        let seeded = |options: &str| {
            let answer = predict(dir.path(), recipe, "not ", &format!("{options} --json")).ok().json();
            answer[0]["continuation"].as_str().expect("a text").to_owned()
        };
        assert_eq!(seeded("--seed 3").chars().count(), 500);
        assert_eq!(seeded("--seed 3 --max-length 50"), seeded("--seed 3 --max-length 50"));
        assert_ne!(seeded("--seed 3 --max-length 50"), seeded("--seed 4 --max-length 50"));
        assert_eq!(seeded("--seed 3 --top-k 1"), seeded("--seed 4 --top-k 1"));
    }
}

#[test]
fn a_vocabulary_is_of_the_training_part_and_kept_in_the_run() {
    let dir = folder();
    reviews(dir.path());
    let words =
        format!("train sentiment-lstm {SENTENCES} --set train.epochs=1 --set data.min_count=3 --out run");
    call(dir.path(), &words).ok();
    let known = fs::read_to_string(dir.path().join("run/known.json")).expect("what is known");
    let known: serde_json::Value = serde_json::from_str(&known).expect("JSON");
    assert_eq!(known["classes"], serde_json::json!(["bad", "good"]));
    let tokens = known["words"]["tokens"].as_array().expect("an array");
    assert_eq!(tokens[..2], ["<pad>", "<unk>"]);
    assert!(tokens.contains(&"loves".into()) && !tokens.contains(&"17".into()), "{tokens:?}");
    // Texts with two more words are none of the run's business: its weights are for the words it knows.
    let good = fs::read_to_string(dir.path().join("good.txt")).expect("a text");
    fs::write(dir.path().join("good.txt"), good.replace("loves", "loves admires adores")).expect("writable");
    call(dir.path(), "train --resume run").ok();
    fs::write(dir.path().join("run/known.json"), "{").expect("a writable folder");
    call(dir.path(), "train --resume run").fails(&["known.json is damaged"]);
    predict(dir.path(), "run", "loves", "").fails(&["known.json is damaged"]);
}

#[test]
fn texts_that_are_none_are_refused() {
    let dir = folder();
    reviews(dir.path());
    poem(dir.path());
    fs::write(dir.path().join("old.txt"), b"plain\nna\xefve\n").expect("a writable folder");
    let sentences = |rest: &str| format!("train sentiment-lstm {SENTENCES} --set train.epochs=1 {rest}");
    let old = "--set data.classes={bad=\"bad.txt\",good=\"old.txt\"}";
    call(dir.path(), &sentences(&format!("{old} --encoding utf-8"))).fails(&[
        "old.txt",
        "no UTF-8 in line 2 at byte 3",
        "--encoding says another one",
    ]);
    call(dir.path(), &sentences("--encoding utf-9")).fails(&["--encoding", "no encoding \"utf-9\""]);
    call(dir.path(), &sentences("--set data.classes={a=\"bad.txt\"}")).fails(&["two classes"]);
    call(dir.path(), &sentences("--set data.classes={a=\"bad.txt\",b=\"b.txt\"}"))
        .fails(&["b.txt", "--data-dir"]);
    call(dir.path(), &sentences("--set data.held_out=1.0"))
        .fails(&["data.held_out must be in (0, 1), got 1"]);
    call(dir.path(), &sentences("--set model.decoder=tied")).fails(&["model.decoder means nothing"]);
    call(dir.path(), &sentences("--set model.unit=gruu")).fails(&["--set model.unit=gruu", "`gru`"]);
    call(dir.path(), &sentences("--freeze until=rnn --weights w"))
        .fails(&["for pictures, not for sentences"]);
    call(dir.path(), &sentences("--set augment.flip.probability=0.5")).fails(&["augment", "unknown key"]);

    let letters = |rest: &str| format!("train char-transformer {LETTERS} --set train.epochs=1 {rest}");
    call(dir.path(), &letters("--set data.length=5000")).fails(&["data.length must be in 1..=128"]);
    call(dir.path(), &letters("--set data.held_out=0.001")).fails(&["windows of 16 need 17 tokens"]);
    call(dir.path(), &letters("--set model.heads=3")).fails(&["model.heads must divide model.width"]);
    call(dir.path(), &letters("--set data.file=absent.txt")).fails(&["absent.txt", "--data-dir"]);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn questions_that_make_no_sense_are_explained() {
    let dir = folder();
    reviews(dir.path());
    poem(dir.path());
    call(dir.path(), &format!("train sentiment-lstm {SENTENCES} --set train.epochs=1 --out sentences")).ok();
    call(dir.path(), &format!("train char-lstm {LETTERS} --set train.epochs=1 --out letters")).ok();
    for (run, text, options, says) in [
        ("sentences", " ", "", "there is no word in \" \""),
        ("sentences", "good", "--top-k 3", "for models that write, not for sentences"),
        ("sentences", "good", "--data mnist", "--data is for pictures, not for sentences"),
        ("letters", "", "", "there is nothing to go on from"),
        ("letters", "to bé", "", "character 5 of the text, \"é\", is outside the vocabulary"),
        ("letters", "to", "--temperature 0", "temperature must be a number above 0"),
        ("letters", "to", "--top-k 0", "top_k must be at least 1"),
        ("letters", "to", "--top-p 1.5", "top_p must be in (0, 1]"),
        ("letters", "to", "--source x", "--source is for pictures"),
        ("letters", "to", "--weights sentences/model.safetensors", "does not fit the model"),
    ] {
        predict(dir.path(), run, text, options).fails(&[says]);
    }
    call(dir.path(), "eval letters --data mnist").fails(&["--data names pictures", "task language"]);
    call(dir.path(), "summary letters").fails(&["task language"]);
    call(dir.path(), "eval char-lstm --weights w").fails(&["recipe for language; name a run's folder"]);
    let pictures = crate::stage::trained().display().to_string();
    predict(dir.path(), &pictures, "7.png", "--seed 3").fails(&["for models that write, not for pictures"]);
}
