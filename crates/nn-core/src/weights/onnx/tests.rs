//! Models that lie.

use std::io::Cursor;

use candle_core::Result;

use super::super::{Format, WeightFile};

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2)[..], &varint(value.len() as u64), value].concat()
}

/// A tensor called `w` of these sides and this type.
fn tensor(shape: &[u64], data_type: u64, rest: &[Vec<u8>]) -> Vec<u8> {
    let sides: Vec<u8> = shape.iter().flat_map(|&side| number(1, side)).collect();
    [sides, number(2, data_type), bytes(8, b"w"), rest.concat()].concat()
}

/// A model of these initialisers.
fn model(tensors: &[Vec<u8>]) -> Vec<u8> {
    let graph: Vec<u8> = tensors.iter().flat_map(|tensor| bytes(5, tensor)).collect();
    [number(1, 10), bytes(2, b"tests"), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
}

fn open(model: Vec<u8>) -> Result<WeightFile> {
    WeightFile::new("w", Cursor::new(model))
}

const F32: u64 = 1;

#[test]
fn numbers_of_every_field_are_read() -> Result<()> {
    let packed = |numbers: &[u64]| numbers.iter().flat_map(|&n| varint(n)).collect::<Vec<u8>>();
    let minus = |n: i64| n.cast_unsigned();
    for (data_type, field, data, expected) in [
        (F32, 9, [1f32.to_le_bytes(), (-2f32).to_le_bytes()].concat(), [1.0, -2.0]),
        (F32, 4, [1f32.to_le_bytes(), (-2f32).to_le_bytes()].concat(), [1.0, -2.0]),
        (11, 10, [1f64.to_le_bytes(), (-2f64).to_le_bytes()].concat(), [1.0, -2.0]),
        (7, 7, packed(&[1, minus(-2)]), [1.0, -2.0]),
        (6, 5, packed(&[1, minus(-2)]), [1.0, -2.0]),
        (3, 5, packed(&[1, minus(-128)]), [1.0, -128.0]),
        (2, 5, packed(&[1, 255]), [1.0, 255.0]),
        (4, 5, packed(&[1, 65535]), [1.0, 65535.0]),
        (12, 11, packed(&[1, 4_294_967_295]), [1.0, 4_294_967_295.0]),
        (10, 5, packed(&[0x3c00, 0xc000]), [1.0, -2.0]),
        (16, 5, packed(&[0x3f80, 0xc000]), [1.0, -2.0]),
        (9, 5, packed(&[0, 1]), [0.0, 1.0]),
    ] {
        let file = open(model(&[tensor(&[2], data_type, &[bytes(field, &data)])]))?;
        assert_eq!(file.about().format, Format::Onnx);
        let t = file.tensor("w")?.to_dtype(candle_core::DType::F64)?;
        assert_eq!(t.to_vec1::<f64>()?, expected, "type {data_type} in field {field}");
    }
    let t = open(model(&[tensor(&[0, 3], F32, &[])]))?.tensor("w")?;
    assert_eq!(t.dims(), [0, 3]);
    Ok(())
}

#[test]
fn models_that_lie_are_refused() {
    let raw = |size: usize| bytes(9, &vec![0; size]);
    let outside = |file: &str| bytes(13, &[bytes(1, b"location"), bytes(2, file.as_bytes())].concat());
    let good = tensor(&[2], F32, &[raw(8)]);
    open(model(std::slice::from_ref(&good))).expect("a good model");
    for (tensors, expected) in [
        (vec![good.clone(), good.clone()], "two initialisers are called w"),
        (vec![tensor(&[2], F32, &[raw(7)])], "w: its shape [2] does not go with 7 bytes"),
        (vec![tensor(&[u64::MAX, 2], F32, &[raw(8)])], "larger than any file"),
        (vec![tensor(&[2; 65], F32, &[])], "more than 64 axes"),
        (vec![tensor(&[2], F32, &[])], "does not go with 0 bytes"),
        (vec![tensor(&[2], F32, &[raw(8), raw(8)])], "more than one place"),
        (vec![tensor(&[2], F32, &[bytes(5, &[1, 1])])], "field 5 cannot hold numbers of type f32"),
        (vec![tensor(&[2], F32, &[number(5, 1)])], "one by one"),
        (vec![tensor(&[1], 8, &[bytes(6, b"a")])], "it holds text"),
        (vec![tensor(&[1], 14, &[raw(8)])], "ONNX's type 14"),
        (vec![tensor(&[1], F32, &[bytes(3, b"")])], "segment"),
        (vec![number(2, F32)], "no name"),
        (vec![tensor(&[2], F32, &[outside("../w.bin"), number(14, 1)])], "../w.bin is refused"),
        (vec![tensor(&[2], F32, &[outside("/etc/passwd"), number(14, 1)])], "/etc/passwd is refused"),
        (vec![tensor(&[2], F32, &[outside("a\\b"), number(14, 1)])], "is refused"),
        (vec![tensor(&[2], F32, &[outside(""), number(14, 1)])], "is refused"),
        (vec![tensor(&[2], F32, &[outside("w.bin"), number(14, 1)])], "goes on in w.bin, and has no folder"),
    ] {
        let error = open(model(&tensors)).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let sparse = [number(1, 10), bytes(7, &bytes(15, b"")), bytes(8, b"")].concat();
    assert!(open(sparse).expect_err("sparse").to_string().contains("sparse"));
}

/// A folder says that it is as long as a file can be.
#[test]
fn a_folder_beside_a_model_holds_no_numbers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("sub"))?;
    let place = [("location", "sub"), ("length", "17592186044416")]
        .map(|(key, value)| bytes(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat()));
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, model(&[tensor(&[1 << 42], F32, &[place.concat(), number(14, 1)])]))?;
    let error = WeightFile::open(&path).expect_err("a folder").to_string();
    assert!(error.contains("sub, which lies beside it, is not a file"), "{error}");
    Ok(())
}

#[test]
fn typed_numbers_that_do_not_fit_are_errors() -> Result<()> {
    for (data_type, numbers, expected) in [
        (2u64, varint(256), "256 in it is no u8"),
        (3, varint(128), "128 in it is no i8"),
        (2, vec![1, 1], "it has 2 numbers, its shape needs 1"),
        (2, vec![0x80], "does not end"),
        (2, [vec![0xff; 9], vec![2]].concat(), "does not end"),
    ] {
        let file = open(model(&[tensor(&[1], data_type, &[bytes(5, &numbers)])]))?;
        let error = file.tensor("w").expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("w: "), "{expected}: {error}");
    }
    Ok(())
}
