//! Weight files as others wrote them: read to the bit, and never trusted.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use candle_core::{DType, Device, Result, Tensor};
use nn_core::weights::{Format, WeightFile, safetensors};
use nn_tests::reference::Shapes;
use nn_tests::{golden, real_data};

fn folder(of: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(of)
}

/// A file as its library wrote it, and what is in it.
struct Written {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl Written {
    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("a name")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("a golden file")
    }

    /// Whether its numbers lie in other files.
    fn goes_on(&self) -> bool {
        self.name() == "beside.onnx" || self.name().ends_with(".index.json")
    }
}

/// What a maker wrote, file by file.
fn written(maker: &str) -> Result<Vec<Written>> {
    let mut files: BTreeMap<String, BTreeMap<String, Tensor>> = BTreeMap::new();
    for (name, t) in golden(maker)?.0 {
        let (file, name) = name.split_once('/').expect("file/name");
        files.entry(file.to_owned()).or_default().insert(name.to_owned(), t);
    }
    let folder = folder(maker);
    Ok(files.into_iter().map(|(file, tensors)| Written { path: folder.join(file), tensors }).collect())
}

/// Files of all formats.
fn all() -> Result<Vec<Written>> {
    Ok(written("torch")?.into_iter().chain(written("weights")?).collect())
}

/// Types that safetensors of PyTorch lacks are compared by their values, which are whole numbers.
fn same(ours: &Tensor, theirs: &Tensor) -> Result<bool> {
    let numbers = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let bits = |t: &Tensor| {
        Ok::<_, candle_core::Error>(numbers(t)?.into_iter().map(f64::to_bits).collect::<Vec<_>>())
    };
    let types = ours.dtype() == theirs.dtype() || ours.dtype() == DType::U32;
    Ok(types && ours.dims() == theirs.dims() && bits(ours)? == bits(theirs)?)
}

fn assert_same(ours: &BTreeMap<String, Tensor>, theirs: &BTreeMap<String, Tensor>, file: &str) -> Result<()> {
    assert!(ours.keys().eq(theirs.keys()), "{file}: {:?} are not {:?}", ours.keys(), theirs.keys());
    for (name, t) in ours {
        assert!(same(t, &theirs[name])?, "{file}: {name} is {t}, not {}", theirs[name]);
    }
    Ok(())
}

#[test]
fn files_of_all_kinds_are_read_to_the_bit() -> Result<()> {
    for file in all()? {
        assert_same(&WeightFile::open(&file.path)?.read()?, &file.tensors, file.name())?;
    }
    Ok(())
}

#[test]
fn formats_and_facts_of_other_libraries_are_told() -> Result<()> {
    let open = |file: &str| WeightFile::open(folder("weights").join(file));
    for (file, format) in [
        ("f4.npy", Format::Npy),
        ("deflated.npz", Format::Npz),
        ("beside.onnx", Format::Onnx),
        ("model.safetensors.index.json", Format::Shards),
    ] {
        assert_eq!(open(file)?.about().format, format);
    }
    let metadata = |file: &str| Ok::<_, candle_core::Error>(open(file)?.about().metadata.clone());
    assert_eq!(metadata("exported.onnx")?["producer"], "pytorch");
    let index = metadata("model.safetensors.index.json")?;
    assert_eq!([&index["total_size"], &index["format"]], ["880", "pt"]);
    Ok(())
}

