//! Activations.

use nn_core::ops::{self, Activation};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("relu", &[&[4, 3, 7]], |x| ops::relu(&x[0])),
    ("relu6", &[&[4, 3, 7]], |x| ops::relu6(&x[0])),
    ("leaky_relu", &[&[4, 3, 7]], |x| ops::leaky_relu(&x[0], 0.1)),
    ("prelu", &[&[4, 3, 7], &[3]], |x| ops::prelu(&x[0], &x[1])),
    ("elu", &[&[4, 3, 7]], |x| ops::elu(&x[0], 0.7)),
    ("selu", &[&[4, 3, 7]], |x| ops::selu(&x[0])),
    ("gelu", &[&[4, 3, 7]], |x| ops::gelu(&x[0])),
    ("gelu_tanh", &[&[4, 3, 7]], |x| ops::gelu_tanh(&x[0])),
    ("silu", &[&[4, 3, 7]], |x| ops::silu(&x[0])),
    ("mish", &[&[4, 3, 7]], |x| ops::mish(&x[0])),
    ("hard_sigmoid", &[&[4, 3, 7]], |x| ops::hard_sigmoid(&x[0])),
    ("hard_swish", &[&[4, 3, 7]], |x| ops::hard_swish(&x[0])),
    ("hard_tanh", &[&[4, 3, 7]], |x| ops::hard_tanh(&x[0])),
    ("softplus", &[&[4, 3, 7]], |x| ops::softplus(&x[0], 2.0)),
    ("softsign", &[&[4, 3, 7]], |x| ops::softsign(&x[0])),
    ("sigmoid", &[&[4, 3, 7]], |x| ops::sigmoid(&x[0])),
    ("log_sigmoid", &[&[4, 3, 7]], |x| ops::log_sigmoid(&x[0])),
    ("tanh", &[&[4, 3, 7]], |x| ops::tanh(&x[0])),
    ("add_activate", &[&[4, 3, 7], &[4, 3, 7]], |x| ops::add_activate(&x[0], &x[1], Activation::Relu)),
];
