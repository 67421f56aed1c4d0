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

/// A text of so many letters.
fn text(length: usize) -> Vec<u8> {
    [b"X", &(length as u32).to_le_bytes()[..], &b"n".repeat(length)].concat()
}

/// A tensor that is object 2 from then on; `sizes` are its shape and its strides.
fn object(sizes: &[u8]) -> Vec<u8> {
    let storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQK\0";
    [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], storage, sizes, b"\x89NtRq\x020"].concat()
}

/// Sizes of so many axes of 1, object 1.
fn axes(count: usize) -> Vec<u8> {
    [b"(K\x01", &b"2".repeat(count - 1)[..], b"tq\x010"].concat()
}

/// A dict in which so many names have object 2.
fn named(count: usize) -> Vec<u8> {
    let letter = |n: usize| 48 + (n & 63) as u8;
    let entry = |n: usize| [&b"U\x03"[..], &[letter(n >> 12), letter(n >> 6), letter(n)], b"h\x02"].concat();
    [b"}(".to_vec(), (0..count).flat_map(entry).collect(), b"u.".to_vec()].concat()
}

/// What is wrong with an archive of this pickle.
fn why_not(parts: &[&[u8]]) -> String {
    why(archive(&[("x/data.pkl", &parts.concat()), ("x/data/0", &[0; 4])]))
}

/// What names an object ten thousands of times in a few bytes each must not copy it each time.
#[test]
fn what_is_shared_is_not_copied_for_all_who_name_it() {
    let (plain, shared) = (object(b"(K\x01t(K\x01t"), object(b"h\x01h\x01"));
    let many = |op: &[u8]| op.repeat(20_000);
    let (long, first) = (text(100_000), b"q\x010");
    let pairs =
        [&b"ccollections\nOrderedDict\nq\x010((K\x01K\x02t"[..], &b"2".repeat(100_000), b"l\x85q\x020"];
    let key = [&b"(U\x07storagectorch\nFloatStorage\n"[..], &long, b"U\x03cpuK\x01tq\x010"];
    for (what, error, says) in [
        ("axes", why_not(&[&axes(100_000), &shared, &named(20_000)]), "has 100000 axes"),
        ("sizes", why_not(&[&axes(64), &shared, &named(100_000)]), "too often"),
        ("names", why_not(&[&long, first, &plain, b"}(", &many(b"h\x01h\x02"), b"u."]), "too often"),
        ("pairs", why_not(&[&pairs.concat(), &many(b"h\x01h\x02R0"), b"}."]), "too often"),
        ("classes", why_not(&[&long, first, &many(b"h\x01h\x01\x930"), b"}."]), "too often"),
        ("keys", why_not(&[&key.concat(), &many(b"h\x01Q0"), b"}."]), "no key, or a long one"),
        (
            "facts",
            why_not(&[&text(800), first, &plain, b"}(U\x01ah\x02", &many(b"h\x01h\x01"), b"u."]),
            "too often",
        ),
        ("sets", why_not(&[&long, first, &plain, b"}(", &many(b"h\x01}U\x01ah\x02s"), b"u."]), "no tensors"),
    ] {
        assert!(error.contains(says) && error.len() < 1000, "{what}: {error:.1000}");
    }
}

#[test]
fn a_long_name_is_told_by_its_beginning_and_a_shared_part_is_looked_into_once() {
    let class = [b"c", &b"m".repeat(60_000)[..], b"\n", &b"n".repeat(60_000), b"\nq\x010]q\x030"].concat();
    let beside = [&class[..], &object(b"(K\x01t(K\x01t"), b"}(U\x01ah\x02h\x01h\x03u."].concat();
    let file = WeightFile::new("w", Cursor::new(archive(&[("x/data.pkl", &beside), ("x/data/0", &[0; 4])])));
    assert_eq!(file.expect("a tensor").about().ignored[0].len(), 200);
    let part = [b"}(K\x01", &b"2".repeat(99_999)[..], b"uq\x010U\nstate_dictq\x020}("].concat();
    assert!(why_not(&[&part, &b"h\x02h\x01".repeat(100_000), b"u."]).contains("no tensors"));
}

/// The object of [`tensor`] in a dict under `name`.
fn part(name: &str) -> Vec<u8> {
    let object = tensor(2);
    [format!("}}S'{name}'\n").as_bytes(), &object[..object.len() - 1], b"s."].concat()
}

#[test]
fn the_only_part_with_tensors_is_meant_unless_it_is_an_optimisers() -> Result<()> {
    for (name, meant) in [
        ("params_ema", true),
        ("EMA", true),
        ("upsampler", true),
        ("semantic", true),
        ("optimizer", false),
        ("optimizer_states", false),
        ("lr_scheduler", false),
        ("amp", false),
        ("cuda_rng_state", false),
    ] {
        let file =
            WeightFile::new("w", Cursor::new(archive(&[("x/data.pkl", &part(name)), ("x/data/0", &[0; 8])])));
        assert_eq!(file.is_ok(), meant, "{name}");
        if meant {
            assert_eq!(file?.about().nesting, [name]);
        }
    }
    let both = [
        b"}(".to_vec(),
        [part("gen"), part("gen_ema")].map(|p| p[1..p.len() - 2].to_vec()).concat(),
        b"u.".to_vec(),
    ];
    let file =
        WeightFile::new("w", Cursor::new(archive(&[("x/data.pkl", &both.concat()), ("x/data/0", &[0; 8])])))?;
    assert_eq!(file.about().nesting, ["gen"]);
    Ok(())
}

#[test]
fn an_archive_without_checksums_is_read_and_one_with_a_wrong_one_is_not() -> Result<()> {
    let mut bytes = archive(&[("x/data.pkl", &tensor(2)), ("x/data/0", b"mnopqrst")]);
    // In the headers of both files, and in the table of contents.
    let mut sums = Vec::new();
    for (head, at) in [(&b"PK\x03\x04"[..], 14), (b"PK\x01\x02", 16)] {
        sums.extend((0..bytes.len()).filter(|&n| bytes[n..].starts_with(head)).map(|n| n + at));
    }
    assert_eq!(sums.len(), 4);
    for &sum in &sums {
        bytes[sum..sum + 4].fill(0);
    }
    let file = WeightFile::new("w", Cursor::new(bytes.clone()))?;
    assert_eq!(file.tensor("a")?.dims(), [2]);
    bytes[sums[2]] = 1;
    let file = WeightFile::new("w", Cursor::new(bytes));
    file.and_then(|file| file.tensor("a")).expect_err("one of them is wrong");
    Ok(())
}

/// CP437 and UTF-8 have bytes of their own for the same letter.
#[test]
fn two_names_of_the_same_letters_are_refused() {
    let mut bytes = archive(&[("x/data.pkl", &tensor(2)), ("x/data/\u{c7}", &[0; 8]), ("x/data/z", &[1; 8])]);
    let places: Vec<usize> = (0..bytes.len()).filter(|&n| bytes[n..].starts_with(b"x/data/z")).collect();
    assert_eq!(places.len(), 2);
    places.into_iter().for_each(|place| bytes[place + 7] = 0x80);
    let error = why(bytes);
    assert!(error.contains("have the same name"), "{error}");
}
