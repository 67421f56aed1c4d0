//! Files of this format: cut off, and as the library writes them.

use std::collections::HashMap;
use std::fs;

use candle_core::Device;

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

fn tensors() -> Result<BTreeMap<String, Tensor>> {
    let dtypes =
        [DType::U8, DType::F32, DType::BF16, DType::I64, DType::F64, DType::F16, DType::U32, DType::I32];
    let numbers = |dtype| Tensor::arange(0u32, 6, &Device::Cpu)?.to_dtype(dtype)?.reshape((2, 3));
    let mut tensors = BTreeMap::new();
    for (n, dtype) in dtypes.into_iter().enumerate() {
        tensors.insert(format!("{}\"ü.{n}", n % 3), numbers(dtype)?);
    }
    tensors.insert("turned".to_owned(), numbers(DType::F32)?.t()?);
    tensors.insert("scalar".to_owned(), Tensor::new(7i64, &Device::Cpu)?);
    Ok(tensors)
}

/// The header is our own, because the library cannot write two keys of metadata in the same order every time.
#[test]
fn bytes_are_those_of_the_library() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("w.safetensors");
    let tensors = tensors()?;
    write(&path, &tensors)?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let plain: Vec<_> = tensors.iter().map(|(name, t)| Ok((name, t.contiguous()?))).collect::<Result<_>>()?;
    let library = safetensors::serialize(plain, Some(metadata)).map_err(candle_core::Error::wrap)?;
    assert!(fs::read(&path)? == library);
    Ok(())
}

#[test]
fn metadata_come_back_and_bytes_are_the_same_every_time() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (one, two) = (dir.path().join("1"), dir.path().join("2"));
    let text = |text: &str| text.to_owned();
    let about: BTreeMap<_, _> =
        ["licence", "source", "sha256", "accuracy"].map(|k| (text(k), text("\"x\"\n"))).into();
    write_with(&one, &tensors()?, &about)?;
    write_with(&two, &tensors()?, &about)?;
    assert!(fs::read(&one)? == fs::read(&two)?);
    let mut expected = about;
    expected.insert(text("format"), text("pt"));
    assert_eq!(metadata(&one)?, expected);
    let read = read(&one)?;
    assert_eq!(read["turned"].to_vec2::<f32>()?, [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]);
    assert_eq!(read["scalar"].to_vec0::<i64>()?, 7);
    let odd = BTreeMap::from([(text("odd"), Tensor::zeros(1, DType::F8E4M3, &Device::Cpu)?)]);
    let error = write(&one, &odd).expect_err("no such type").to_string();
    assert!(error.contains("odd"), "{error}");
    Ok(())
}

#[test]
fn headers_that_contradict_themselves_are_errors() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("w.safetensors");
    for (tensors, data) in [
        (r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#, 4),
        (r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#, 8),
        (r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}"#, 4),
        (r#""a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}"#, 0),
        (
            r#""a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}"#,
            3,
        ),
        (r#""a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#, 3),
        (r#""a":{"dtype":"F32","shape":[0,9223372036854775808,4],"data_offsets":[0,0]}"#, 0),
        (
            r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}"#,
            4,
        ),
        (r#""a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}"#, 8),
        (r#""a":{"dtype":"X","shape":[1],"data_offsets":[0,8]}"#, 8),
    ] {
        let header = format!("{{{tensors}}}");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        fs::write(&path, bytes)?;
        read(&path).expect_err(tensors);
    }
    Ok(())
}
