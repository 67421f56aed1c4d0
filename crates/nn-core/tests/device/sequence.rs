//! Recurrent layers, attention, embeddings.

use candle_core::Tensor;
use nn_core::Ctx;
use nn_core::ops::{
    self, Attention, Direction, MultiHead, Nonlinearity, RecurrentOptions, RecurrentWeights, RotaryPairs,
};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("rnn", &[&[2, 4, 3], &[2, 3], &[2, 2], &[2], &[2]], |x| {
        Ok(ops::rnn(&x[0], &weights(x), None, Nonlinearity::Tanh, RecurrentOptions::default())?.0)
    }),
    ("lstm", &[&[2, 4, 3], &[8, 3], &[8, 2], &[8], &[8]], |x| {
        Ok(ops::lstm(&x[0], &weights(x), None, RecurrentOptions::default())?.0)
    }),
    ("gru", &[&[2, 4, 3], &[6, 3], &[6, 2], &[6], &[6]], |x| {
        Ok(ops::gru(&x[0], &weights(x), None, RecurrentOptions::default())?.0)
    }),
    ("lstm, backwards and of two lengths", &[&[2, 4, 3], &[8, 3], &[8, 2], &[8], &[8]], |x| {
        let options = RecurrentOptions {
            direction: Direction::Reverse,
            lengths: Some(&[2, 4]),
            ..RecurrentOptions::default()
        };
        Ok(ops::lstm(&x[0], &weights(x), None, options)?.0)
    }),
    ("scaled_dot_product_attention", &[&[2, 2, 5, 4], &[2, 2, 6, 4], &[2, 2, 6, 4]], |x| {
        ops::scaled_dot_product_attention(&x[0], &x[1], &x[2], Attention::default(), &Ctx::eval())
    }),
    ("scaled_dot_product_attention, masked", &[&[2, 4, 5, 4], &[2, 2, 6, 4], &[2, 2, 6, 4], &[5, 6]], |x| {
        let keys = Tensor::new(&[[1u8, 1, 1, 1, 0, 0], [1; 6]], x[0].device())?;
        let options = Attention {
            causal: true,
            keys: Some(&keys),
            mask: Some(&x[3]),
            dropout: 0.2,
            ..Attention::default()
        };
        ops::scaled_dot_product_attention(&x[0], &x[1], &x[2], options, &Ctx::train(3))
    }),
    ("multi_head_attention", &[&[2, 5, 8], &[2, 6, 8], &[2, 6, 8]], |x| {
        let options = MultiHead { heads: 2, attention: Attention::default() };
        ops::multi_head_attention(&x[0], &x[1], &x[2], options, &Ctx::eval())
    }),
    ("self_attention", &[&[2, 5, 24]], |x| {
        let options = MultiHead { heads: 2, attention: Attention::default() };
        ops::self_attention(&x[0], options, &Ctx::eval())
    }),
    ("additive_attention", &[&[2, 3, 4], &[2, 5, 4], &[4], &[2, 5, 6]], |x| {
        ops::additive_attention(&x[0], &x[1], &x[2], &x[3], Some(&[5, 2]))
    }),
    ("rotary_embedding", &[&[2, 3, 5, 4]], |x| {
        let angles = Tensor::arange(0f32, 10.0, x[0].device())?.reshape((5, 2))?;
        ops::rotary_embedding(&x[0], &angles.cos()?, &angles.sin()?, RotaryPairs::Halves)
    }),
    ("embedding", &[&[5, 3]], |x| {
        let indices = Tensor::new(&[[1u32, 4, 1], [0, 1, 2]], x[0].device())?;
        ops::embedding(&indices, &x[0], Some(2))
    }),
];

fn weights(x: &[Tensor]) -> RecurrentWeights {
    let [w_ih, w_hh, b_ih, b_hh] = [1, 2, 3, 4].map(|i| x[i].clone());
    RecurrentWeights { w_ih, w_hh, b_ih: Some(b_ih), b_hh: Some(b_hh) }
}
