//! What a forward pass leaves for its backward pass.
//!
//! Candle hands a custom op its arguments, its output and the output's gradient, nothing else. But the graph keeps the
//! op itself, so the op keeps what would be dear to compute again: the gates of an LSTM, the places of maxima, a mean.

use std::sync::{Arc, OnceLock};

use candle_core::Tensor;

use super::kernel::wants_gradient;

/// A place for one value, filled by the forward pass and read by the backward pass of the same call.
///
/// It is freed with the graph. An op that nobody will differentiate keeps nothing.
#[derive(Debug)]
pub(crate) struct Saved<S>(Option<Arc<OnceLock<S>>>);

// Not derived: that would ask for `S: Clone`.
impl<S> Clone for Saved<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Saved<S> {
    /// For one call of an op with these arguments.
    pub(crate) fn for_gradients_of(xs: &[&Tensor]) -> Self {
        Self(xs.iter().any(|x| wants_gradient(x)).then(Arc::default))
    }

    /// Whether a backward pass may come: whether it is worth making something to keep.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps the value, if a backward pass may come.
    pub(crate) fn keep(&self, value: S) {
        if let Some(place) = &self.0 {
            let first = place.set(value).is_ok();
            debug_assert!(first, "the forward pass of one call ran twice");
        }
    }

    /// What the forward pass kept.
    pub(crate) fn get(&self) -> Option<&S> {
        self.0.as_ref()?.get()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Var};

    use super::*;

    #[test]
    fn only_what_is_differentiated_is_kept() -> Result<()> {
        let x = Var::new(&[1f32], &Device::Cpu)?;
        let saved = Saved::for_gradients_of(&[x.as_tensor()]);
        assert!(saved.is_wanted() && saved.get().is_none());
        saved.clone().keep(7);
        assert_eq!(saved.get(), Some(&7));
        let unsaved = Saved::for_gradients_of(&[&x.as_tensor().detach()]);
        unsaved.keep(7);
        assert!(!unsaved.is_wanted() && unsaved.get().is_none());
        Ok(())
    }
}
