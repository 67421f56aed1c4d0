//! Encoder and decoder: sentences alone and together, tokens given and found, and what is looked at.

use candle_core::{DType, Device, Result, Tensor};
use nn_core::ops::{self, Reduction};
use nn_core::testing::{assert_close, assert_trained};
use nn_core::{Ctx, ParamStore};
use nn_sequence::decode::{Limits, greedy};
use nn_sequence::{AnyUnit, Directions, Elman, Gated, LongShortTerm, Score, Seq2Seq, Seq2SeqConfig};

const LENGTHS: [usize; 3] = [4, 1, 2];
const SCORES: [Score; 4] = [Score::Additive, Score::Dot, Score::General, Score::Concat];

fn units() -> [AnyUnit; 3] {
    [AnyUnit::Rnn(Elman::default()), AnyUnit::Lstm(LongShortTerm::default()), AnyUnit::Gru(Gated)]
}

/// With two directions but for the dot product, which wants states as wide as outputs.
fn model(unit: AnyUnit, score: Score) -> Result<(ParamStore, Seq2Seq)> {
    let directions = if score == Score::Dot { Directions::Forward } else { Directions::Both };
    let cfg = Seq2SeqConfig {
        vocabularies: [7, 5],
        width: 3,
        hidden: 4,
        unit,
        layers: 2,
        directions,
        dropout: 0.0,
        score,
    };
    let store = ParamStore::new(1);
    let model = Seq2Seq::new(&cfg, store.vb(DType::F64, &Device::Cpu))?;
    Ok((store, model))
}

fn source() -> Result<Tensor> {
    Tensor::new(&[[1u32, 2, 3, 4], [5, 0, 0, 0], [6, 1, 0, 0]], &Device::Cpu)
}

fn target() -> Result<Tensor> {
    Tensor::new(&[[1u32, 2, 3], [1, 4, 0], [1, 3, 3]], &Device::Cpu)
}

fn each(f: impl Fn(&ParamStore, &Seq2Seq) -> Result<()>) -> Result<()> {
    for unit in units() {
        for score in SCORES {
            let (store, model) = model(unit, score)?;
            f(&store, &model).map_err(|e| e.context(format!("{unit:?} {score:?}")))?;
        }
    }
    Ok(())
}

#[test]
fn each_sentence_is_translated_alone_and_everything_is_trained() -> Result<()> {
    each(|store, model| {
        let (source, target, ctx) = (source()?, target()?, Ctx::eval());
        let logits = model.logits(&source, &LENGTHS, &target, 1.0, &ctx)?;
        assert_eq!(logits.dims(), [3, 3, 5]);
        for (b, length) in LENGTHS.into_iter().enumerate() {
            let own = source.narrow(0, b, 1)?.narrow(1, 0, length)?;
            let alone = model.logits(&own, &[length], &target.narrow(0, b, 1)?, 1.0, &ctx)?;
            assert_close(&logits.narrow(0, b, 1)?, &alone, 1e-12, 1e-12)?;
        }
        let loss =
            ops::cross_entropy(&ops::reshape(&logits, (9, 5))?, &target.flatten_all()?, Reduction::Mean)?;
        assert_trained(&loss, store)
    })
}

#[test]
fn what_comes_out_one_by_one_is_what_all_at_once_gives() -> Result<()> {
    each(|_, model| {
        let (source, ctx) = (source()?, Ctx::eval());
        let given = Tensor::new(&[[1u32], [1], [1]], &Device::Cpu)?;
        let state = model.start(&source, &LENGTHS, &ctx)?;
        let found = greedy(model, state, &given, Limits { end: None, longest: 4 })?;
        let found = Tensor::new(found, &Device::Cpu)?;
        let whole = Tensor::cat(&[&given, &found.narrow(1, 0, 3)?], 1)?;
        let logits = model.logits(&source, &LENGTHS, &whole, 1.0, &ctx)?;
        assert_eq!(logits.argmax(2)?.to_vec2::<u32>()?, found.to_vec2::<u32>()?);
        // In training without a teacher, the model's own tokens go in, whatever the target is.
        let zeros = Tensor::cat(&[&given, &found.narrow(1, 0, 3)?.zeros_like()?], 1)?;
        let own = model.logits(&source, &LENGTHS, &zeros, 0.0, &Ctx::train(0))?;
        assert_close(&own, &logits, 1e-12, 1e-12)?;
        let taught = model.logits(&source, &LENGTHS, &whole, 1.0, &Ctx::train(0))?;
        assert_close(&taught, &logits, 1e-12, 1e-12)
    })
}

#[test]
fn attention_is_shared_out_among_a_sentences_own_tokens() -> Result<()> {
    each(|_, model| {
        let weights = model.attention(&source()?, &LENGTHS, &target()?, &Ctx::eval())?;
        assert_eq!(weights.dims(), [3, 3, 4]);
        assert_close(&weights.sum(2)?, &Tensor::ones((3, 3), DType::F64, &Device::Cpu)?, 1e-12, 0.0)?;
        for (b, length) in LENGTHS.into_iter().enumerate() {
            let own = weights.get(b)?.to_vec2::<f64>()?;
            assert!(own.iter().all(|row| row[length..].iter().all(|&p| p == 0.0)));
            assert!(own.iter().all(|row| row[..length].iter().all(|&p| p > 0.0)));
        }
        Ok(())
    })
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    let (_, model) = model(units()[2], Score::Additive)?;
    let (source, target, ctx) = (source()?, target()?, Ctx::eval());
    let wrong = Tensor::new(&[[1u32, 5, 0], [1, 4, 0], [1, 3, 3]], &Device::Cpu)?;
    let nothing = Tensor::zeros((3, 0), DType::U32, &Device::Cpu)?;
    for (source, lengths, target, teacher, rule) in [
        (&source, &LENGTHS[..], &target, 1.5, "teacher must be in [0, 1], got 1.5"),
        (&source, &LENGTHS, &nothing, 1.0, "at least one step, got [3, 0]"),
        (&source, &LENGTHS, &wrong, 1.0, "0..5, got 5 at [0, 1]"),
        (&source, &[4, 1], &target, 1.0, "one length a sequence of 3, got 2"),
        (&source, &[4, 0, 1], &target, 1.0, "the length of sequence 1 must be in 1..=4, got 0"),
    ] {
        let error = model.logits(source, lengths, target, teacher, &ctx).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    let cfg = Seq2SeqConfig {
        vocabularies: [7, 5],
        width: 3,
        hidden: 4,
        unit: units()[0],
        layers: 1,
        directions: Directions::Both,
        dropout: 0.0,
        score: Score::Dot,
    };
    let store = ParamStore::new(0);
    let error = Seq2Seq::new(&cfg, store.vb(DType::F32, &Device::Cpu)).expect_err("4 and 8").to_string();
    assert!(error.contains("got 4 and 8"), "{error}");
    Ok(())
}
