//! Recurrent models: each sequence its own, every parameter trained, mistakes named.

use candle_core::{DType, Device, Result, Tensor};
use nn_core::ops::{self, Reduction};
use nn_core::testing::{assert_close, assert_trained, randn};
use nn_core::{Ctx, Layer, ParamStore};
use nn_sequence::{
    AnyUnit, DecoderWeights, Directions, Elman, Forecaster, ForecasterConfig, Gated, Input, Labelling,
    LanguageModel, LanguageModelConfig, LongShortTerm, Pooling, RecurrentConfig, SequenceClassifier,
    SequenceClassifierConfig, SequenceConfig, SequenceTagger, SequenceTaggerConfig,
};

const LENGTHS: [usize; 3] = [2, 5, 1];
const WORDS: Input = Input::Tokens { vocabulary: 9, width: 4, padding: Some(0) };

fn units() -> [AnyUnit; 3] {
    [AnyUnit::Rnn(Elman::default()), AnyUnit::Lstm(LongShortTerm::default()), AnyUnit::Gru(Gated)]
}

fn sequence(unit: AnyUnit, input: Input) -> SequenceConfig {
    let recurrent = RecurrentConfig { unit, layers: 2, directions: Directions::Both, ..Default::default() };
    SequenceConfig { input, hidden: 8, recurrent, dropout: 0.0 }
}

fn words() -> Result<Tensor> {
    Tensor::new(&[[1u32, 2, 0, 0, 0], [3, 4, 5, 6, 7], [8, 0, 0, 0, 0]], &Device::Cpu)
}

/// Sequence `b` without what fills it up.
fn alone(x: &Tensor, b: usize) -> Result<Tensor> {
    x.narrow(0, b, 1)?.narrow(1, 0, LENGTHS[b])
}

fn vb(store: &ParamStore) -> candle_nn::VarBuilder<'static> {
    store.vb(DType::F64, &Device::Cpu)
}

/// Demands that the loss trains every parameter, but the embedding of padding.
fn assert_all_trained(loss: &Tensor, store: &ParamStore) -> Result<()> {
    assert_trained(loss, store)?;
    let grads = nn_core::backward(loss)?;
    for (_, var) in store.parameters().into_iter().filter(|(name, _)| name == "embedding.weight") {
        let Some(d) = grads.get(&var) else { panic!("asserted above") };
        assert_eq!(d.get(0)?.abs()?.sum_all()?.to_scalar::<f64>()?, 0.0);
    }
    Ok(())
}

