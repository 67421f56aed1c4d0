//! What the numbers of a stored tensor are, and how their bytes become a tensor.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use safetensors::View;

use crate::ensure;

/// The type of a stored tensor's numbers, little end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// One byte, 0 or 1.
    Bool,
    /// One byte without sign.
    U8,
    /// One byte with sign.
    I8,
    /// Two bytes with sign.
    I16,
    /// Two bytes without sign.
    U16,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Four bytes with sign.
    I32,
    /// Four bytes without sign.
    U32,
    /// IEEE single precision.
    F32,
    /// Eight bytes with sign.
    I64,
    /// IEEE double precision.
    F64,
}

impl Element {
    /// What PyTorch and safetensors call it in lower case: `f32`, `bf16`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::F32 => "f32",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Bytes of one number.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// The type a tensor of them has here: Candle has no `bool`, `i8` and `u16`, so these become the next that
    /// holds all their values.
    pub const fn dtype(self) -> DType {
        match self {
            Self::Bool | Self::U8 => DType::U8,
            Self::I8 | Self::I16 => DType::I16,
            Self::U16 | Self::U32 => DType::U32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            Self::I32 => DType::I32,
            Self::F32 => DType::F32,
            Self::I64 => DType::I64,
            Self::F64 => DType::F64,
        }
    }

    /// What a tensor of this type is stored as; nothing if it is not stored in files of weights.
    pub(super) const fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::U8 => Self::U8,
            DType::I16 => Self::I16,
            DType::F16 => Self::F16,
            DType::BF16 => Self::Bf16,
            DType::I32 => Self::I32,
            DType::U32 => Self::U32,
            DType::F32 => Self::F32,
            DType::I64 => Self::I64,
            DType::F64 => Self::F64,
            _ => return None,
        })
    }

    /// A tensor of the numbers in `bytes`, in row-major order.
    pub(super) fn tensor(self, bytes: &[u8], shape: &[usize]) -> Result<Tensor> {
        match self {
            Self::Bool => {
                let bits: Vec<u8> = bytes.iter().map(|&byte| u8::from(byte != 0)).collect();
                Tensor::from_vec(bits, shape, &Device::Cpu)
            }
            Self::I8 => {
                let wider: Vec<i16> = bytes.iter().map(|&byte| i16::from(byte.cast_signed())).collect();
                Tensor::from_vec(wider, shape, &Device::Cpu)
            }
            Self::U16 => {
                let (pairs, _) = bytes.as_chunks::<2>();
                let wider: Vec<u32> = pairs.iter().map(|&pair| u16::from_le_bytes(pair).into()).collect();
                Tensor::from_vec(wider, shape, &Device::Cpu)
            }
            _ => Tensor::from_raw_buffer(bytes, self.dtype(), shape, &Device::Cpu),
        }
    }
}

/// Types and shapes of tensors that are to be written, by name.
pub type Outline = BTreeMap<String, (DType, Vec<usize>)>;

pub(super) fn outline(tensors: &BTreeMap<String, Tensor>) -> Outline {
    tensors.iter().map(|(name, t)| (name.clone(), (t.dtype(), t.dims().to_vec()))).collect()
}

/// The bytes of a tensor's numbers in row-major order, after a look at what the tensor was said to be.
pub(super) fn bytes(tensor: &Tensor, name: &str, dtype: DType, shape: &[usize]) -> Result<Vec<u8>> {
    ensure!(
        tensor.dtype() == dtype && tensor.dims() == shape,
        "{name} is {:?} {:?}, it was to be {dtype:?} {shape:?}",
        tensor.dtype(),
        tensor.dims()
    );
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    Ok(tensor.data().into_owned())
}
