//! Every model of the zoo becomes an ONNX model; what that computes is compared in Python by `golden/onnx_export.py`.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use nn_core::testing::randn;
use nn_core::weights::{self, WeightFile};
use nn_core::{Ctx, Freeze, Layer, ParamStore, ops};
use nn_onnx::{Input, export};
use nn_sequence::{
    AnyUnit, DecoderWeights, Directions, Elman, Gated, Input as Steps, LanguageModel, LanguageModelConfig,
    Pooling, Positions, RecurrentConfig, SequenceClassifier, SequenceClassifierConfig, SequenceConfig,
    TransformerClassifier, TransformerConfig, TransformerLanguageModel, TransformerModelConfig,
};

/// To write those of giants takes longer than the test; a smaller sibling is the same code with another table.
const GIANT: usize = 30_000_000;

#[test]
fn every_model_of_the_zoo_is_exported() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for entry in nn_vision::entries().filter(|entry| entry.parameters < GIANT) {
        let store = ParamStore::blank();
        store.freeze(Freeze::Everything);
        let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
        let ([c, _, _], [h, w]) = (entry.input, entry.least);
        let path = folder.path().join("model.onnx");
        let notes = BTreeMap::from([("model".to_owned(), entry.name.to_owned())]);
        let done = export(&model, Input::Numbers(&[c, h, w]), &notes, &path);
        let done = done.unwrap_or_else(|e| panic!("{}: {e}", entry.name));
        assert_eq!(done.output[0], entry.num_classes, "{}", entry.name);
        // And it is a file of weights like others.
        let file = WeightFile::open(&path)?;
        assert_eq!(file.about().metadata["model"], entry.name);
        let numbers: usize = file.tensors().map(|(_, t)| t.shape.iter().product::<usize>()).sum();
        assert_eq!(numbers, done.numbers, "{}", entry.name);
    }
    Ok(())
}

/// Where models of sequences are written to, with examples, for `golden/onnx_export.py`: the folder `NN_ONNX_OUT`, if there is
/// that, or one of the test's own.
fn with_folder(f: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    match env::var_os("NN_ONNX_OUT") {
        Some(folder) => f(Path::new(&folder)),
        None => f(tempfile::tempdir()?.path()),
    }
}

/// Exports a model and notes what it makes of three examples.
fn export_with_example(model: &dyn Layer, input: Input<'_>, output: &[usize], path: &Path) -> Result<()> {
    assert_eq!(export(model, input, &BTreeMap::new(), path)?.output, output);
    let x = match input {
        Input::Tokens { steps, vocabulary } => {
            let tokens = (0..3 * steps).map(|i| ((7 * i + i * i) % vocabulary) as u32);
            Tensor::from_iter(tokens, &Device::Cpu)?.reshape((3, steps))?
        }
        Input::Numbers(shape) => randn(1, [&[3], shape].concat())?.to_dtype(DType::F32)?,
    };
    let y = model.call(&x, &Ctx::eval())?;
    let x = if x.dtype() == DType::U32 { x.to_dtype(DType::I64)? } else { x };
    let example = BTreeMap::from([("input".to_owned(), x), ("output".to_owned(), y)]);
    weights::safetensors::write(&path.with_extension("safetensors"), &example)
}

/// Demands a mask of `steps` × `steps` in the file, −∞ where a key comes after the query.
fn assert_hides_what_comes(path: &Path, steps: usize) -> Result<()> {
    let file = WeightFile::open(path)?;
    let masks = file.tensors().filter(|(name, _)| name.contains(".mask")).map(|(name, _)| file.tensor(name));
    let masks = masks.collect::<Result<Vec<_>>>()?;
    assert_eq!(masks.len(), 2, "one a layer");
    for mask in masks {
        for (query, row) in mask.to_vec2::<f32>()?.into_iter().enumerate() {
            let hidden = |key| if key > query { f32::NEG_INFINITY } else { 0.0 };
            assert_eq!(row, (0..steps).map(hidden).collect::<Vec<_>>(), "query {query}");
        }
    }
    Ok(())
}

