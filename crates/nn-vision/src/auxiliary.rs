//! Heads that read the middle of a network in training, so that gradients reach its beginning.
//!
//! Source: Szegedy et al. 2015, arXiv:1409.4842, section 5.

/// Whether a network has auxiliary heads. Evaluation never runs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auxiliary {
    /// As published checkpoints have them.
    #[default]
    Heads,
    /// Without their parameters.
    None,
}
