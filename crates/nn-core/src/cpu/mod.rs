//! Slices in, slices out: matrix products, patches, vector arithmetic, threads. Knows no tensor.
//!
//! The only place with `unsafe`.

pub(crate) mod affine;
pub(crate) mod attention;
pub(crate) mod axis;
pub(crate) mod bands;
pub(crate) mod bf16;
pub(crate) mod blank;
pub(crate) mod columns;
pub(crate) mod depthwise;
pub(crate) mod direct;
mod element;
pub(crate) mod gemm;
mod lanes;
mod math;
pub(crate) mod moments;
pub(crate) mod panels;
pub(crate) mod parallel;
pub(crate) mod patches;
pub(crate) mod phases;
pub(crate) mod resample;
pub(crate) mod simd;
pub(crate) mod strided;
pub(crate) mod tiles;
pub(crate) mod vector;
pub(crate) mod winograd;

pub(crate) use element::Element;