#[test]
fn recurrent_classifiers_are_exported_of_tokens_and_of_numbers() -> Result<()> {
    with_folder(|folder| {
        let units = [AnyUnit::Rnn(Elman::default()), AnyUnit::default(), AnyUnit::Gru(Gated)];
        for (n, unit) in units.into_iter().enumerate() {
            for (m, pooling) in [Pooling::Last, Pooling::Mean, Pooling::Max].into_iter().enumerate() {
                let directions = if m == 0 { Directions::Both } else { Directions::Forward };
                let recurrent = RecurrentConfig { unit, layers: 2, directions, ..RecurrentConfig::default() };
                let (input, given) = match m {
                    2 => (
                        Steps::Tokens { vocabulary: 11, width: 5, padding: Some(0) },
                        Input::Tokens { steps: 6, vocabulary: 11 },
                    ),
                    _ => (Steps::Features(3), Input::Numbers(&[6, 3])),
                };
                let sequence = SequenceConfig { input, hidden: 4, recurrent, dropout: 0.5 };
                let cfg = SequenceClassifierConfig { sequence, pooling, classes: 2 };
                let model = SequenceClassifier::new(&cfg, ParamStore::new(1).vb(DType::F32, &Device::Cpu))?;
                export_with_example(&model, given, &[2], &folder.join(format!("recurrent_{n}{m}.onnx")))?;
            }
        }
        Ok(())
    })
}

#[test]
fn recurrent_language_models_are_exported() -> Result<()> {
    with_folder(|folder| {
        for (name, decoder) in [("own", DecoderWeights::Own), ("tied", DecoderWeights::Tied)] {
            let recurrent = RecurrentConfig { layers: 2, ..RecurrentConfig::default() };
            let (vocabulary, width, hidden, dropout) = (11, 4, 4, 0.5);
            let cfg = LanguageModelConfig { vocabulary, width, hidden, recurrent, dropout, decoder };
            let model = LanguageModel::new(&cfg, ParamStore::new(1).vb(DType::F32, &Device::Cpu))?;
            let input = Input::Tokens { steps: 6, vocabulary };
            export_with_example(&model, input, &[6, 11], &folder.join(format!("language_{name}.onnx")))?;
        }
        Ok(())
    })
}

#[test]
fn transformers_that_classify_and_that_go_on_are_exported() -> Result<()> {
    with_folder(|folder| {
        let transformer = TransformerConfig { heads: 2, feed_forward: 16, ..TransformerConfig::default() };
        for (name, positions) in [("learned", Positions::Learned), ("waves", Positions::Sinusoidal)] {
            let cfg = TransformerModelConfig {
                vocabulary: 11,
                width: 8,
                layers: 2,
                longest: 9,
                positions,
                transformer,
            };
            let vb = ParamStore::new(1).vb(DType::F32, &Device::Cpu);
            let input = Input::Tokens { steps: 6, vocabulary: 11 };
            let model = TransformerClassifier::new(2, &cfg, vb.pp("classifier"))?;
            export_with_example(&model, input, &[2], &folder.join(format!("transformer_{name}.onnx")))?;
            let causal = TransformerLanguageModel::new(&cfg, DecoderWeights::Tied, vb.pp("language"))?;
            let path = folder.join(format!("causal_{name}.onnx"));
            export_with_example(&causal, input, &[6, 11], &path)?;
            assert_hides_what_comes(&path, 6)?;
        }
        Ok(())
    })
}

/// A model that does what is not exported.
struct Strange(fn(&Tensor) -> Result<Tensor>);

impl Layer for Strange {
    fn call(&self, x: &Tensor, _: &Ctx) -> Result<Tensor> {
        (self.0)(x)
    }
}

#[test]
fn what_cannot_be_exported_is_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.onnx");
    for (strange, why) in [
        (Strange(|x| ops::relu(&(x * 2.0)?)), "an operation of Candle's own"),
        (Strange(|x| ops::log_sum_exp(x, 1)), "log_sum_exp is not exported"),
        (Strange(Tensor::zeros_like), "does not depend on the input"),
        (Strange(|x| ops::add(x, &x.detach())), "depends on the batch"),
        (
            Strange(|x| ops::linear(x, &x.detach().narrow(0, 0, 1)?, None)),
            "depends on the input without a trace",
        ),
        (Strange(|x| ops::scale(x, x.dim(0)? as f64)), "options that depend on the batch"),
        (
            Strange(|x| if x.dim(0)? == 2 { ops::relu(x) } else { ops::tanh(x) }),
            "depends on its input or on the batch",
        ),
        (Strange(|x| ops::transpose(x, 0, 1)), "the batch as its first axis"),
        (Strange(|x| ops::reshape(x, x.elem_count())), "the batch as its first axis"),
    ] {
        let done = export(&strange, Input::Numbers(&[4]), &BTreeMap::new(), &path);
        let error = done.expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
        assert!(!path.exists());
    }
    Ok(())
}
