//! Norms, softmax, dropout.

use nn_core::Ctx;
use nn_core::ops::{self, Activation, BatchNorm, LocalResponseNorm, StochasticDepth};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("batch_norm", &[&[4, 3, 5, 5], &[3], &[3]], |x| {
        let options = BatchNorm { activation: Some(Activation::Relu), ..BatchNorm::default() };
        ops::batch_norm(&x[0], Some([&x[1], &x[2]]), None, options, &Ctx::train(0))
    }),
    ("layer_norm", &[&[4, 3, 7], &[7], &[7]], |x| ops::layer_norm(&x[0], 1, Some(&x[1]), Some(&x[2]), 1e-5)),
    ("rms_norm", &[&[4, 3, 7], &[7]], |x| ops::rms_norm(&x[0], 1, Some(&x[1]), 1e-5)),
    ("group_norm", &[&[4, 6, 5], &[6], &[6]], |x| ops::group_norm(&x[0], 3, Some([&x[1], &x[2]]), 1e-5)),
    ("instance_norm", &[&[4, 3, 5, 6], &[3], &[3]], |x| {
        ops::instance_norm(&x[0], Some([&x[1], &x[2]]), 1e-5)
    }),
    ("local_response_norm", &[&[2, 7, 3, 4]], |x| {
        ops::local_response_norm(&x[0], LocalResponseNorm { size: 5, alpha: 0.1, beta: 0.75, k: 1.0 })
    }),
    ("scale_shift", &[&[2, 3, 4, 5], &[3], &[3]], |x| {
        ops::scale_shift(&x[0], [&x[1], &x[2]], Some(Activation::Relu))
    }),
    ("softmax", &[&[4, 3, 7]], |x| ops::softmax(&x[0], 1)),
    ("log_softmax", &[&[4, 3, 7]], |x| ops::log_softmax(&x[0], 2)),
    ("log_sum_exp", &[&[4, 3, 7]], |x| ops::log_sum_exp(&x[0], 1)),
    ("dropout", &[&[4, 3, 7]], |x| ops::dropout(&x[0], 0.3, &Ctx::train(1))),
    ("dropout_channels", &[&[4, 8, 7]], |x| ops::dropout_channels(&x[0], 0.3, &Ctx::train(1))),
    ("stochastic_depth", &[&[8, 3, 7]], |x| {
        ops::stochastic_depth(&x[0], 0.3, StochasticDepth::Row, &Ctx::train(1))
    }),
];
