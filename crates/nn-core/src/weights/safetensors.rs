//! The safetensors format: a length, a JSON header, tensors end to end.
//!
//! Source: huggingface/safetensors, format description of its README.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{Device, Error, Result, Tensor};
use safetensors::SafeTensors;

/// Reads every tensor of a file, by name.
///
/// # Errors
/// If the file is missing, truncated, or no safetensors file; the message names it and says which.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bad =
        |e: &dyn std::fmt::Display| Error::Msg(format!("cannot read weights from {}: {e}", path.display()));
    let bytes = fs::read(path).map_err(|e| bad(&e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| bad(&format_args!("not a whole safetensors file ({e})")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        tensors.insert(name.to_owned(), view.load(&Device::Cpu).map_err(|e| bad(&e))?);
    }
    Ok(tensors)
}

/// The free-form metadata of a file, by key; empty if it has none.
///
/// # Errors
/// As for [`read`].
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    let bad =
        |e: &dyn std::fmt::Display| Error::Msg(format!("cannot read weights from {}: {e}", path.display()));
    let bytes = fs::read(path).map_err(|e| bad(&e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|e| bad(&format_args!("not a whole safetensors file ({e})")))?;
    Ok(header.metadata().clone().unwrap_or_default().into_iter().collect())
}

/// Writes tensors with the metadata `format: pt`, which readers in Python expect; atomically.
///
/// # Errors
/// If a tensor cannot be brought to the CPU or the file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let tensors: Vec<(&String, Tensor)> = tensors
        .iter()
        .map(|(name, t)| Ok((name, t.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<_>>()?;
    // One key only: the library keeps metadata in a hash map, and the order of two would vary from run to run.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(Error::wrap)?;
    Ok(crate::atomic_file::write(path, |w| w.write_all(&bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_at_every_byte_is_an_error() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("w.safetensors");
        let t = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu)?;
        write(&path, &BTreeMap::from([("t".to_owned(), t)]))?;
        let whole = fs::read(&path)?;
        assert_eq!(read(&path)?["t"].to_vec1::<f32>()?, [1.0, 2.0, 3.0]);
        for n in 0..whole.len() {
            fs::write(&path, &whole[..n])?;
            let error = read(&path).expect_err("truncated").to_string();
            assert!(error.contains("w.safetensors"), "{error}");
        }
        let error = read(&dir.path().join("absent")).expect_err("absent").to_string();
        assert!(error.contains("absent"), "{error}");
        Ok(())
    }
}
