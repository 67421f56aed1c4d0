//! Of a batch of mixed lengths each sequence has the loss it has alone, and all gradients are the sums of those alone.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{self, Reduction};
use nn_core::testing::{assert_close, is_direct};
use nn_core::{Ctx, ParamStore};
use nn_sequence::{
    AnyUnit, Directions, Elman, Gated, Input, Labelling, LongShortTerm, NormPlace, Pooling, Positions,
    RecurrentConfig, Score, Seq2Seq, Seq2SeqConfig, SequenceClassifier, SequenceClassifierConfig,
    SequenceConfig, SequenceTagger, SequenceTaggerConfig, TransformerClassifier, TransformerConfig,
    TransformerModelConfig, TransformerSeq2Seq, TransformerSeq2SeqConfig,
};

const SENTENCES: [&[u32]; 3] = [&[1, 2], &[3, 4, 5, 6, 7], &[8]];
const UNITS: [AnyUnit; 3] = [
    AnyUnit::Rnn(Elman { nonlinearity: ops::Nonlinearity::Tanh }),
    AnyUnit::Lstm(LongShortTerm { projection: None }),
    AnyUnit::Gru(Gated),
];

/// Some of the sentences, filled up to the longest of them.
struct Rows {
    tokens: Tensor,
    lengths: Vec<usize>,
    /// `[B]`
    classes: Tensor,
    /// `[B, T]`, of the tokens' shape.
    labels: Tensor,
    /// `[B, 3]`
    targets: Tensor,
}

impl Rows {
    fn new(rows: &[usize]) -> Result<Self> {
        let lengths: Vec<usize> = rows.iter().map(|&b| SENTENCES[b].len()).collect();
        let steps = lengths.iter().copied().max().unwrap_or(0);
        let token = |b: usize, t: usize| SENTENCES[b].get(t).copied().unwrap_or(0);
        let tensor = |width: usize, f: &dyn Fn(usize, usize) -> u32| {
            let all: Vec<u32> = rows.iter().flat_map(|&b| (0..width).map(move |t| f(b, t))).collect();
            Tensor::from_vec(all, (rows.len(), width), &Device::Cpu)
        };
        Ok(Self {
            tokens: tensor(steps, &token)?,
            classes: tensor(1, &|b, _| b as u32)?.flatten_all()?,
            labels: tensor(steps, &|b, t| token(b, t) % 3)?,
            targets: tensor(3, &|b, t| (b + 2 * t) as u32 % 5)?,
            lengths,
        })
    }
}

/// A loss with its gradients by all parameters, zeros where there are none.
fn backward(store: &ParamStore, loss: &Tensor) -> Result<Vec<Tensor>> {
    assert!(is_direct(loss), "every op of the graph is one of ours");
    let grads = nn_core::backward(loss)?;
    let gradients = store.parameters().into_iter().map(|(_, var)| match grads.get(&var) {
        Some(gradient) => Ok(gradient.clone()),
        None => var.zeros_like(),
    });
    std::iter::once(Ok(loss.detach())).chain(gradients).collect()
}

/// `loss` is the sum over the sentences.
fn each_alone<M>(
    build: impl Fn(VarBuilder) -> Result<M>,
    loss: impl Fn(&M, &Rows) -> Result<Tensor>,
) -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
        let store = ParamStore::new(1);
        let model = build(store.vb(dtype, &Device::Cpu))?;
        let together = backward(&store, &loss(&model, &Rows::new(&[0, 1, 2])?)?)?;
        let mut sum: Vec<Tensor> = together.iter().map(Tensor::zeros_like).collect::<Result<_>>()?;
        for b in 0..SENTENCES.len() {
            let alone = backward(&store, &loss(&model, &Rows::new(&[b])?)?)?;
            sum = sum.iter().zip(&alone).map(|(sum, alone)| sum + alone).collect::<Result<_>>()?;
        }
        for (together, sum) in together.iter().zip(&sum) {
            let largest = sum.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            assert_close(together, sum, 0.0, tolerance * largest.max(1.0))?;
        }
    }
    Ok(())
}

fn sequence(unit: AnyUnit) -> SequenceConfig {
    let input = Input::Tokens { vocabulary: 9, width: 4, padding: None };
    let recurrent = RecurrentConfig { unit, layers: 2, directions: Directions::Both, ..Default::default() };
    SequenceConfig { input, hidden: 5, recurrent, dropout: 0.0 }
}

