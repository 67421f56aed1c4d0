//! The classic vision networks, one family a file, equal to their references.
//!
//! ```
//! use nn_core::candle_core::{DType, Device, Result, Tensor};
//! use nn_core::{Ctx, Layer, ParamStore};
//! use nn_vision::lenet::{LENET5, LeNet5};
//!
//! # fn main() -> Result<()> {
//! let store = ParamStore::new(0);
//! let model = LeNet5::new(&LENET5, store.vb(DType::F32, &Device::Cpu))?;
//! let image = Tensor::zeros((1, 1, 28, 28), DType::F32, &Device::Cpu)?;
//! assert_eq!(model.call(&image, &Ctx::eval())?.dims(), [1, 10]);
//! # Ok(())
//! # }
//! ```

pub mod alexnet;
mod auxiliary;
pub mod backbone;
mod branches;
pub mod cat_cnn;
pub mod cifar_resnet;
mod classifier;
pub mod cnn;
pub mod densenet;
pub mod explain;
pub mod fcn;
pub mod fcn_resnet;
pub mod googlenet;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inception;
pub mod labels;
pub mod lenet;
mod likely;
pub mod mobilenet_v1;
pub mod mobilenet_v2;
mod names;
pub mod nin;
pub mod preprocess;
mod pretrained;
pub mod resnet;
mod segmenter;
mod trunk;
mod unit;
pub mod vgg;
pub mod vit;
mod zoo;

pub use auxiliary::{Auxiliary, Weighted, total_loss};
pub use backbone::Backbone;
pub use classifier::Classifier;
pub use likely::{Likely, likely};
pub use names::{foreign, libraries, native};
pub use pretrained::{Origin, Pretrained, sha256};
pub use segmenter::Segmenter;
pub use zoo::{Entry, Network, classifiers, entries, find, segmenters};
