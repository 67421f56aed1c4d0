//! Losses.

use candle_core::{Result, Tensor};
use nn_core::ops::{
    self, BceWithLogits, CosineEmbeddingLoss, CrossEntropy, CtcLoss, Huber, KlDiv, KlTarget, NllLoss,
    Reduction, SmoothL1, TripletMarginLoss, cross_entropy,
};

use super::activation::{memory, size};
use super::case::{Case, fixed, labels, trained};
use crate::bench::machine::Work;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = of_labels();
    cases.extend(of_probabilities());
    cases.extend(of_elements());
    cases.extend(of_vectors());
    cases.push(ctc());
    cases
}

/// Digits; ImageNet; a language model's and a translator's words; a segmented image, with pixels that are of no class.
fn of_labels() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in [[64, 10], [128, 1000], [700, 10_000], [2048, 8000]] {
        let (pass, classes) = (memory(&dims), dims[1] as u32);
        let inputs = [trained(&dims), labels(&dims[..1], classes)];
        cases.push(
            Case::new("cross_entropy", size(&dims), inputs, |x| cross_entropy(&x[0], &x[1], Reduction::Mean))
                .work(Work::Bytes(pass), Work::Bytes(3.0 * pass))
                .candle(stock_cross_entropy)
                .torch("F.cross_entropy(x[0], x[1])"),
        );
    }
    let pixels = [4, 21, 224, 224];
    let inputs = || [trained(&pixels), labels(&[4, 224, 224], 22)];
    let options = CrossEntropy { ignore_index: 21, ..CrossEntropy::default() };
    let case =
        Case::new("cross_entropy", size(&pixels), inputs(), move |x| cross_entropy(&x[0], &x[1], options));
    let case = case.work(Work::Bytes(memory(&pixels)), Work::Bytes(3.0 * memory(&pixels)));
    cases.push(case.torch("F.cross_entropy(x[0], x[1], ignore_index=21)"));
    let case = Case::new("nll_loss", size(&pixels), inputs(), |x| {
        ops::nll_loss(&x[0], &x[1], NllLoss { ignore_index: 21, ..NllLoss::default() })
    });
    // Forward it reads the logarithm of a pixel's label alone, a cache line each.
    let case = case.work(Work::Unknown, Work::Bytes(memory(&pixels)));
    cases.push(case.torch("F.nll_loss(x[0], x[1], ignore_index=21)"));
    cases
}

/// ImageNet with smoothed labels and with mixed images.
fn of_probabilities() -> [Case; 2] {
    let dims = [128, 1000];
    let pass = memory(&dims);
    let smooth = CrossEntropy { label_smoothing: 0.1, ..CrossEntropy::default() };
    let inputs = [trained(&dims), labels(&dims[..1], 1000)];
    let case =
        Case::new("cross_entropy smooth", size(&dims), inputs, move |x| cross_entropy(&x[0], &x[1], smooth));
    let smooth = case
        .work(Work::Bytes(pass), Work::Bytes(3.0 * pass))
        .torch("F.cross_entropy(x[0], x[1], label_smoothing=0.1)");
    let inputs = [trained(&dims), fixed(&dims)];
    let op = |x: &[Tensor]| cross_entropy(&x[0], &x[1], Reduction::Mean);
    let soft = Case::new("cross_entropy soft", size(&dims), inputs, op)
        .work(Work::Bytes(2.0 * pass), Work::Bytes(5.0 * pass))
        .torch("F.cross_entropy(x[0], x[1])");
    [smooth, soft]
}

/// Name, ours, stock Candle's, PyTorch's.
type Elementwise =
    (&'static str, fn(&[Tensor]) -> Result<Tensor>, Option<fn(&[Tensor]) -> Result<Tensor>>, &'static str);

const ELEMENTWISE: &[Elementwise] = &[
    (
        "mse",
        |x| ops::mse(&x[0], &x[1], Reduction::Mean),
        Some(|x| (&x[0] - &x[1])?.sqr()?.mean_all()),
        "F.mse_loss(x[0], x[1])",
    ),
    (
        "l1",
        |x| ops::l1(&x[0], &x[1], Reduction::Mean),
        Some(|x| (&x[0] - &x[1])?.abs()?.mean_all()),
        "F.l1_loss(x[0], x[1])",
    ),
    ("huber", |x| ops::huber(&x[0], &x[1], Huber::default()), None, "F.huber_loss(x[0], x[1])"),
    (
        "smooth_l1",
        |x| ops::smooth_l1(&x[0], &x[1], SmoothL1::default()),
        None,
        "F.smooth_l1_loss(x[0], x[1])",
    ),
    (
        "bce_with_logits",
        |x| ops::bce_with_logits(&x[0], &x[1], Reduction::Mean),
        None,
        "F.binary_cross_entropy_with_logits(x[0], x[1])",
    ),
    (
        "kl_div",
        |x| {
            let options = KlDiv { target: KlTarget::Logarithms, reduction: Reduction::BatchMean };
            ops::kl_div(&x[0], &x[1], options)
        },
        None,
        "F.kl_div(x[0], x[1], reduction='batchmean', log_target=True)",
    ),
];

