//! The statistics of a batch whose parts lie at several ranks ([`Norms::Synchronised`](crate::Norms::Synchronised)).
//!
//! Norms meet in the middle of a step, where some ranks may not come: of an epoch's last batch one may have no example, and one
//! may have failed. Those are at their next meeting already, where they bring something else. Who finds statistics there
//! comes again; who finds an error here goes.

use std::sync::{Arc, OnceLock};

use candle_core::{Error, Result};
use nn_core::{Peers, ensure};
use serde::de::IgnoredAny;

use super::Ranks;
use crate::error::TrainError;

/// What is told of statistics begins with this byte. What ranks bring to a meeting is JSON, which does not.
const MARK: u8 = 0;

/// Which rank told of an error, and what it is.
pub(super) type Failure = Arc<OnceLock<(usize, String)>>;

#[derive(Debug)]
pub(super) struct Statistics {
    pub(super) ranks: Arc<dyn Ranks>,
    pub(super) failure: Failure,
}

impl Peers for Statistics {
    fn gather(&self, own: &[f64]) -> Result<Vec<Vec<f64>>> {
        let mut told = vec![MARK];
        told.extend(own.iter().flat_map(|number| number.to_le_bytes()));
        let all = self.ranks.gather(&told)?;
        if let Some(failure) = failed(&all) {
            let (rank, why) = self.failure.get_or_init(|| failure).clone();
            return Err(Error::wrap(TrainError::Elsewhere { rank, why }));
        }
        let mut parts = Vec::new();
        for (rank, told) in all.iter().enumerate() {
            // Who is at a meeting has no part.
            let Some((&MARK, numbers)) = told.split_first() else { continue };
            let (numbers, rest) = numbers.as_chunks();
            ensure!(rest.is_empty(), "Ranks: cannot understand rank {rank}: half a number");
            parts.push(numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect());
        }
        Ok(parts)
    }
}

/// Whether ranks are still busy with a step to whose end this one came before them.
pub(super) fn are_told_of(told: &[Vec<u8>]) -> bool {
    told.iter().any(|told| told.first() == Some(&MARK)) && failed(told).is_none()
}

/// The first rank that brings an error, and the error.
pub(super) fn failed(told: &[Vec<u8>]) -> Option<(usize, String)> {
    told.iter().enumerate().find_map(|(rank, told)| Some((rank, error(told)?)))
}

/// The error that a rank brings to a meeting.
fn error(told: &[u8]) -> Option<String> {
    serde_json::from_slice::<std::result::Result<IgnoredAny, String>>(told).ok()?.err()
}
