//! What processes with parts of one batch tell each other of its sets.

use candle_core::Result;

use crate::cpu::moments::Moments;
use crate::{Peers, ensure};

/// The moments of whole sets, from those of the part here: joined in the order of the processes, so with the same bits at all
/// of them.
pub(super) fn moments(peers: &dyn Peers, own: &[Moments]) -> Result<Vec<Moments>> {
    let told: Vec<[f64; 3]> = own.iter().map(|m| [m.count, m.mean, m.squares]).collect();
    let mut whole = vec![Moments::NONE; own.len()];
    for part in gather(peers, &told)? {
        for (whole, [count, mean, squares]) in whole.iter_mut().zip(part) {
            *whole = whole.join(Moments { count, mean, squares });
        }
    }
    Ok(whole)
}

/// The sums over whole sets, from those over the part here.
pub(super) fn sums(peers: &dyn Peers, own: &[[f64; 2]]) -> Result<Vec<[f64; 2]>> {
    let mut whole = vec![[0.0; 2]; own.len()];
    for part in gather(peers, own)? {
        for (whole, part) in whole.iter_mut().zip(part) {
            *whole = [whole[0] + part[0], whole[1] + part[1]];
        }
    }
    Ok(whole)
}

fn gather<const N: usize>(peers: &dyn Peers, own: &[[f64; N]]) -> Result<Vec<Vec<[f64; N]>>> {
    let parts = peers.gather(own.as_flattened())?;
    for part in &parts {
        ensure!(
            part.len() == own.len() * N,
            "norm: all processes must be at the same layer, got {} numbers and {} from another",
            own.len() * N,
            part.len()
        );
    }
    Ok(parts.iter().map(|part| part.as_chunks().0.to_vec()).collect())
}