/// A reconstructed image of a variational autoencoder or a segmentation's mask; a batch of its codes.
fn of_elements() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in [[64, 784], [16, 65_536]] {
        let pass = memory(&dims);
        let work = (Work::Bytes(2.0 * pass), Work::Bytes(5.0 * pass));
        for &(name, ours, candle, torch) in ELEMENTWISE {
            let case =
                Case::new(name, size(&dims), [trained(&dims), fixed(&dims)], ours).work(work.0, work.1);
            let case = if let Some(candle) = candle { case.candle(candle) } else { case };
            cases.push(case.torch(torch));
        }
        let case = Case::new("bce of sigmoid", size(&dims), [trained(&dims), fixed(&dims)], |x| {
            ops::bce(&ops::sigmoid(&x[0])?, &ops::sigmoid(&x[1])?, Reduction::Mean)
        });
        cases.push(case.torch("F.binary_cross_entropy(torch.sigmoid(x[0]), torch.sigmoid(x[1]))"));
        let inputs = [trained(&dims), fixed(&dims), fixed(&dims[1..])];
        let case = Case::new("bce_with_logits pos_weight", size(&dims), inputs, |x| {
            let options = BceWithLogits { pos_weight: Some(&x[2]), ..BceWithLogits::default() };
            ops::bce_with_logits(&x[0], &x[1], options)
        });
        let torch = "F.binary_cross_entropy_with_logits(x[0], x[1], pos_weight=x[2])";
        cases.push(case.work(work.0, work.1).torch(torch));
    }
    cases
}

/// Embeddings of faces and sentences.
fn of_vectors() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in [[128, 128], [1024, 768]] {
        let pass = memory(&dims);
        let case = Case::new("cosine_similarity", size(&dims), [trained(&dims), trained(&dims)], |x| {
            ops::cosine_similarity(&x[0], &x[1], 1)?.mean_all()
        });
        let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(6.0 * pass));
        cases.push(case.torch("F.cosine_similarity(x[0], x[1], 1).mean()"));
        let inputs = [trained(&dims), trained(&dims), labels(&dims[..1], 1)];
        let case = Case::new("cosine_embedding_loss", size(&dims), inputs, |x| {
            let targets = x[2].to_dtype(candle_core::DType::F32)?.affine(2.0, 1.0)?;
            ops::cosine_embedding_loss(&x[0], &x[1], &targets, CosineEmbeddingLoss::default())
        });
        let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(6.0 * pass));
        cases.push(case.torch("F.cosine_embedding_loss(x[0], x[1], 2 * x[2] + 1)"));
        let inputs = [trained(&dims), trained(&dims), trained(&dims)];
        let case = Case::new("triplet_margin_loss", size(&dims), inputs, |x| {
            ops::triplet_margin_loss(&x[0], &x[1], &x[2], TripletMarginLoss::default())
        });
        let case = case.work(Work::Bytes(3.0 * pass), Work::Bytes(9.0 * pass));
        cases.push(case.torch("F.triplet_margin_loss(x[0], x[1], x[2])"));
    }
    cases
}

/// A line of handwriting: 150 frames, 80 characters, 40 targets a line.
fn ctc() -> Case {
    let dims = [150, 16, 80];
    let lengths = |n: u32| -> Result<Tensor> { Tensor::full(n, 16, &candle_core::Device::Cpu) };
    let inputs = [trained(&dims), labels(&[16, 40], 79)];
    let case = Case::new("ctc_loss", size(&dims), inputs, move |x| {
        ops::ctc_loss(&x[0], &(&x[1] + 1.0)?, &lengths(150)?, &lengths(40)?, CtcLoss::default())
    });
    let setup = "frames = torch.full((16,), 150)\nlengths = torch.full((16,), 40)";
    case.setup(setup).torch("F.ctc_loss(x[0], x[1] + 1, frames, lengths)")
}

fn stock_cross_entropy(x: &[Tensor]) -> Result<Tensor> {
    let top = x[0].max_keepdim(1)?.detach();
    let x0 = x[0].broadcast_sub(&top)?;
    let log = x0.broadcast_sub(&x0.exp()?.sum_keepdim(1)?.log()?)?;
    log.gather(&x[1].unsqueeze(1)?, 1)?.mean_all()?.neg()
}