fn transformer(norm: NormPlace) -> TransformerConfig {
    TransformerConfig { heads: 2, feed_forward: 5, norm, ..TransformerConfig::default() }
}

/// Of logits `[B, T, V]`.
fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (b, t, v) = logits.dims3()?;
    ops::cross_entropy(&ops::reshape(logits, (b * t, v))?, &targets.flatten_all()?, Reduction::Sum)
}

#[test]
fn of_classifiers() -> Result<()> {
    for unit in UNITS {
        for pooling in [Pooling::Last, Pooling::Mean, Pooling::Max] {
            let cfg = SequenceClassifierConfig { sequence: sequence(unit), pooling, classes: 3 };
            each_alone(
                |vb| SequenceClassifier::new(&cfg, vb),
                |model, x| {
                    let logits = model.logits(&x.tokens, Some(&x.lengths), &Ctx::eval())?;
                    ops::cross_entropy(&logits, &x.classes, Reduction::Sum)
                },
            )?;
        }
    }
    for norm in [NormPlace::First, NormPlace::Last] {
        let cfg = TransformerModelConfig {
            vocabulary: 9,
            width: 4,
            layers: 2,
            longest: 7,
            positions: Positions::Learned,
            transformer: transformer(norm),
        };
        each_alone(
            |vb| TransformerClassifier::new(3, &cfg, vb),
            |model, x| {
                let logits = model.logits(&x.tokens, Some(&x.lengths), &Ctx::eval())?;
                ops::cross_entropy(&logits, &x.classes, Reduction::Sum)
            },
        )?;
    }
    Ok(())
}

#[test]
fn of_taggers() -> Result<()> {
    for unit in UNITS {
        let cfg = SequenceTaggerConfig { sequence: sequence(unit), labelling: Labelling::Chain, classes: 3 };
        each_alone(
            |vb| SequenceTagger::new(&cfg, vb),
            |model, x| {
                let emissions = model.emissions(&x.tokens, Some(&x.lengths), &Ctx::eval())?;
                let Some(crf) = model.crf() else { panic!("labels are chosen together") };
                crf.loss(&emissions, &x.labels, Some(&x.lengths), Reduction::Sum)
            },
        )?;
    }
    Ok(())
}

#[test]
fn of_translators() -> Result<()> {
    for unit in UNITS {
        for score in [Score::Additive, Score::General, Score::Concat] {
            let cfg = Seq2SeqConfig {
                vocabularies: [9, 5],
                width: 3,
                hidden: 4,
                unit,
                layers: 2,
                directions: Directions::Both,
                dropout: 0.0,
                score,
            };
            each_alone(
                |vb| Seq2Seq::new(&cfg, vb),
                |model, x| {
                    let logits = model.logits(&x.tokens, &x.lengths, &x.targets, 1.0, &Ctx::eval())?;
                    cross_entropy(&logits, &x.targets)
                },
            )?;
        }
    }
    let cfg = TransformerSeq2SeqConfig {
        vocabularies: [9, 5],
        width: 4,
        layers: [2, 2],
        longest: 7,
        positions: Positions::Sinusoidal,
        transformer: transformer(NormPlace::Last),
    };
    each_alone(
        |vb| TransformerSeq2Seq::new(&cfg, vb),
        |model, x| cross_entropy(&model.logits(&x.tokens, &x.lengths, &x.targets, &Ctx::eval())?, &x.targets),
    )
}

/// Dropout, masks and smoothed targets leave every graph of a translator one of this project's ops.
#[test]
fn training_takes_the_short_way_back() -> Result<()> {
    let cfg = TransformerSeq2SeqConfig {
        vocabularies: [9, 5],
        width: 4,
        layers: [2, 2],
        longest: 7,
        positions: Positions::Sinusoidal,
        transformer: TransformerConfig { dropout: 0.2, ..transformer(NormPlace::First) },
    };
    let store = ParamStore::new(1);
    let model = TransformerSeq2Seq::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
    let x = Rows::new(&[0, 1, 2])?;
    let logits = model.logits(&x.tokens, &x.lengths, &x.targets, &Ctx::train(0))?;
    assert!(is_direct(&logits), "logits");
    let (b, t, v) = logits.dims3()?;
    let options = ops::CrossEntropy { ignore_index: 0, label_smoothing: 0.1, ..ops::CrossEntropy::default() };
    let loss = ops::cross_entropy(&ops::reshape(&logits, (b * t, v))?, &x.targets.flatten_all()?, options)?;
    assert!(is_direct(&loss), "loss");
    Ok(())
}
