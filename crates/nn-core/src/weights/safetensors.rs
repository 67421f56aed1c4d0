//! The safetensors format: a length, a JSON header, tensors end to end.
//!
//! Source: huggingface/safetensors, format description of its README.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use candle_core::{DType, Result, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Value, json};

use super::element::{self, Element, Outline, outline};
use super::file::{About, Format, WeightFile};
use super::flaw::{Read, flaw};
use super::json::UniqueKeys;
use super::storage::{Source, Storage};
use super::strided::Strided;
use super::table::Table;

/// Reads every tensor of a safetensors file, by name.
///
/// # Errors
/// If the file is missing, truncated, or no safetensors file; the message names it and says which.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    open(path)?.read()
}

/// The free-form metadata of a file, by key; empty if it has none.
///
/// # Errors
/// As for [`read`].
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    Ok(open(path)?.about().metadata.clone())
}

/// A file of this format only, its names as they are.
fn open(path: &Path) -> Result<WeightFile> {
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|e| candle_core::Error::Msg(format!("cannot read weights from {name}: {e}")))?;
    WeightFile::with_table(name, BufReader::new(file), |file| {
        let table = table(&mut file.source, file.length)?;
        table.check(&[file.length])?;
        Ok(table)
    })
}

/// The header of a file whose length is `length`.
pub(super) fn table(source: &mut Box<dyn Source>, length: u64) -> Read<Table> {
    let bad = |why: &dyn std::fmt::Display| flaw(format!("not a whole safetensors file ({why})"));
    let mut size = [0; 8];
    source.read_exact(&mut size).map_err(|e| bad(&super::flaw::Flaw::from(e)))?;
    let start = u64::from_le_bytes(size).checked_add(8).filter(|&start| start <= length);
    let start = start.ok_or_else(|| bad(&"its header ends beyond the file"))?;
    let mut header = Vec::new();
    source.take(start - 8).read_to_end(&mut header)?;
    serde_json::from_slice::<UniqueKeys>(&header).map_err(|e| bad(&e))?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| bad(&e))?;
    let mut names: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
    names.sort_by(|(a, x), (b, y)| x.data_offsets.cmp(&y.data_offsets).then_with(|| a.cmp(b)));
    let mut end = 0;
    let (mut tensors, mut storages) = (BTreeMap::new(), Vec::new());
    for (name, info) in names {
        let element = element_of(info.dtype)
            .ok_or_else(|| flaw(format!("numbers of type {} are not read", info.dtype)).at(&name))?;
        let count = info.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
        let bytes = count.and_then(|n| n.checked_mul(element.size()));
        if info.data_offsets.0 != end || bytes != info.data_offsets.1.checked_sub(end) {
            return Err(bad(&"its offsets and shapes contradict each other").at(&name));
        }
        storages.push(Storage::plain(start + end as u64, (info.data_offsets.1 - end) as u64));
        tensors.insert(name, Strided::contiguous(storages.len() - 1, element, info.shape.clone()));
        end = info.data_offsets.1;
    }
    if start.checked_add(end as u64) != Some(length) {
        return Err(bad(&format_args!("{length} bytes long, its header says {start} and {end}")));
    }
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let about = About { metadata, ..About::new(Format::Safetensors) };
    Ok(Table::new(about, tensors, storages))
}

fn element_of(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::BOOL => Element::Bool,
        Dtype::U8 => Element::U8,
        Dtype::I8 => Element::I8,
        Dtype::I16 => Element::I16,
        Dtype::U16 => Element::U16,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::I32 => Element::I32,
        Dtype::U32 => Element::U32,
        Dtype::F32 => Element::F32,
        Dtype::I64 => Element::I64,
        Dtype::F64 => Element::F64,
        _ => return None,
    })
}

/// Writes tensors with the metadata `format: pt`, which readers in Python expect; atomically.
///
/// # Errors
/// If a tensor cannot be brought to the CPU, its type has no name in this format, or the file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    write_with(path, tensors, &BTreeMap::new())
}

/// The same with metadata of one's own, such as where the weights are from. Equal tensors and metadata give equal
/// bytes.
///
/// # Errors
/// As for [`write()`].
pub fn write_with(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    write_each(path, &outline(tensors), metadata, |name| Ok(tensors[name].clone()))
}

/// The same of tensors that `tensor` gives when their turn comes, so that no more than one need be in memory.
///
/// # Errors
/// As for [`write()`], those of `tensor`, and if it gives another type or shape than `outline` says.
pub fn write_each(
    path: &Path,
    outline: &Outline,
    metadata: &BTreeMap<String, String>,
    tensor: impl Fn(&str) -> Result<Tensor>,
) -> Result<()> {
    // The library's order, which keeps every tensor aligned; the library itself writes metadata in the order of a
    // hash map, which varies from run to run.
    let mut order = Vec::new();
    for (name, (dtype, shape)) in outline {
        let Some(stored) = dtype_of(*dtype) else {
            candle_core::bail!("safetensors: {name} has a type that is not stored, {dtype:?}");
        };
        order.push(Row { name, dtype: *dtype, stored, shape });
    }
    order.sort_by(|a, b| b.stored.cmp(&a.stored).then_with(|| a.name.cmp(b.name)));
    let header = header(&order, metadata);
    Ok(crate::atomic_file::write(path, |w| {
        w.write_all(&(header.len() as u64).to_le_bytes())?;
        w.write_all(&header)?;
        order.iter().try_for_each(|row| {
            let bytes = tensor(row.name).and_then(|t| element::bytes(&t, row.name, row.dtype, row.shape));
            w.write_all(&bytes.map_err(std::io::Error::other)?)
        })
    })?)
}

/// A tensor's place in the file.
struct Row<'a> {
    name: &'a str,
    dtype: DType,
    stored: Dtype,
    shape: &'a [usize],
}

/// JSON, filled with blanks to a multiple of eight bytes.
fn header(order: &[Row<'_>], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let format = ("format".to_owned(), "pt".to_owned());
    let metadata: BTreeMap<String, String> = metadata.clone().into_iter().chain([format]).collect();
    let mut text = format!("{{\"__metadata__\":{}", json!(metadata));
    let mut end = 0;
    for Row { name, dtype, stored, shape } in order {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.size_in_bytes();
        let (key, stored, shape) = (Value::from(*name), json!(stored), json!(shape));
        text += &format!(",{key}:{{\"dtype\":{stored},\"shape\":{shape},\"data_offsets\":[{start},{end}]}}");
    }
    text.push('}');
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

fn dtype_of(dtype: DType) -> Option<Dtype> {
    Some(match Element::of(dtype)? {
        Element::Bool => Dtype::BOOL,
        Element::U8 => Dtype::U8,
        Element::I8 => Dtype::I8,
        Element::I16 => Dtype::I16,
        Element::U16 => Dtype::U16,
        Element::F16 => Dtype::F16,
        Element::Bf16 => Dtype::BF16,
        Element::I32 => Dtype::I32,
        Element::U32 => Dtype::U32,
        Element::F32 => Dtype::F32,
        Element::I64 => Dtype::I64,
        Element::F64 => Dtype::F64,
    })
}

#[cfg(test)]
mod tests;
