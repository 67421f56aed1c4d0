//! Devices by name.

use anyhow::Result;
use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::failure::Advise;

/// Where tensors live and are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeviceName {
    #[default]
    Cpu,
    Cuda,
    Metal,
}

impl DeviceName {
    /// # Errors
    /// If there is no such device, or this build does not support it.
    pub(crate) fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => Device::new_cuda(0).advise(advice("cuda")),
            Self::Metal => Device::new_metal(0).advise(advice("metal")),
        }
    }
}

fn advice(feature: &str) -> String {
    format!(
        "use --device cpu; a build that can use the device: \
         cargo run --release -p xtask --features {feature} -- …"
    )
}
