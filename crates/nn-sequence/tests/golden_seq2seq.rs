//! Encoder, decoder and attention against the same of PyTorch's layers: logits, all gradients, and where they look.
//!
//! The numbers are made by `tests/golden/seq2seq.py`.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::testing::{Golden, assert_close};
use nn_core::{Ctx, ParamStore};
use nn_sequence::{AnyUnit, Directions, Elman, Gated, LongShortTerm, Score, Seq2Seq, Seq2SeqConfig};

const LENGTHS: [usize; 3] = [3, 1, 2];

fn model(unit: AnyUnit, score: Score, vb: VarBuilder) -> Result<Seq2Seq> {
    let directions = if score == Score::Dot { Directions::Forward } else { Directions::Both };
    let (vocabularies, width, hidden, layers, dropout) = ([5, 4], 2, 3, 2, 0.0);
    let cfg = Seq2SeqConfig { vocabularies, width, hidden, unit, layers, directions, dropout, score };
    Seq2Seq::new(&cfg, vb)
}

#[test]
fn translations_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/seq2seq.safetensors");
    let mut golden = Golden::open(path)?;
    for (case, unit, score) in [
        ("gru.additive", AnyUnit::Gru(Gated), Score::Additive),
        ("lstm.general", AnyUnit::Lstm(LongShortTerm::default()), Score::General),
        ("rnn.concat", AnyUnit::Rnn(Elman::default()), Score::Concat),
        ("lstm.dot", AnyUnit::Lstm(LongShortTerm::default()), Score::Dot),
    ] {
        let store = ParamStore::new(0);
        model(unit, score, store.vb(DType::F64, &Device::Cpu))?;
        let parameters: Vec<String> = store.tensors().into_keys().collect();
        let names: Vec<&str> =
            ["source", "target"].into_iter().chain(parameters.iter().map(String::as_str)).collect();
        let weights = golden.tensor(&format!("{case}.weights"))?;
        golden.check(case, &names, |args| {
            let (tokens, rest) = args.split_at(2);
            let named: HashMap<String, Tensor> =
                parameters.iter().cloned().zip(rest.iter().cloned()).collect();
            let dtype = rest[0].dtype();
            let model = model(unit, score, VarBuilder::from_tensors(named, dtype, &Device::Cpu))?;
            let looks = model.attention(&tokens[0], &LENGTHS, &tokens[1], &Ctx::eval())?;
            let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-5 };
            assert_close(&looks, &weights.to_dtype(dtype)?, tolerance, tolerance)?;
            model.logits(&tokens[0], &LENGTHS, &tokens[1], 1.0, &Ctx::eval())
        })?;
    }
    golden.finish()
}
