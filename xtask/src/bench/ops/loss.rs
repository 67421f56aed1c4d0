//! Losses.

use candle_core::D;
use nn_core::ops::{Reduction, cross_entropy};

use super::activation::{memory, size};
use super::case::{Case, Work, labels, trained};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in [[64, 10], [128, 1000], [2048, 8000]] {
        let (pass, classes) = (memory(&dims), dims[1] as u32);
        let inputs = [trained(&dims), labels(&dims[..1], classes)];
        cases.push(
            Case::new("cross_entropy", size(&dims), inputs, |x| cross_entropy(&x[0], &x[1], Reduction::Mean))
                .work(Work::Bytes(pass), Work::Bytes(3.0 * pass))
                .candle(|x| {
                    let top = x[0].max_keepdim(D::Minus1)?.detach();
                    let x0 = x[0].broadcast_sub(&top)?;
                    let log = x0.broadcast_sub(&x0.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
                    log.gather(&x[1].unsqueeze(1)?, 1)?.mean_all()?.neg()
                })
                .torch("F.cross_entropy(x[0], x[1])"),
        );
    }
    cases
}
