//! Decoding: what is found is what there is, in batches and alone, and the same again.

use candle_core::{DType, Device, Result, Tensor};
use nn_core::{Ctx, Layer, ParamStore, ops};
use nn_sequence::decode::{Beam, Generator, Limits, Sampling, beam, greedy, sample};
use nn_sequence::{
    AnyUnit, DecoderWeights, LanguageModel, LanguageModelConfig, Past, Positions, RecurrentConfig,
    TransformerConfig, TransformerLanguageModel, TransformerModelConfig,
};

const VOCABULARY: usize = 4;
const END: u32 = 3;
const LIMITS: Limits = Limits { end: Some(END), longest: 4 };

fn vb(store: &ParamStore) -> candle_nn::VarBuilder<'static> {
    store.vb(DType::F64, &Device::Cpu)
}

fn recurrent() -> Result<LanguageModel> {
    let (unit, decoder) = (AnyUnit::default(), DecoderWeights::Own);
    let recurrent = RecurrentConfig { unit, ..RecurrentConfig::default() };
    let cfg =
        LanguageModelConfig { vocabulary: VOCABULARY, width: 5, hidden: 6, recurrent, dropout: 0.3, decoder };
    let store = ParamStore::new(3);
    let model = LanguageModel::new(&cfg, vb(&store))?;
    for (name, var) in store.parameters() {
        if name.starts_with("decoder.weight") {
            var.set(&(var.as_tensor() * 8.0)?)?; // Opinions.
        }
    }
    Ok(model)
}

fn transformer() -> Result<TransformerLanguageModel> {
    let transformer = TransformerConfig { heads: 2, feed_forward: 7, ..TransformerConfig::default() };
    let positions = Positions::Sinusoidal;
    let cfg = TransformerModelConfig {
        vocabulary: VOCABULARY,
        width: 6,
        layers: 2,
        longest: 8,
        positions,
        transformer,
    };
    TransformerLanguageModel::new(&cfg, DecoderWeights::Own, vb(&ParamStore::new(3)))
}

fn given() -> Result<Tensor> {
    Tensor::new(&[[0u32, 1], [2, 2], [1, 0]], &Device::Cpu)
}

fn row(x: &Tensor, b: usize) -> Result<Tensor> {
    x.narrow(0, b, 1)
}

/// `ln p` of tokens after those given, from whole sequences.
fn log_p(model: &dyn Layer, given: &[u32], text: &[u32]) -> Result<f64> {
    let all = [given, text].concat();
    let input = Tensor::new(&all[..all.len() - 1], &Device::Cpu)?.unsqueeze(0)?;
    let log_p = ops::log_softmax(&model.call(&input, &Ctx::eval())?, 2)?.squeeze(0)?.to_vec2::<f64>()?;
    Ok(text.iter().zip(&log_p[given.len() - 1..]).map(|(&token, row)| row[token as usize]).sum())
}

/// Every text within the limits, with its end if it has one, and its score.
fn all_texts(model: &dyn Layer, given: &[u32], penalty: f64) -> Result<Vec<(Vec<u32>, f64)>> {
    let mut texts = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(text) = open.pop() {
        for token in 0..VOCABULARY as u32 {
            let longer = [&text[..], &[token]].concat();
            if token == END || longer.len() == LIMITS.longest {
                let score = log_p(model, given, &longer)? / (longer.len() as f64).powf(penalty);
                let own = longer.into_iter().filter(|&token| token != END).collect();
                texts.push((own, score));
            } else {
                open.push(longer);
            }
        }
    }
    texts.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(texts)
}

fn searches_find_the_best<G: Generator + Layer>(model: &G, state: impl Fn() -> G::State) -> Result<()> {
    let given = given()?;
    for length_penalty in [0.0, 0.7] {
        let options = Beam { width: 256, length_penalty, best: 5 };
        let found = beam(model, state(), &given, LIMITS, options)?;
        for (b, found) in found.iter().enumerate() {
            let all = all_texts(model, &given.to_vec2::<u32>()?[b], length_penalty)?;
            for (hypothesis, (text, score)) in found.iter().zip(&all) {
                assert_eq!(&hypothesis.tokens, text);
                assert!((hypothesis.score - score).abs() < 1e-5, "{} is not {score}", hypothesis.score);
            }
            let alone = beam(model, state(), &row(&given, b)?, LIMITS, options)?;
            assert_eq!(alone[0].len(), 5);
            assert!(alone[0].iter().zip(found).all(|(a, b)| a.tokens == b.tokens));
        }
    }
    Ok(())
}

