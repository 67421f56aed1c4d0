//! What is written comes back; archives and objects that mean harm do not get through.

use std::io::{Cursor, Write};
use std::path::Path;

use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipWriter};
use candle_core::{DType, Device, Result, Tensor};

use super::super::{Format, WeightFile};
use super::*;

#[test]
fn what_is_written_comes_back_to_the_bit() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (one, two) = (dir.path().join("1.pt"), dir.path().join("2.pt"));
    let mut tensors = BTreeMap::new();
    for dtype in
        [DType::U8, DType::I16, DType::F16, DType::BF16, DType::I32, DType::F32, DType::I64, DType::F64]
    {
        let t = Tensor::arange(0f32, 6.0, &Device::Cpu)?.reshape((2, 3))?.to_dtype(dtype)?;
        tensors.insert(format!("layer.{dtype:?}"), t);
    }
    tensors.insert("turned".to_owned(), tensors["layer.F32"].t()?);
    tensors.insert("scalar".to_owned(), Tensor::new(7i64, &Device::Cpu)?);
    tensors.insert("empty".to_owned(), Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?);
    write(&one, &tensors)?;
    write(&two, &tensors)?;
    assert!(std::fs::read(&one)? == std::fs::read(&two)?);
    let file = WeightFile::open(&one)?;
    assert_eq!(file.about().format, Format::TorchZip);
    let read = file.read()?;
    assert!(read.keys().eq(tensors.keys()));
    for (name, t) in &tensors {
        assert_eq!((read[name].dtype(), read[name].dims()), (t.dtype(), t.dims()), "{name}");
        let numbers = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        assert_eq!(numbers(&read[name])?, numbers(t)?, "{name}");
    }
    let odd = BTreeMap::from([("odd".to_owned(), Tensor::zeros(1, DType::U32, &Device::Cpu)?)]);
    let error = write(&one, &odd).expect_err("no such storage").to_string();
    assert!(error.contains("odd") && error.contains("U32"), "{error}");
    let error = write(Path::new("/nonexistent/w.pt"), &tensors).expect_err("no folder").to_string();
    assert!(error.contains("/nonexistent/w.pt"), "{error}");
    Ok(())
}

/// A file of the old kind around an object.
fn plain(object: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [head, object, b"]."].concat()
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, options).expect("a new file");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

fn why(bytes: Vec<u8>) -> String {
    WeightFile::new("w", Cursor::new(bytes)).expect_err("refused").to_string()
}

