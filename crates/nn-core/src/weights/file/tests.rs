//! Views, and tables that lie.

use std::io::Cursor;

use candle_core::{DType, Device};

use super::*;

fn strided(shape: &[usize], strides: &[usize], offset: usize) -> Strided {
    Strided { storage: 0, element: Element::U8, offset, shape: shape.to_vec(), strides: strides.to_vec() }
}

/// A file of six bytes with one tensor on them.
fn file(t: Strided, length: u64) -> Result<WeightFile> {
    WeightFile::with_table("x".to_owned(), Cursor::new(vec![0u8, 1, 2, 3, 4, 5]), |_| {
        let tensors = BTreeMap::from([("t".to_owned(), t.clone())]);
        let table = Table::new(About::new(Format::Safetensors), tensors, vec![Storage::plain(0, length)]);
        table.check(&[6]).map(|()| table)
    })
}

#[test]
fn views_are_read_in_row_major_order() -> Result<()> {
    for (t, expected) in [
        (strided(&[2, 3], &[3, 1], 0), vec![0u8, 1, 2, 3, 4, 5]),
        (strided(&[3, 2], &[1, 3], 0), vec![0, 3, 1, 4, 2, 5]),
        (strided(&[2], &[2], 1), vec![1, 3]),
        (strided(&[2, 2], &[0, 0], 5), vec![5, 5, 5, 5]),
        (strided(&[], &[], 4), vec![4]),
        (strided(&[0, 7], &[9, 9], 9), vec![]),
    ] {
        let read = file(t.clone(), 6)?.tensor("t")?;
        assert_eq!(read.dims(), t.shape);
        assert_eq!(read.flatten_all()?.to_vec1::<u8>()?, expected);
    }
    Ok(())
}

#[test]
fn tables_that_name_numbers_beyond_the_file_are_refused() {
    let huge = usize::MAX;
    for (t, length, why) in [
        (strided(&[7], &[1], 0), 6, "t: its shape [7]"),
        (strided(&[2], &[1], 5), 6, "needs more numbers"),
        (strided(&[2], &[1], 0), 7, "the file ends before"),
        (strided(&[huge, huge], &[1, 1], 0), 6, "needs more numbers"),
        (strided(&[0, huge, 4], &[1, 1, 1], 0), 6, "needs more numbers"),
        (strided(&[2], &[huge], huge), 6, "needs more numbers"),
        (strided(&[2], &[], 0), 6, "needs more numbers"),
        (strided(&[1; 65], &[1; 65], 0), 6, "needs more numbers"),
        (strided(&[1 << 40], &[0], 0), 6, "would become"),
    ] {
        let error = file(t, length).expect_err("a lie").to_string();
        assert!(error.contains(why) && error.contains("from x"), "{error}");
    }
    let error =
        file(strided(&[1], &[1], 0), 6).and_then(|file| file.tensor("u")).expect_err("no u").to_string();
    assert!(error.contains("no tensor u"), "{error}");
}

