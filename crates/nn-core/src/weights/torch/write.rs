//! Writing PyTorch's zip format, as `torch.save(state_dict, path)` does; `torch.load` reads it with `weights_only=True`.
//!
//! Source: PyTorch 2, `torch/serialization.py` (`_save`) and `torch/_utils.py` (`_rebuild_tensor_v2`).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use candle_core::{DType, Error, Result, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::super::element::{self, Outline, outline};
use super::super::strided::row_major;
use crate::{atomic_file, ensure};

/// Writes tensors as an `OrderedDict` by name; atomically. Equal tensors give equal bytes.
///
/// # Errors
/// If a tensor's type is none of PyTorch's storages (`u32`), it cannot be brought to the CPU, or the file cannot be
/// written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    write_each(path, &outline(tensors), |name| Ok(tensors[name].clone()))
}

/// The same of tensors that `tensor` gives when their turn comes, so that no more than one need be in memory.
///
/// # Errors
/// As for [`write()`], those of `tensor`, and if it gives another type or shape than `outline` says.
pub fn write_each(path: &Path, outline: &Outline, tensor: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
    let pickle = pickle(outline)?;
    let fill = |w: &mut dyn Write| archive(w, &pickle, outline, &tensor).map_err(io::Error::other);
    atomic_file::write(path, fill).map_err(Error::from)
}

/// PyTorch aligns storages so.
const ALIGNMENT: u16 = 64;

fn archive(
    w: &mut dyn Write,
    pickle: &[u8],
    outline: &Outline,
    tensor: &dyn Fn(&str) -> Result<Tensor>,
) -> Result<()> {
    let zip = |e: zip::result::ZipError| Error::wrap(e);
    // A time of its own would make each file differ from the last.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .with_alignment(ALIGNMENT);
    let mut archive = ZipWriter::new_stream(w);
    let mut add = |name: &str, bytes: &[u8]| {
        let options = options.large_file(bytes.len() >= u32::MAX as usize);
        archive.start_file(format!("archive/{name}"), options).map_err(zip)?;
        Ok::<_, Error>(archive.write_all(bytes)?)
    };
    add("data.pkl", pickle)?;
    add("byteorder", b"little")?;
    for (n, (name, (dtype, shape))) in outline.iter().enumerate() {
        add(&format!("data/{n}"), &element::bytes(&tensor(name)?, name, *dtype, shape)?)?;
    }
    add("version", b"3\n")?;
    archive.finish().map_err(zip)?;
    Ok(())
}

/// The object: `OrderedDict` of calls of `_rebuild_tensor_v2`, in protocol 2.
fn pickle(outline: &Outline) -> Result<Vec<u8>> {
    let mut p = Pickle(Vec::new());
    p.raw(b"\x80\x02ccollections\nOrderedDict\n)R(");
    for (n, (name, (dtype, shape))) in outline.iter().enumerate() {
        let class = storage_class(*dtype);
        ensure!(class.is_some(), "PyTorch: {name} has a type that is not stored, {dtype:?}");
        p.text(name);
        p.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        p.text("storage");
        p.raw(format!("ctorch\n{}\n", class.unwrap_or_default()).as_bytes());
        p.text(&n.to_string());
        p.text("cpu");
        p.number(shape.iter().product());
        p.raw(b"tQK\0"); // the storage, offset 0
        p.sizes(shape);
        p.sizes(&row_major(shape));
        p.raw(b"\x89ccollections\nOrderedDict\n)RtR"); // no gradient, no hooks
    }
    p.raw(b"u.");
    Ok(p.0)
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.raw(b"X");
        self.raw(&(text.len() as u32).to_le_bytes());
        self.raw(text.as_bytes());
    }

    fn number(&mut self, n: usize) {
        match i32::try_from(n) {
            Ok(n) => {
                self.raw(b"J");
                self.raw(&n.to_le_bytes());
            }
            Err(_) => {
                self.raw(b"\x8a\x08");
                self.raw(&(n as u64).to_le_bytes());
            }
        }
    }

    fn sizes(&mut self, sizes: &[usize]) {
        self.raw(b"(");
        sizes.iter().for_each(|&n| self.number(n));
        self.raw(b"t");
    }
}

fn storage_class(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::U8 => "ByteStorage",
        DType::I16 => "ShortStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::I32 => "IntStorage",
        DType::F32 => "FloatStorage",
        DType::I64 => "LongStorage",
        DType::F64 => "DoubleStorage",
        _ => return None,
    })
}
