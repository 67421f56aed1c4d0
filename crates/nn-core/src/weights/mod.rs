//! Weight files: reading, comparing with a model, writing.
//!
//! | format | read | written |
//! | --- | --- | --- |
//! | safetensors | yes | [`safetensors::write()`] |
//! | PyTorch's `.pt`, `.pth`, `.bin`: zip archives | yes | [`torch::write()`] |
//! | PyTorch's before 1.6: pickles; before 0.2: tar | yes | no |
//! | either of these in shards, with an index in JSON | yes | no |
//! | NumPy's `.npy` and `.npz` | yes | no |
//! | Keras's `.h5`, `.weights.h5` and `.keras`, turned to PyTorch's order | yes | no |
//! | ONNX's initialisers, also in files beside the model | yes | no |
//!
//! Nothing in a file is believed or run: sizes are held against the file, and a pickle that names anything but
//! tensors and plain containers where tensors should be is refused by that name.

mod archive;
mod element;
mod entry;
mod file;
mod flaw;
mod hdf5;
mod json;
mod keras;
mod names;
mod numpy;
mod onnx;
mod pickle;
mod report;
pub mod safetensors;
mod shards;
mod storage;
mod strided;
mod table;
pub mod torch;

pub use element::{Element, Outline};
pub use file::{About, Format, TensorInfo, WeightFile};
pub use names::NameMap;
pub use report::{LoadReport, Mismatch};