#[test]
fn what_is_no_plain_tensor_is_refused_by_name() {
    for (file, why) in [
        ("torch/model.pt", "torch.nn.modules.linear.Linear is refused"),
        ("torch/complex.pt", "torch.ComplexFloatStorage is refused"),
        ("torch/quantized.pt", "torch.QInt8Storage is refused"),
        ("torch/float8.pt", "odd: tensors of torch.float8_e4m3fn are not read"),
        ("torch/sparse.pt", "odd: torch._utils._rebuild_sparse_tensor is refused"),
        ("torch/script.pt", "a TorchScript program"),
        ("torch/program.pt2", "a program of torch.export"),
        ("weights/objects.npy", "type |O are refused"),
        ("weights/complex.npy", "type <c8 are refused"),
        ("weights/records.npy", "an array of records is refused"),
        ("weights/words.npz", "words: the array's header: numbers of type <U1 are refused"),
        ("weights/float8.onnx", "odd: numbers of ONNX's type 17 are not read"),
        ("weights/sparse.onnx", "a sparse initialiser is refused"),
        ("weights/float8.safetensors", "odd: numbers of type F8_E4M3 are not read"),
        ("weights/complex.safetensors", "odd: numbers of type C64 are not read"),
    ] {
        let error = WeightFile::open(folder(file)).expect_err(why).to_string();
        let (_, name) = file.split_once('/').expect("folder/name");
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
}

#[test]
fn format_nesting_prefix_and_the_rest_of_a_checkpoint_are_told() -> Result<()> {
    for (file, format, prefix) in [
        ("nested.pt", Format::TorchZip, "module."),
        ("nested_old.pth.tar", Format::TorchPickle, "module._orig_mod."),
    ] {
        let file = WeightFile::open(folder("torch").join(file))?;
        let about = file.about();
        assert_eq!((about.format, about.prefix.as_str()), (format, prefix));
        assert_eq!(
            (&about.nesting[..], &about.ignored[..]),
            (
                &["state_dict".to_owned()][..],
                &["args".to_owned(), "accuracy".to_owned(), "optimizer".to_owned()][..]
            )
        );
        let facts = ["arch", "best", "epoch"].map(|key| about.metadata[key].as_str());
        assert_eq!(facts, ["linear", "0.5", "24"]);
    }
    assert_eq!(WeightFile::open(folder("torch").join("tar.pth"))?.about().format, Format::TorchTar);
    assert_eq!(WeightFile::open(folder("torch").join("parameter.pt"))?.about().nesting, ["net", "layers"]);
    Ok(())
}

fn read(bytes: Vec<u8>) -> Result<BTreeMap<String, Tensor>> {
    WeightFile::new("w", Cursor::new(bytes))?.read()
}

#[test]
fn files_cut_off_anywhere_are_errors() -> Result<()> {
    for file in all()?.into_iter().filter(|file| !file.goes_on()) {
        let whole = file.bytes();
        // A tar archive ends in blocks of zeros that mean nothing.
        let end = whole.iter().rposition(|&byte| byte != 0).expect("no empty file");
        for length in 0..=end {
            assert!(read(whole[..length].to_vec()).is_err(), "{} cut off at {length}", file.name());
        }
    }
    Ok(())
}

/// A folder with copies of a maker's files.
fn copies(maker: &str) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for file in fs::read_dir(folder(maker))? {
        let file = file?;
        fs::copy(file.path(), dir.path().join(file.file_name()))?;
    }
    Ok(dir)
}

#[test]
fn files_of_several_parts_cut_off_anywhere_are_errors() -> Result<()> {
    let dir = copies("weights")?;
    let open = |file: &str| WeightFile::open(dir.path().join(file))?.read();
    for (whole, part) in [
        ("beside.onnx", "beside.onnx"),
        ("beside.onnx", "beside.bin"),
        ("model.safetensors.index.json", "model.safetensors.index.json"),
        ("model.safetensors.index.json", "model-00001-of-00002.safetensors"),
    ] {
        let path = dir.path().join(part);
        let bytes = fs::read(&path)?;
        let end = bytes.trim_ascii_end().len().min(bytes.len() - 1);
        for length in 0..end {
            fs::write(&path, &bytes[..length])?;
            let error = open(whole).expect_err(part).to_string();
            assert!(error.contains(whole), "{error}");
        }
        fs::remove_file(&path)?;
        let error = open(whole).expect_err("a part is missing").to_string();
        assert!(error.contains(part), "{part}: {error}");
        fs::write(&path, &bytes)?;
        open(whole)?;
    }
    Ok(())
}

