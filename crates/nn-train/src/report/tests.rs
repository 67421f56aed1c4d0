//! Reports of made-up logs.

use candle_core::{DType, Device};

use super::*;
use crate::event::Evaluated;
use crate::metrics::Confusion;
use crate::summary::Ended;

fn figures(loss: f64, accuracy: f64) -> Figures {
    Figures::new(loss).with(Measure::Accuracy, accuracy)
}

fn epoch(epoch: u64, best: bool) -> Event {
    Event::Epoch(Epoch {
        epoch,
        step: epoch * 10,
        lr: 0.1,
        train: figures(1.0 / epoch as f64, 0.8),
        eval: figures(1.2 / epoch as f64, 0.7),
        ema: None,
        best,
        seconds: 61.0,
        examples_per_second: 1234.4,
        confusion: best.then(|| Confusion { counts: vec![vec![5, 2], vec![0, 7]] }),
    })
}

fn log() -> Vec<Event> {
    let about = About {
        title: "<script>alert(1)</script>".to_owned(),
        command: "train 'a' && \"b\"".to_owned(),
        classes: vec!["<cat>".to_owned(), "dog & co".to_owned()],
        facts: vec![("<b>".to_owned(), "</td>".to_owned())],
        created: 1_763_784_059,
        ..About::default()
    };
    let setting = Setting {
        parameters: 44_426,
        epochs: 3,
        batches: 10,
        train_examples: 20,
        eval_examples: 14,
        seed: 9,
    };
    vec![Event::Created(about), Event::Started(setting), epoch(1, true), epoch(2, true), epoch(3, false)]
}

fn panels() -> Vec<Panel> {
    let panel = |title: &str, content| Panel { title: title.to_owned(), content };
    let words = |words: [&str; 2]| words.map(str::to_owned).to_vec();
    let [came, told] = ["<came>", "<told>"].map(|name| (name.to_owned(), vec![1.0, 3.0, 2.0]));
    let row = ("<row>".to_owned(), vec![0.25, 0.75]);
    vec![
        panel("Samples <i>", Content::Text("To <b>,\nor not".to_owned())),
        panel(
            "Worst",
            Content::Table { head: words(["<sure>", "text"]), rows: vec![words(["9", "<a> & b"])] },
        ),
        panel("Wave", Content::Lines { across: "step", lines: [came, told] }),
        panel("Map", Content::Map { columns: words(["<x>", "y"]), rows: vec![row] }),
    ]
}

#[test]
fn foreign_words_stay_words() -> Result<(), TrainError> {
    let sample = Sample {
        pixels: Tensor::zeros((1, 2, 2), DType::F32, &Device::Cpu)?,
        target: 0,
        predicted: 1,
        confidence: 0.987,
    };
    let html = History::of(log()).html(
        "a = \"</pre><img src=x>\"",
        &Illustrations {
            best: vec![Sample { predicted: 0, ..sample.clone() }],
            mistakes: vec![sample],
            panels: panels(),
            ..Illustrations::default()
        },
    )?;
    for raw in ["<script", "<came>", "<x>", "<row>", "<cat>", "<b></", "</pre><img", "dog & co"] {
        assert!(!html.contains(raw), "{raw} is in the page as it is");
    }
    for told in [
        "&lt;came&gt;",
        "step</text>",
        "&lt;x&gt;",
        "--v:0.750",
        "&lt;script&gt;",
        "&lt;cat&gt;",
        "<h2>Samples &lt;i&gt;</h2>",
        "To &lt;b&gt;,\nor not</pre>",
        "<th>&lt;sure&gt;</th><th>text</th>",
        "<td>9</td><td>&lt;a&gt; &amp; b</td>",
        "<span>&#39;a&#39;</span> <span>&amp;&amp;</span> <span>&quot;b&quot;</span>",
        "44,426",
        "70.00 %",
        "<figcaption>&lt;cat&gt;, taken for <b>dog &amp; co</b><br><small>98.7 % sure",
        "<h2>Right, and the surest</h2>",
        "<figcaption><b>&lt;cat&gt;</b><br><small>98.7 % sure",
        "<tr><th>Candle</th><td>0.",
        "<tr><th>Rust</th><td>1.",
        "1:01 min",
        "1,234",
    ] {
        assert!(html.contains(told), "{told} is missing");
    }
    Ok(())
}

#[test]
fn what_became_of_the_run_is_said() -> Result<(), TrainError> {
    let state = |events| History::of(events).state();
    assert_eq!(state(log()), "Started 2025-11-22 04:00 UTC, not finished: 3 of 3 epochs");
    let mut events = log();
    events.push(Event::Finished { steps: 30, seconds: 61.0, ended: Ended::Finished });
    assert!(state(events).ends_with("finished"));
    let mut events = log();
    events.push(Event::Diverged { step: 31, loss: "NaN".to_owned(), anomaly: None });
    assert!(state(events).ends_with("diverged: the loss was NaN at step 31"));
    let mut events = log();
    let anomaly = Some("w is no longer finite".to_owned());
    events.push(Event::Diverged { step: 31, loss: "NaN".to_owned(), anomaly });
    assert!(state(events).ends_with("NaN at step 31; w is no longer finite"));
    // A run that was killed before anything happened has a report too.
    assert!(History::default().html("", &Illustrations::default())?.contains("not finished: 0 of 1 epochs"));
    Ok(())
}

#[test]
fn what_was_tested_comes_first_and_evaluations_within_epochs_are_drawn() -> Result<(), TrainError> {
    let mut events = log();
    let (eval, ema) = (figures(0.3, 0.91), Some(figures(0.2, 0.93)));
    events.push(Event::Evaluated(Evaluated {
        epoch: 4,
        step: 35,
        batch: 5,
        eval,
        ema,
        best: true,
        seconds: 70.0,
    }));
    events.push(Event::Tested { test: figures(0.4, 0.88), ema });
    let html = History::of(events).html("", &Illustrations::default())?;
    let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    let cards = [
        "<b>88.00 %</b><span>test accuracy<",
        "<b>93.00 %</b><span>test accuracy, running mean<",
        "<b>91.00 %</b><span>best accuracy in evaluation, epoch 3.5<",
    ];
    assert!(cards.map(place).is_sorted());
    assert!(html.contains("running mean</"), "{html}");
    Ok(())
}

#[test]
fn mistakes_are_counted_in_words() -> Result<(), TrainError> {
    let html = History::of(log()).html("", &Illustrations::default())?;
    let says = "2 mistakes in the best evaluation; most often &lt;cat&gt; taken for dog &amp; co (2×).";
    assert!(html.contains(says), "{html}");
    let tested = Confusion { counts: vec![vec![5, 0], vec![0, 7]] };
    let html = History::of(log())
        .html("", &Illustrations { confusion: Some(tested), ..Illustrations::default() })?;
    assert!(html.contains("No mistakes in the test.") && !html.contains("best evaluation;"), "{html}");
    let skewed = Confusion { counts: vec![vec![1], vec![1, 2]] };
    assert_eq!(matrix::html(&skewed, "", |c| c.to_string()), "");
    Ok(())
}