#[test]
fn calls_are_refused_by_name() {
    let system = b"cos\nsystem\n(S'true'\ntR.";
    let beside = b"}(S'state_dict'\n}S'a'\nK\x01sS'optimizer'\ncos\nsystem\n(S'true'\ntRu.";
    for (object, name) in [
        (&system[..], "os.system"),
        (beside, "os.system"),
        (b"cmodels\nNet\n)\x81.", "models.Net"),
        (b"(S'module'\ncmodels\nNet\nS'net.py'\nS'class Net'\ntQ)\x81.", "models.Net"),
        (b"}S'model'\ncmodels\nNet\n)\x81s.", "models.Net"),
        (b"}S'a'\nctorch._utils\n_rebuild_sparse_tensor\n)Rs.", "torch._utils._rebuild_sparse_tensor"),
        (b"}(S'a'\nctorch._utils\n_rebuild_tensor_v2\n)RS'b'\ncmine\nf\n)Ru.", "a: "),
    ] {
        for file in [plain(object), archive(&[("x/data.pkl", object)])] {
            let error = why(file);
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}

/// A tensor of two floats in storage 0 of `count` elements.
fn tensor(count: u8) -> Vec<u8> {
    let mut object =
        b"}S'a'\nctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK"
            .to_vec();
    object.extend([count]);
    object.extend(b"tQK\0(K\x02t(K\x01tI00\nNtRs.");
    object
}

#[test]
fn archives_that_lie_are_refused() {
    let (object, data) = (tensor(2), [0; 8]);
    let good = archive(&[("x/data.pkl", &object), ("x/data/0", &data)]);
    WeightFile::new("w", Cursor::new(good.clone())).expect("a good file");
    // `_rebuild_tensor_v2(…, requires_grad, hooks, {'neg': True})`
    let mut negated = object.clone();
    negated.splice(object.len() - 5.., *b"N}S'neg'\nI01\nstRs.");
    let pack = |name: &str| {
        // The method of packing stands in both headers of a file, at different places before its name.
        let mut bytes = good.clone();
        let places: Vec<usize> =
            (0..bytes.len()).filter(|&n| bytes[n..].starts_with(name.as_bytes())).collect();
        let [local, central] = places[..] else { panic!("{places:?}") };
        bytes[local - 22] = 8;
        bytes[central - 36] = 8;
        bytes
    };
    // What writes archives makes such names harmless, so they are put in afterwards.
    let renamed = |harmless: &str, evil: &str| {
        let mut bytes = archive(&[("x/data.pkl", &object), ("x/data/0", &data), (harmless, b"")]);
        for n in 0..bytes.len() - evil.len() {
            if bytes[n..].starts_with(harmless.as_bytes()) {
                bytes[n..n + evil.len()].copy_from_slice(evil.as_bytes());
            }
        }
        bytes
    };
    for (file, expected) in [
        (renamed("up/evil", "../evil"), "../evil"),
        (renamed("xetc/evil", "/etc/evil"), "/etc/evil"),
        (renamed("x/up/evil", "x/../evil"), "x/../evil"),
        (archive(&[("x/data.pkl", &object), ("x/data/0", &data[..7])]), "storage 0 has 7 bytes"),
        (archive(&[("x/data.pkl", &object)]), "no storage 0"),
        (archive(&[("x/data.pkl", &object), ("y/data.pkl", &object)]), "not one data.pkl"),
        (archive(&[("a/b/data.pkl", &object)]), "not one data.pkl"),
        (archive(&[("picture.png", &data)]), "no file of PyTorch"),
        (archive(&[("x/data.pkl", &object), ("x/constants.pkl", b"")]), "TorchScript"),
        (archive(&[("x/models/model.json", b"{}")]), "torch.export"),
        (
            archive(&[("x/data.pkl", &negated), ("x/data/0", &data)]),
            "a: a view whose neg is still to be taken",
        ),
        (
            archive(&[("x/data.pkl", &object), ("x/data/0", &data), ("x/byteorder", b"big")]),
            "byte order is big",
        ),
        (archive(&[("x/data.pkl", &tensor(1)), ("x/data/0", &data[..4])]), "a: its shape [2]"),
        (pack("x/data/0"), "x/data/0"),
    ] {
        let error = why(file);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_damaged_storage_is_told_from_its_checksum() {
    let mut bytes = archive(&[("x/data.pkl", &tensor(2)), ("x/data/0", b"mnopqrst")]);
    let place = bytes.windows(8).position(|window| window == b"mnopqrst").expect("the storage");
    bytes[place] ^= 1;
    let file = WeightFile::new("w", Cursor::new(bytes)).expect("the table is good");
    let error = file.tensor("a").expect_err("damaged").to_string();
    assert!(error.contains("a: its checksum"), "{error}");
}

#[test]
fn old_files_that_lie_are_refused() {
    let whole = |object: &[u8], tail: &[u8]| {
        let mut bytes = plain(object);
        bytes.truncate(bytes.len() - 2);
        [&bytes[..], tail].concat()
    };
    let numbers = [&2u64.to_le_bytes()[..], &[0; 8]].concat();
    let good = whole(&tensor(2), &[b"]S'0'\na.", &numbers[..]].concat());
    WeightFile::new("w", Cursor::new(good)).expect("a good file");
    for (file, expected) in [
        (whole(&tensor(2), b"]."), "no storage 0"),
        (whole(&tensor(2), &[b"]S'1'\na.", &numbers[..]].concat()), "no tensor has the storage 1"),
        (whole(&tensor(3), &[b"]S'0'\na.", &numbers[..]].concat()), "it has 2 elements"),
        (whole(&tensor(2), &[b"]S'0'\na.", &numbers[..15]].concat()), "ends too early"),
        (whole(b"}S'a'\nK\x01s.", b"]."), "no tensors"),
    ] {
        let error = why(file);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