#[test]
fn an_index_that_lies_is_refused() -> Result<()> {
    let dir = copies("weights")?;
    let why = |index: &str| {
        let path = dir.path().join("index.json");
        fs::write(&path, index)?;
        Ok::<_, candle_core::Error>(WeightFile::open(&path).expect_err(index).to_string())
    };
    for (index, expected) in [
        (r#"{"weight_map": {"a": "../f4.npy"}}"#, "../f4.npy is refused"),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "/etc/passwd is refused"),
        (r#"{"weight_map": {"a": "f4.npy"}}"#, "f4.npy: there is no tensor a"),
        (r#"{"weight_map": {"a": "none.npy"}}"#, "none.npy"),
        (r#"{"weight_map": {"a": 1}}"#, "a: neither"),
        (r#"{"weight_map": {"a": "f4.npy", "\u0061": "f8.npy"}}"#, "a comes twice"),
        (r#"{"weight_map": {"layer.f2": "beside.onnx"}}"#, "goes on in beside.bin"),
        (r#"{"weight_map": {"a": "index.json"}}"#, "index.json"),
        (r#"{"metadata": {}}"#, "no weight_map"),
    ] {
        let error = why(index)?;
        assert!(error.contains(expected), "{expected}: {error}");
    }
    fs::write(dir.path().join("index.json"), r#"{"weight_map": {"arr_1": "unnamed.npz"}}"#)?;
    let some = WeightFile::open(dir.path().join("index.json"))?;
    assert_eq!((some.read()?.len(), &some.about().ignored[..]), (1, &["arr_0".to_owned()][..]));
    Ok(())
}

/// In a zip archive checksums cover all that counts: a changed byte is an error or of no consequence.
#[test]
fn changed_bytes_are_errors_or_change_nothing_where_there_are_checksums() -> Result<()> {
    for file in all()?.into_iter().filter(|file| !file.goes_on()) {
        let whole = file.bytes();
        for n in 0..whole.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[n] ^= flip;
                if let (Ok(ours), [b'P', b'K', ..]) = (read(changed), &whole[..]) {
                    let what = format!("{}, byte {n} xor {flip:#x}", file.name());
                    assert_same(&ours, &file.tensors, &what)?;
                }
            }
        }
    }
    Ok(())
}

/// Weights lie beside the data.
fn shared(name: &str) -> Option<PathBuf> {
    real_data(&format!("../weights/{name}"))
}

#[test]
fn real_files_are_read_to_the_bit_of_their_twins() -> Result<()> {
    for (file, twin) in [
        ("resnet20-12fca82f.th", "resnet20_cifar10.safetensors"),
        ("mobilenet_v1_0.25_imagenet.pth.tar", "mobilenet_v1_0.25_imagenet.safetensors"),
    ] {
        let (Some(file), Some(twin)) = (shared(file), shared(twin)) else { continue };
        let file = WeightFile::open(file)?;
        assert_eq!(file.about().prefix, "module.");
        assert_same(&file.read()?, &safetensors::read(&twin)?, &twin.display().to_string())?;
    }
    if let Some(file) = shared("mnist_cnn_burn_example.pt") {
        let file = WeightFile::open(file)?;
        let shapes: BTreeMap<_, _> = file.tensors().map(|(name, info)| (name, info.shape.to_vec())).collect();
        assert_eq!(shapes["conv3.weight"], [24, 16, 3, 3]);
        assert_eq!(file.read()?.len(), shapes.len());
    }
    Ok(())
}

/// Every parameter of timm's and transformers' networks has one of ours, of the same shape, and goes back to what it was.
#[test]
fn names_of_other_libraries_become_ours_and_theirs_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let read = |file: &str| -> Result<BTreeMap<String, BTreeMap<String, Shapes>>> {
        Ok(serde_json::from_value(golden(file)?.1["names"].take()).expect("names and shapes"))
    };
    for (model, libraries) in read("names")?.into_iter().chain(read("names_mobilenet")?) {
        for (library, shapes) in libraries {
            let zeros = |(name, shape): (String, Vec<usize>)| {
                Ok((name, Tensor::zeros(shape, DType::U8, &Device::Cpu)?))
            };
            let tensors = shapes.clone().into_iter().map(zeros).collect::<Result<BTreeMap<_, _>>>()?;
            let path = dir.path().join("theirs.safetensors");
            safetensors::write(&path, &tensors)?;
            let mut file = WeightFile::open(&path)?;
            assert_eq!(nn_vision::native(&mut file), Some(library.as_str()), "{model}");
            let ours = file.tensors().map(|(name, info)| (name, info.shape)).collect();
            let likely = nn_vision::likely(&ours)?;
            assert!(likely.len() == 1 && likely[0].report.fits(), "{model} of {library}: {likely:?}");
            assert_eq!((likely[0].entry.name, likely[0].num_classes), (model.as_str(), 1000));
            assert!(nn_vision::foreign(&mut file, &library)?, "{model} for {library}");
            let again = file.tensors().map(|(name, info)| (name.to_owned(), info.shape.to_vec()));
            assert_eq!(
                again.collect::<BTreeMap<_, _>>(),
                shapes.into_iter().collect(),
                "{model} for {library}"
            );
            assert!(!nn_vision::foreign(&mut file, "keras")?);
        }
    }
    Ok(())
}

/// What is cut and shaped for another library holds the same numbers.
#[test]
fn weights_for_other_libraries_hold_the_same_numbers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("theirs.safetensors");
    let conv = |c_out: usize, c_in: usize, side: usize| -> Result<Tensor> {
        let count = c_out * c_in * side * side;
        Tensor::arange(0u32, count as u32, &Device::Cpu)?.reshape((c_out, c_in, side, side))
    };
    let names = ["features.0.weight", "pre_logits.fc1.weight", "pre_logits.fc2.weight"];
    let tensors = [conv(2, 3, 3)?, conv(4, 2, 7)?, conv(4, 4, 1)?];
    let theirs: BTreeMap<String, Tensor> = names.map(str::to_owned).into_iter().zip(tensors).collect();
    safetensors::write(&path, &theirs)?;
    let mut file = WeightFile::open(&path)?;
    assert_eq!(nn_vision::native(&mut file), Some("timm"));
    let dense = file.tensor("classifier.0.weight")?;
    assert_eq!(dense.dims(), [4, 98]);
    assert_eq!(dense.flatten_all()?.to_vec1::<u32>()?, (0..392).collect::<Vec<_>>());
    assert!(nn_vision::foreign(&mut file, "timm")?);
    assert_same(&file.read()?, &theirs, "theirs")
}
