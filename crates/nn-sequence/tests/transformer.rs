//! What Transformers keep: tokens a few at a time are the whole, padding has no effect, every parameter is trained.

use candle_core::{DType, Device, Result, Tensor};
use nn_core::ops::{self, Reduction};
use nn_core::testing::{assert_close, assert_trained, is_direct, randn};
use nn_core::{Ctx, Layer, ParamStore};
use nn_layers::Masks;
use nn_sequence::decode::{Beam, Limits, beam, greedy};
use nn_sequence::{
    DecoderWeights, Ending, NormPlace, Past, Positions, Transformer, TransformerClassifier,
    TransformerConfig, TransformerEncoder, TransformerLanguageModel, TransformerMasks,
    TransformerModelConfig, TransformerSeq2Seq, TransformerSeq2SeqConfig, padding_mask,
};

const SMALL: TransformerConfig = TransformerConfig {
    heads: 2,
    feed_forward: 5,
    dropout: 0.1,
    activation: nn_layers::Activation::Gelu,
    norm: NormPlace::First,
    eps: 1e-5,
    ending: Ending::Norm,
    start: nn_sequence::Start::Layers,
};

fn model(positions: Positions) -> TransformerModelConfig {
    TransformerModelConfig { vocabulary: 9, width: 4, layers: 2, longest: 7, positions, transformer: SMALL }
}

fn vb(store: &ParamStore) -> candle_nn::VarBuilder<'static> {
    store.vb(DType::F64, &Device::Cpu)
}

fn words() -> Result<Tensor> {
    Tensor::new(&[[1u32, 2, 0, 0, 0], [3, 4, 5, 6, 7], [8, 0, 0, 0, 0]], &Device::Cpu)
}

#[test]
fn a_language_model_reads_a_text_in_parts_and_does_not_look_ahead() -> Result<()> {
    for positions in [Positions::Sinusoidal, Positions::Learned] {
        for decoder in [DecoderWeights::Own, DecoderWeights::Tied] {
            let store = ParamStore::new(1);
            let model = TransformerLanguageModel::new(&model(positions), decoder, vb(&store))?;
            let (x, ctx) = (words()?, Ctx::eval());
            let whole = model.call(&x, &ctx)?;
            let mut past = Past::default();
            for (start, len) in [(0, 2), (2, 1), (3, 2)] {
                let y = model.continue_after(&x.narrow(1, start, len)?, &mut past, &ctx)?;
                assert_close(&y, &whole.narrow(1, start, len)?, 1e-12, 1e-12)?;
            }
            let beginning = model.call(&x.narrow(1, 0, 3)?, &ctx)?;
            assert_close(&beginning, &whole.narrow(1, 0, 3)?, 1e-12, 1e-12)?;
            let logits = ops::reshape(&model.call(&x, &Ctx::train(0))?, (15, 9))?;
            let loss = ops::cross_entropy(&logits, &x.flatten_all()?, Reduction::Mean)?;
            assert!(is_direct(&loss), "every op of the graph is one of ours");
            let grads = nn_core::backward(&loss)?;
            for (name, var) in store.parameters() {
                assert!(grads.get(&var).is_some(), "no gradient for {name}");
            }
            let error = model.continue_after(&x.narrow(1, 0, 3)?, &mut past, &ctx).expect_err("eight tokens");
            assert!(error.to_string().contains("for 7 tokens, got 3 after 5"), "{error}");
        }
    }
    Ok(())
}

#[test]
fn a_classifier_reads_each_sequence_alone() -> Result<()> {
    const LENGTHS: [usize; 3] = [2, 5, 1];
    let store = ParamStore::new(2);
    let model = TransformerClassifier::new(3, &model(Positions::Sinusoidal), vb(&store))?;
    let (x, ctx) = (words()?, Ctx::eval());
    let logits = model.logits(&x, Some(&LENGTHS), &ctx)?;
    for (b, length) in LENGTHS.into_iter().enumerate() {
        let own = model.call(&x.narrow(0, b, 1)?.narrow(1, 0, length)?, &ctx)?;
        assert_close(&logits.narrow(0, b, 1)?, &own, 1e-12, 1e-12)?;
    }
    let labels = Tensor::new(&[0u32, 2, 1], &Device::Cpu)?;
    assert_trained(&ops::cross_entropy(&logits, &labels, Reduction::Mean)?, &store)?;
    let error = model.call(&Tensor::new(&[[9u32]], &Device::Cpu)?, &ctx).expect_err("of nine").to_string();
    assert!(error.contains("0..9, got 9 at [0, 0]"), "{error}");
    let error = model.logits(&x, Some(&[1, 2]), &ctx).expect_err("of three").to_string();
    assert!(error.contains("one length a sequence of 3, got 2"), "{error}");
    Ok(())
}