fn one_by_one<G: Generator + Layer>(model: &G, state: impl Fn() -> G::State) -> Result<()> {
    let given = given()?;
    let texts = greedy(model, state(), &given, LIMITS)?;
    let narrow = Beam { width: 1, length_penalty: 0.0, best: 1 };
    for (b, start) in given.to_vec2::<u32>()?.into_iter().enumerate() {
        let mut text = start;
        while text.len() < 2 + LIMITS.longest {
            let logits = model.call(&Tensor::new(&text[..], &Device::Cpu)?.unsqueeze(0)?, &Ctx::eval())?;
            let token = logits.get(0)?.get(text.len() - 1)?.argmax(0)?.to_scalar::<u32>()?;
            if token == END {
                break;
            }
            text.push(token);
        }
        assert_eq!(texts[b], text[2..]);
        assert_eq!(greedy(model, state(), &row(&given, b)?, LIMITS)?[0], texts[b]);
        assert_eq!(beam(model, state(), &row(&given, b)?, LIMITS, narrow)?[0][0].tokens, texts[b]);
    }
    let cold = Sampling { temperature: 1e-6, ..Sampling::default() };
    assert_eq!(sample(model, state(), &given, LIMITS, cold)?, texts);
    let one = Sampling { top_k: Some(1), ..Sampling::default() };
    assert_eq!(sample(model, state(), &given, LIMITS, one)?, texts);
    let long = Limits { end: None, longest: 6 };
    let draws = |seed| sample(model, state(), &given, long, Sampling { seed, ..Sampling::default() });
    assert_eq!(draws(1)?, draws(1)?);
    assert_ne!(draws(1)?, draws(2)?);
    assert!(draws(1)?.iter().all(|text| text.len() == 6));
    Ok(())
}

#[test]
fn a_wide_beam_finds_the_best_of_all_texts() -> Result<()> {
    searches_find_the_best(&recurrent()?, || None)?;
    searches_find_the_best(&transformer()?, Past::default)
}

#[test]
fn one_token_after_the_other() -> Result<()> {
    one_by_one(&recurrent()?, || None)?;
    one_by_one(&transformer()?, Past::default)
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    let model = recurrent()?;
    let given = given()?;
    let own = Sampling::default();
    for (sampling, rule) in [
        (Sampling { temperature: 0.0, ..own }, "the temperature must be a number above 0, got 0"),
        (Sampling { temperature: f64::NAN, ..own }, "got NaN"),
        (Sampling { top_k: Some(0), ..own }, "top_k must be at least 1"),
        (Sampling { top_p: Some(1.5), ..own }, "top_p must be in (0, 1], got Some(1.5)"),
    ] {
        let error = sample(&model, None, &given, LIMITS, sampling).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    for (options, rule) in [
        (Beam { width: 2, best: 3, ..Beam::default() }, "got 3 of 2"),
        (Beam { best: 0, ..Beam::default() }, "got 0 of 4"),
        (Beam { length_penalty: -1.0, ..Beam::default() }, "must be at least 0, got -1"),
    ] {
        let error = beam(&model, None, &given, LIMITS, options).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    let nothing = Tensor::zeros((2, 0), DType::U32, &Device::Cpu)?;
    let error = greedy(&model, None, &nothing, LIMITS).expect_err("nothing given").to_string();
    assert!(error.contains("at least one in each row, got [2, 0]"), "{error}");
    let error = greedy(&model, None, &Tensor::new(&[[4u32]], &Device::Cpu)?, LIMITS).expect_err("of four");
    assert!(error.to_string().contains("0..4, got 4 at [0, 0]"), "{error}");
    Ok(())
}
