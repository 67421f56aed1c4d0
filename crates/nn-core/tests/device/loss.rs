//! Losses.

use candle_core::Tensor;
use nn_core::ops::{
    self, BceWithLogits, CosineEmbeddingLoss, CrfWeights, CrossEntropy, CtcLoss, Huber, KlDiv, KlTarget,
    Reduction, SmoothL1, TripletMarginLoss,
};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("cross_entropy", &[&[4, 5]], |x| {
        let labels = Tensor::new(&[0u32, 4, 2, 2], x[0].device())?;
        ops::cross_entropy(&x[0], &labels, Reduction::Mean)
    }),
    ("cross_entropy of pixels, weighted", &[&[2, 3, 2, 2]], |x| {
        let device = x[0].device();
        let labels = Tensor::new(&[[[0i64, 2], [-100, 1]], [[1, 1], [2, 0]]], device)?;
        let weight = Tensor::new(&[0.5f32, 1.0, 2.0], device)?;
        let options = CrossEntropy { weight: Some(&weight), label_smoothing: 0.1, ..CrossEntropy::default() };
        ops::cross_entropy(&x[0], &labels, options)
    }),
    ("cross_entropy with soft targets", &[&[4, 5], &[4, 5]], |x| {
        ops::cross_entropy(&x[0], &ops::softmax(&x[1], 1)?, Reduction::Sum)
    }),
    ("nll_loss", &[&[4, 5]], |x| {
        let labels = Tensor::new(&[0u32, 4, 2, 2], x[0].device())?;
        ops::nll_loss(&ops::log_softmax(&x[0], 1)?, &labels, Reduction::Mean)
    }),
    ("bce", &[&[4, 5], &[4, 5]], |x| ops::bce(&ops::sigmoid(&x[0])?, &ops::sigmoid(&x[1])?, Reduction::Mean)),
    ("bce_with_logits", &[&[4, 5], &[4, 5]], |x| {
        let pos_weight = Tensor::new(&[0.5f32, 1.0, 2.0, 1.0, 3.0], x[0].device())?;
        let options = BceWithLogits { pos_weight: Some(&pos_weight), ..BceWithLogits::default() };
        ops::bce_with_logits(&x[0], &ops::sigmoid(&x[1])?, options)
    }),
    ("mse", &[&[4, 5], &[4, 5]], |x| ops::mse(&x[0], &x[1], Reduction::None)),
    ("l1", &[&[4, 5], &[4, 5]], |x| ops::l1(&x[0], &x[1], Reduction::Mean)),
    ("huber", &[&[4, 5], &[4, 5]], |x| ops::huber(&x[0], &x[1], Huber::default())),
    ("smooth_l1", &[&[4, 5], &[4, 5]], |x| ops::smooth_l1(&x[0], &x[1], SmoothL1::default())),
    ("kl_div", &[&[4, 5], &[4, 5]], |x| {
        let options = KlDiv { target: KlTarget::Logarithms, ..KlDiv::default() };
        ops::kl_div(&ops::log_softmax(&x[0], 1)?, &ops::log_softmax(&x[1], 1)?, options)
    }),
    ("cosine_embedding_loss", &[&[4, 5], &[4, 5]], |x| {
        let targets = Tensor::new(&[1i64, -1, -1, 1], x[0].device())?;
        ops::cosine_embedding_loss(&x[0], &x[1], &targets, CosineEmbeddingLoss::default())
    }),
    ("triplet_margin_loss", &[&[4, 5], &[4, 5], &[4, 5]], |x| {
        ops::triplet_margin_loss(&x[0], &x[1], &x[2], TripletMarginLoss::default())
    }),
    ("ctc_loss", &[&[6, 2, 4]], |x| {
        let device = x[0].device();
        let targets = Tensor::new(&[[1u32, 1, 3], [2, 0, 0]], device)?;
        let lengths = |of: [u32; 2]| Tensor::new(&of, device);
        let options = CtcLoss { reduction: Reduction::Sum, ..CtcLoss::default() };
        ops::ctc_loss(&ops::log_softmax(&x[0], 2)?, &targets, &lengths([6, 4])?, &lengths([3, 1])?, options)
    }),
    ("crf_loss", &[&[2, 4, 3], &[3, 3], &[3], &[3]], |x| {
        let [transitions, start, end] = [1, 2, 3].map(|i| x[i].clone());
        let labels = Tensor::new(&[[0u32, 2, 1, 1], [1, 0, 0, 0]], x[0].device())?;
        ops::crf_loss(&x[0], &CrfWeights { transitions, start, end }, &labels, Some(&[4, 2]), Reduction::Sum)
    }),
];