#[test]
fn a_classifier_reads_each_sequence_to_its_end() -> Result<()> {
    for unit in units() {
        for pooling in [Pooling::Last, Pooling::Mean, Pooling::Max] {
            for (input, x) in [(WORDS, words()?), (Input::Features(2), randn(1, (3, 5, 2))?)] {
                let store = ParamStore::new(1);
                let cfg = SequenceClassifierConfig { sequence: sequence(unit, input), pooling, classes: 4 };
                let model = SequenceClassifier::new(&cfg, vb(&store))?;
                let logits = model.logits(&x, Some(&LENGTHS), &Ctx::eval())?;
                assert_eq!(logits.dims(), [3, 4]);
                for b in 0..3 {
                    let own = model.call(&alone(&x, b)?, &Ctx::eval())?;
                    assert_close(&logits.narrow(0, b, 1)?, &own, 1e-12, 1e-12)?;
                }
                let labels = Tensor::new(&[0u32, 3, 1], &Device::Cpu)?;
                assert_all_trained(&ops::cross_entropy(&logits, &labels, Reduction::Mean)?, &store)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_forecaster_gives_its_horizon() -> Result<()> {
    for unit in units() {
        let store = ParamStore::new(2);
        let cfg = ForecasterConfig { sequence: sequence(unit, Input::Features(2)), horizon: 6 };
        let model = Forecaster::new(&cfg, vb(&store))?;
        let x = randn(1, (3, 5, 2))?;
        let y = model.forecast(&x, Some(&LENGTHS), &Ctx::eval())?;
        assert_eq!(y.dims(), [3, 6]);
        assert_close(&y.narrow(0, 0, 1)?, &model.call(&alone(&x, 0)?, &Ctx::eval())?, 1e-12, 1e-12)?;
        assert_all_trained(&ops::mse(&y, &y.zeros_like()?, Reduction::Mean)?, &store)?;
    }
    Ok(())
}

#[test]
fn a_tagger_labels_each_step_apart_or_together() -> Result<()> {
    for unit in units() {
        for labelling in [Labelling::Apart, Labelling::Chain] {
            let store = ParamStore::new(3);
            let cfg = SequenceTaggerConfig { sequence: sequence(unit, WORDS), labelling, classes: 3 };
            let model = SequenceTagger::new(&cfg, vb(&store))?;
            let x = words()?;
            let labels = model.labels(&x, Some(&LENGTHS), &Ctx::eval())?;
            for b in 0..3 {
                assert_eq!(labels[b].len(), LENGTHS[b]);
                assert_eq!(model.labels(&alone(&x, b)?, None, &Ctx::eval())?[0], labels[b]);
            }
            let emissions = model.emissions(&x, Some(&LENGTHS), &Ctx::eval())?;
            let right = Tensor::new(&[[1u32, 2, 0, 0, 0], [0, 1, 2, 0, 1], [2, 0, 0, 0, 0]], &Device::Cpu)?;
            let loss = match model.crf() {
                Some(crf) => crf.loss(&emissions, &right, Some(&LENGTHS), Reduction::Mean)?,
                None => ops::cross_entropy(&ops::transpose(&emissions, 1, 2)?, &right, Reduction::Mean)?,
            };
            assert_all_trained(&loss, &store)?;
        }
    }
    Ok(())
}

fn language_model(unit: AnyUnit, decoder: DecoderWeights, store: &ParamStore) -> Result<LanguageModel> {
    let recurrent = RecurrentConfig { unit, layers: 2, ..RecurrentConfig::default() };
    let cfg = LanguageModelConfig { vocabulary: 9, width: 4, hidden: 4, recurrent, dropout: 0.0, decoder };
    LanguageModel::new(&cfg, vb(store))
}

#[test]
fn a_language_model_reads_a_text_in_parts_and_may_share_its_embedding() -> Result<()> {
    for unit in units() {
        for decoder in [DecoderWeights::Own, DecoderWeights::Tied] {
            let store = ParamStore::new(4);
            let model = language_model(unit, decoder, &store)?;
            let own = store.tensors().contains_key("decoder.weight");
            assert_eq!(own, decoder == DecoderWeights::Own);
            let x = words()?;
            let whole = model.call(&x, &Ctx::eval())?;
            assert_eq!(whole.dims(), [3, 5, 9]);
            let (first, states) = model.run(&x.narrow(1, 0, 2)?, None, &Ctx::eval())?;
            let (second, _) = model.run(&x.narrow(1, 2, 3)?, Some(&states), &Ctx::eval())?;
            assert_close(&Tensor::cat(&[first, second], 1)?, &whole, 1e-12, 1e-12)?;
            let logits = ops::reshape(&whole, (15, 9))?;
            let loss = ops::cross_entropy(&logits, &x.flatten_all()?, Reduction::Mean)?;
            let grads = nn_core::backward(&loss)?;
            for (name, var) in store.parameters() {
                let d = grads.get(&var).unwrap_or_else(|| panic!("no gradient for {name}"));
                assert!(d.abs()?.sum_all()?.to_scalar::<f64>()? > 0.0, "{name}");
            }
        }
    }
    Ok(())
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    let store = ParamStore::new(5);
    let model = language_model(units()[1], DecoderWeights::Own, &store)?;
    let error = model.call(&Tensor::new(&[[1u32, 9]], &Device::Cpu)?, &Ctx::eval()).expect_err("of nine");
    assert!(error.to_string().contains("0..9, got 9 at [0, 1]"), "{error}");
    let error = model.call(&Tensor::zeros((1, 0), DType::U32, &Device::Cpu)?, &Ctx::eval());
    assert!(error.expect_err("nothing to read").to_string().contains("at least one step"));
    let recurrent = RecurrentConfig { directions: Directions::Both, ..RecurrentConfig::default() };
    let cfg = LanguageModelConfig {
        vocabulary: 9,
        width: 4,
        hidden: 5,
        recurrent,
        dropout: 0.0,
        decoder: DecoderWeights::Tied,
    };
    let error = LanguageModel::new(&cfg, vb(&store).pp("a")).expect_err("sees the answer").to_string();
    assert!(error.contains("must go forward alone"), "{error}");
    let cfg = LanguageModelConfig { recurrent: RecurrentConfig::default(), ..cfg };
    let error = LanguageModel::new(&cfg, vb(&store).pp("b")).expect_err("5 is not 4").to_string();
    assert!(error.contains("outputs as wide as embeddings, got 5 and 4"), "{error}");
    Ok(())
}

#[test]
fn a_checkpoint_of_another_cell_is_refused_with_what_differs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lstm.safetensors");
    let model = |unit| -> Result<ParamStore> {
        let store = ParamStore::new(6);
        language_model(unit, DecoderWeights::Own, &store)?;
        Ok(store)
    };
    model(units()[1])?.save(&path)?;
    for unit in [units()[0], units()[2]] {
        let error = model(unit)?.load(&path).expect_err("an LSTM's").to_string();
        for part in ["lstm.safetensors", "rnn.weight_hh_l0", "[16, 4]"] {
            assert!(error.contains(part), "{error}");
        }
    }
    assert!(model(units()[1])?.load(&path)?.is_exact());
    Ok(())
}