#[test]
fn a_decoder_goes_on_where_it_was() -> Result<()> {
    let store = ParamStore::new(3);
    let cfg = TransformerConfig { norm: NormPlace::Last, ..SMALL };
    let model = Transformer::new(4, [1, 2], &cfg, vb(&store))?;
    let (source, target, ctx) = (randn(1, (2, 5, 4))?, randn(2, (2, 6, 4))?, Ctx::eval());
    let keys = padding_mask(&[5, 3], &source.narrow(2, 0, 1)?.squeeze(2)?)?;
    let padded = Masks { keys: Some(&keys), ..Masks::default() };
    let causal = Masks { causal: true, ..Masks::default() };
    let masks = TransformerMasks { source: padded, target: causal, memory: padded };
    let whole = model.run(&source, &target, masks, &ctx)?;
    let memory = model.encode(&source, padded, &ctx)?;
    let mut cache = model.decoder().cache(&memory)?;
    for (start, len) in [(0, 1), (1, 3), (4, 2)] {
        let tokens = target.narrow(1, start, len)?;
        let y = model.decoder().continue_after(&tokens, &mut cache, padded, &ctx)?;
        assert_close(&y, &whole.narrow(1, start, len)?, 1e-12, 1e-12)?;
    }
    // Without what fills it up, the second sequence is the same.
    let alone = model.run(
        &source.narrow(0, 1, 1)?.narrow(1, 0, 3)?,
        &target.narrow(0, 1, 1)?,
        TransformerMasks { target: causal, ..TransformerMasks::default() },
        &ctx,
    )?;
    assert_close(&whole.narrow(0, 1, 1)?, &alone, 1e-12, 1e-12)?;
    assert_trained(&ops::mse(&whole, &whole.ones_like()?, Reduction::Mean)?, &store)
}

#[test]
fn each_sentence_is_translated_alone_and_token_by_token() -> Result<()> {
    const LENGTHS: [usize; 3] = [2, 5, 1];
    let cfg = TransformerSeq2SeqConfig {
        vocabularies: [9, 5],
        width: 4,
        layers: [1, 2],
        longest: 7,
        positions: Positions::Learned,
        transformer: TransformerConfig { norm: NormPlace::Last, ..SMALL },
    };
    let store = ParamStore::new(5);
    let model = TransformerSeq2Seq::new(&cfg, vb(&store))?;
    let (source, ctx) = (words()?, Ctx::eval());
    let given = Tensor::new(&[[1u32], [1], [1]], &Device::Cpu)?;
    let state = model.start(&source, &LENGTHS, &ctx)?;
    let found = greedy(&model, state, &given, Limits { end: None, longest: 4 })?;
    let found = Tensor::new(found, &Device::Cpu)?;
    let whole = Tensor::cat(&[&given, &found.narrow(1, 0, 3)?], 1)?;
    let logits = model.logits(&source, &LENGTHS, &whole, &ctx)?;
    assert_eq!(logits.argmax(2)?.to_vec2::<u32>()?, found.to_vec2::<u32>()?);
    for (b, length) in LENGTHS.into_iter().enumerate() {
        let own = source.narrow(0, b, 1)?.narrow(1, 0, length)?;
        let alone = model.logits(&own, &[length], &whole.narrow(0, b, 1)?, &ctx)?;
        assert_close(&logits.narrow(0, b, 1)?, &alone, 1e-12, 1e-12)?;
    }
    let wide = Beam { width: 3, ..Beam::default() };
    let state = model.start(&source, &LENGTHS, &ctx)?;
    let together = beam(&model, state, &given, Limits { end: Some(2), longest: 4 }, wide)?;
    for (b, length) in LENGTHS.into_iter().enumerate() {
        let own = source.narrow(0, b, 1)?.narrow(1, 0, length)?;
        let state = model.start(&own, &[length], &ctx)?;
        let given = given.narrow(0, b, 1)?;
        let alone = beam(&model, state, &given, Limits { end: Some(2), longest: 4 }, wide)?;
        assert_eq!(alone[0][0].tokens, together[b][0].tokens);
    }
    let loss = ops::mse(&logits, &logits.ones_like()?, Reduction::Mean)?;
    let grads = nn_core::backward(&loss)?;
    assert!(store.parameters().iter().all(|(_, var)| grads.get(var).is_some()));
    let error = model.logits(&source, &[2, 6, 1], &whole, &ctx).expect_err("of five").to_string();
    assert!(error.contains("the length of sentence 1 must be in 1..=5, got 6"), "{error}");
    Ok(())
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    let store = ParamStore::new(4);
    let uneven = TransformerConfig { heads: 3, ..SMALL };
    let error = Transformer::new(4, [1, 1], &uneven, vb(&store)).expect_err("4 of 3").to_string();
    assert!(error.contains("3 heads and a width of 4"), "{error}");
    let drops = TransformerConfig { dropout: 2.0, ..SMALL };
    let error =
        Transformer::new(4, [1, 1], &drops, vb(&store).pp("b")).expect_err("no probability").to_string();
    assert!(error.contains("got 2"), "{error}");
    let one = Transformer::new(4, [1, 1], &SMALL, vb(&store).pp("c"))?;
    let two = Transformer::new(4, [1, 2], &SMALL, vb(&store).pp("d"))?;
    let x = randn(1, (1, 2, 4))?;
    let mut cache = one.decoder().cache(&x)?;
    let error = two.decoder().continue_after(&x, &mut cache, Masks::default(), &Ctx::eval());
    let error = error.expect_err("of another decoder").to_string();
    assert!(error.contains("the cache must be of 2 layers, got 1"), "{error}");
    let [one, two] = [1, 2].map(|n| TransformerEncoder::new(4, n, &SMALL, vb(&store).pp(format!("e{n}"))));
    let mut past = Vec::new();
    one?.continue_after(&x, &mut past, &Ctx::eval())?;
    let error = two?.continue_after(&x, &mut past, &Ctx::eval()).expect_err("of another encoder").to_string();
    assert!(error.contains("the past must be of 2 layers, got 1"), "{error}");
    Ok(())
}
