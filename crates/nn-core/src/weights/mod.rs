//! Weight files: reading, comparing with a model, writing.
//!
//! | format | read | written |
//! | --- | --- | --- |
//! | safetensors | yes | [`safetensors::write()`] |
//! | PyTorch's `.pt`, `.pth`, `.bin`: zip archives | yes | [`torch::write()`] |
//! | PyTorch's before 1.6: pickles; before 0.2: tar | yes | no |
//!
//! Nothing in a file is believed or run: sizes are held against the file, and a pickle that names anything but
//! tensors and plain containers where tensors should be is refused by that name.

mod element;
mod file;
mod flaw;
mod names;
mod pickle;
mod report;
pub mod safetensors;
pub mod torch;

pub use element::{Element, Outline};
pub use file::{About, Format, TensorInfo, WeightFile};
pub use names::NameMap;
pub use report::{LoadReport, Mismatch};
