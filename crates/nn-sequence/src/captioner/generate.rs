//! Captions token by token.

use candle_core::{Result, Tensor};
use nn_core::ops::LstmState;
use nn_core::{Ctx, Through, ensure, ops};

use super::{ImageCaptioner, Sight};
use crate::State;
use crate::decode::Generator;
use crate::decode::model::rows_of;

/// Where a decoder stands in its captions: what it looks at, and its state.
#[derive(Clone, Debug)]
pub struct Captioning {
    pub(super) sight: Sight,
    pub(super) state: LstmState,
}

impl Generator for ImageCaptioner {
    /// From [`ImageCaptioner::start`].
    type State = Captioning;

    fn next(&self, tokens: &Tensor, state: &mut Captioning, ctx: &Ctx) -> Result<Tensor> {
        let x = tokens.through("embedding", &self.embedding, ctx)?; // [B, T, D]
        ensure!(x.dim(1)? > 0, "ImageCaptioner: at least one token must be given, got {:?}", tokens.dims());
        for t in 0..x.dim(1)? {
            state.state = self.step(&ops::select(&x, 1, t)?, &state.sight, &state.state, ctx)?.0;
        }
        self.read(&state.state.h, ctx)
    }

    fn rows(&self, state: &Captioning, rows: &[u32]) -> Result<Captioning> {
        let Sight { keys, values } = &state.sight;
        Ok(Captioning {
            sight: Sight { keys: rows_of(keys, rows)?, values: rows_of(values, rows)? },
            state: state.state.map(|x| rows_of(x, rows))?,
        })
    }
}