#[test]
fn what_is_no_file_of_weights_is_named() {
    for (bytes, why) in [
        (&b""[..], "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file: a part of it lies beyond its end"),
        (b"\x93NUMPY\x01", "ends too early"),
        (b"{\"weight_map\": 1}", "no weight_map"),
        (b"\x08\x0a\x12", "a part of it ends beyond"),
        (b"PK\x03\x04", "not a whole zip archive"),
        (b"\x80\x02K\x01.", "none of torch.save"),
        (b"weights", "not a whole safetensors file"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{", "not a whole safetensors file"),
    ] {
        let error = WeightFile::new("w", Cursor::new(bytes)).expect_err(why).to_string();
        assert!(error.contains(why) && error.starts_with("cannot read weights from w: "), "{error}");
    }
}

#[test]
fn a_length_that_looks_like_another_format_is_a_length() -> Result<()> {
    // 0x80 0x02 begins a pickle, `<` a web page, 0x1f 0x8b a gzip file.
    for header in [0x280u64, 0x580, 0x80, u64::from(b'<'), 0x8b1f] {
        let table = r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
        let mut bytes = header.to_le_bytes().to_vec();
        bytes.extend(table.bytes());
        bytes.resize(8 + header as usize, b' ');
        bytes.push(7);
        let file = WeightFile::new("x", Cursor::new(bytes))?;
        assert_eq!(file.about().format, Format::Safetensors);
        assert_eq!(file.read()?["t"].to_vec1::<u8>()?, [7]);
    }
    Ok(())
}

/// Taking off a wrapper goes over all names, and there may be as many wrappers as a header has room for.
#[test]
fn a_model_is_unwrapped_a_few_times() -> Result<()> {
    for (wrapped, left) in [(3, 0), (100_000, 99_990)] {
        let name = "module.".repeat(wrapped) + "a";
        let table = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
        let bytes = [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), &[7]].concat();
        let file = WeightFile::new("x", Cursor::new(bytes))?;
        let names: Vec<&str> = file.tensors().map(|(name, _)| name).collect();
        assert_eq!((names.len(), names[0].len()), (1, left * "module.".len() + 1));
    }
    Ok(())
}

#[test]
fn narrow_types_become_the_next_that_holds_them() -> Result<()> {
    let t = Element::I8.tensor(&[0xff, 0x7f], &[2])?;
    assert_eq!(t.to_vec1::<i16>()?, [-1, 127]);
    let t = Element::U16.tensor(&[0xff, 0xff], &[])?;
    assert_eq!(t.to_vec0::<u32>()?, 65535);
    let t = Element::Bool.tensor(&[0, 1, 2], &[3])?;
    assert_eq!(t.to_vec1::<u8>()?, [0, 1, 1]);
    for element in [Element::F16, Element::Bf16, Element::I32, Element::U32, Element::F64] {
        let t = Tensor::zeros(2, element.dtype(), &Device::Cpu)?;
        assert_eq!(Element::of(t.dtype()), Some(element), "{}", element.name());
    }
    assert_eq!(Element::of(DType::F8E4M3), None);
    Ok(())
}

#[test]
fn tensors_under_other_names_are_renamed_and_joined() -> Result<()> {
    let named = |names: &[(&str, Strided)]| {
        let tensors: BTreeMap<String, Strided> =
            names.iter().map(|(name, t)| ((*name).to_owned(), t.clone())).collect();
        let file = file(strided(&[1], &[1], 0), 6)?;
        let entries = tensors.into_iter().map(|(name, t)| (name, Entry::from(t))).collect();
        Ok::<_, Error>(WeightFile { entries, ..file })
    };
    let map = NameMap::new("theirs", [("key", "both#1"), ("query", "both#0"), ("scale", "scale")]);
    let (query, key) = (strided(&[1, 2], &[2, 1], 0), strided(&[2, 2], &[2, 1], 2));
    let mut good = named(&[("key", key.clone()), ("query", query.clone()), ("scale", strided(&[], &[], 5))])?;
    assert!(good.rename(&map));
    assert_eq!(good.about().scheme, Some("theirs"));
    assert_eq!(good.tensor("both")?.to_vec2::<u8>()?, [[0, 1], [2, 3], [4, 5]]);
    assert_eq!(good.read()?["scale"].to_vec0::<u8>()?, 5);
    let shapes: Vec<_> = good.tensors().map(|(name, info)| (name, info.shape)).collect();
    assert_eq!(shapes, [("both", &[3, 2][..]), ("scale", &[][..])]);
    for other in [strided(&[2, 3], &[3, 1], 0), strided(&[], &[], 0), Strided { element: Element::I8, ..key }]
    {
        let mut bad = named(&[("key", other), ("query", query.clone())])?;
        assert!(!bad.rename(&map));
        assert_eq!(bad.tensors().map(|(name, _)| name).collect::<Vec<_>>(), ["key", "query"]);
    }
    Ok(())
}

#[test]
fn what_was_joined_or_is_one_is_cut_for_another_library() -> Result<()> {
    let map = NameMap::new("theirs", [("key", "both#1"), ("query", "both#0"), ("conv.{p}", "dense.{p}@1x2")]);
    let named = |names: &[(&str, Strided)]| {
        let file = file(strided(&[1], &[1], 0), 6)?;
        let entry = |(name, t): &(&str, Strided)| ((*name).to_owned(), Entry::from(t.clone()));
        Ok::<_, Error>(WeightFile { entries: names.iter().map(entry).collect(), ..file })
    };
    let (query, key) = (strided(&[1, 2], &[2, 1], 0), strided(&[1, 2], &[2, 1], 2));
    let conv = strided(&[2, 1, 1, 2], &[2, 2, 2, 1], 2);
    let mut theirs = named(&[("query", query), ("key", key), ("conv.weight", conv)])?;
    let mut ours =
        named(&[("both", strided(&[2, 2], &[2, 1], 0)), ("dense.weight", strided(&[2, 2], &[2, 1], 2))])?;
    assert!(theirs.rename(&map));
    for file in [&mut theirs, &mut ours] {
        assert_eq!(file.tensor("both")?.to_vec2::<u8>()?, [[0, 1], [2, 3]]);
        assert_eq!(file.tensor("dense.weight")?.to_vec2::<u8>()?, [[2, 3], [4, 5]]);
        assert!(file.rename_back(&map));
        assert_eq!(file.about().scheme, None);
        assert_eq!(file.tensor("query")?.to_vec2::<u8>()?, [[0, 1]]);
        assert_eq!(file.tensor("key")?.to_vec2::<u8>()?, [[2, 3]]);
        assert_eq!(file.tensor("conv.weight")?.dims(), [2, 1, 1, 2]);
        assert!(!file.rename_back(&map));
    }
    for odd in [strided(&[3, 2], &[2, 1], 0), strided(&[], &[], 0)] {
        assert!(!named(&[("both", odd)])?.rename_back(&map));
    }
    assert!(!named(&[("dense.weight", strided(&[2, 3], &[3, 1], 0))])?.rename_back(&map));
    let mut other = named(&[("conv.weight", strided(&[1, 1, 2, 1], &[2, 2, 1, 1], 0))])?;
    assert!(!other.rename(&map));
    Ok(())
}

/// Straight from the file or by way of a tensor: formats, types and checksums.
#[test]
fn what_is_read_into_a_variable_is_the_tensor() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let x = Tensor::arange(0f32, 12.0, &Device::Cpu)?.reshape((3, 4))?;
    let tensors = BTreeMap::from([
        ("half".to_owned(), x.to_dtype(DType::F16)?),
        ("turned".to_owned(), x.t()?.contiguous()?),
        ("x".to_owned(), x),
    ]);
    let (safe, zip) = (folder.path().join("w.safetensors"), folder.path().join("w.pt"));
    super::super::safetensors::write(&safe, &tensors)?;
    super::super::torch::write(&zip, &tensors)?;
    for path in [&safe, &zip] {
        let file = WeightFile::open(path)?;
        for (name, tensor) in &tensors {
            for dtype in [DType::F32, DType::F64] {
                let to = Var::zeros(tensor.dims(), dtype, &Device::Cpu)?;
                file.read_into(name, &to)?;
                let expected = tensor.to_dtype(dtype)?;
                assert_eq!(
                    to.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?,
                    expected.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?
                );
            }
        }
        assert!(file.read_into("y", &Var::zeros(1, DType::F32, &Device::Cpu)?).is_err());
    }
    let mut bytes = std::fs::read(&zip)?;
    let eleven = 11f32.to_le_bytes();
    let last = bytes.windows(4).rposition(|w| w == eleven).expect("a number of the last tensor");
    bytes[last] ^= 1;
    let file = WeightFile::new("damaged", Cursor::new(bytes))?;
    let errors = ["x", "turned"]
        .map(|name| file.read_into(name, &Var::zeros(tensors[name].dims(), DType::F32, &Device::Cpu)?));
    let errors: Vec<String> =
        errors.into_iter().filter_map(|result| result.err().map(|e| e.to_string())).collect();
    assert!(errors.len() == 1 && errors[0].contains("checksum"), "{errors:?}");
    Ok(())
}
