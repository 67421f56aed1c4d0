//! A trained network of another's: textgenrnn's two LSTMs read a sentence as surprised as the original does.
//!
//! The files are not part of the repository; where they are absent the test says so and passes.

use std::collections::BTreeMap;
use std::fs;

use candle_core::{DType, Device, Result, Tensor};
use nn_core::ops::{self, Reduction};
use nn_core::{Ctx, Layer, ParamStore};
use nn_layers::{Bias, Embedding, Linear};
use nn_sequence::{Lstm, LstmConfig};
use nn_tests::real_data;

const SENTENCE: &str = "The United States of America is a country that people from all over the world want to \
                        visit because of the things they have heard about it.";
/// What the network was measured at with PyTorch, in nats a character.
const SURPRISE: f32 = 0.902;
/// Characters it sees at a time; shorter texts are filled up in front.
const WINDOW: usize = 40;
const HIDDEN: usize = 128;

#[test]
fn textgenrnn_is_as_surprised_as_it_was() -> Result<()> {
    let Some(weights) = real_data("../weights/textgenrnn_lstm.safetensors") else { return Ok(()) };
    let vocabulary = fs::read_to_string(weights.with_file_name("textgenrnn_vocab.json"))?;
    let numbers: BTreeMap<String, u32> = serde_json::from_str(&vocabulary).expect("characters and numbers");
    // 0 fills up; it is in the table but not in the vocabulary.
    let count = numbers.len() + 1;

    let store = ParamStore::blank();
    let vb = store.vb(DType::F32, &Device::Cpu);
    let embedding = Embedding::new(count, 100, None, vb.pp("embedding"))?;
    let first = Lstm::new(100, HIDDEN, LstmConfig::default(), vb.pp("rnn1"))?;
    let second = Lstm::new(HIDDEN, HIDDEN, LstmConfig::default(), vb.pp("rnn2"))?;
    let width = 100 + 2 * HIDDEN;
    let attention = vb.pp("attention").get(width, "weight")?;
    let output = Linear::new(width, count, Bias::Learned, vb.pp("output"))?;
    let report = store.load(weights)?;
    assert!(report.is_exact(), "{report}");

    let text: Vec<u32> = SENTENCE.chars().map(|c| numbers[&c.to_string()]).collect();
    let padded = [&[0; WINDOW - 1][..], &[numbers["<s>"]], &text].concat();
    let windows: Vec<u32> = padded.windows(WINDOW).take(text.len()).flatten().copied().collect();
    let windows = Tensor::from_vec(windows, (text.len(), WINDOW), &Device::Cpu)?;

    let ctx = Ctx::eval();
    let letters = embedding.call(&windows, &ctx)?;
    let once = first.call(&letters, &ctx)?;
    let twice = second.call(&once, &ctx)?;
    let all = ops::concat(&[&letters, &once, &twice], 2)?; // [B, T, width]
    let scores = ops::linear(&all, &attention.unsqueeze(0)?, None)?; // [B, T, 1]
    let read = ops::softmax(&scores, 1)?.transpose(1, 2)?.matmul(&all)?.squeeze(1)?; // [B, width]
    let next = Tensor::new(&text[..], &Device::Cpu)?;
    let surprise =
        ops::cross_entropy(&output.call(&read, &ctx)?, &next, Reduction::Mean)?.to_scalar::<f32>()?;
    assert!((surprise - SURPRISE).abs() < 5e-4, "{surprise} nats a character");
    Ok(())
}
