//! Headers as NumPy has written them, and those that lie.

use std::io::Cursor;

use candle_core::{DType, Result};

use super::super::{Format, WeightFile};

/// A file of version 1.0 with this header.
fn npy(header: &str, numbers: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(numbers);
    bytes
}

fn open(bytes: Vec<u8>) -> Result<WeightFile> {
    WeightFile::new("w", Cursor::new(bytes))
}

fn why(bytes: Vec<u8>) -> String {
    open(bytes).expect_err("refused").to_string()
}

#[test]
fn headers_of_all_versions_of_python_are_read() -> Result<()> {
    let numbers = [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0];
    for (header, expected) in [
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n", [[1i16, 2, 3], [4, 5, 6]]),
        ("{\"shape\":(2L,3L),'fortran_order':False,\"descr\":\"<i2\"}", [[1, 2, 3], [4, 5, 6]]),
        ("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3)}   \n", [[1, 3, 5], [2, 4, 6]]),
        ("{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3)}", [[256, 512, 768], [1024, 1280, 1536]]),
    ] {
        let file = open(npy(header, &numbers))?;
        assert_eq!(file.about().format, Format::Npy);
        let t = &file.read()?["tensor"];
        assert_eq!(t.dtype(), DType::I16);
        assert_eq!(t.to_vec2::<i16>()?, expected, "{header}");
    }
    let number = open(npy("{'descr': '|u1', 'fortran_order': False, 'shape': ()}", &[7]))?;
    assert_eq!(number.tensor("tensor")?.to_vec0::<u8>()?, 7);
    Ok(())
}

#[test]
fn headers_that_lie_or_hold_no_numbers_are_refused() {
    let header = |descr: &str, shape: &str| {
        format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")
    };
    for (header, expected) in [
        (header("'|O'", "(1,)"), "type |O are refused: an array of objects is a pickle"),
        (header("'<U8'", "(1,)"), "type <U8 are refused"),
        (header("'<c8'", "(1,)"), "type <c8 are refused"),
        (header("'|V2'", "(4,)"), "type |V2 are refused"),
        (header("[('a', '<f4')]", "(2,)"), "records"),
        (header("'|f4'", "(2,)"), "byte order"),
        (header("'<f4'", "(3,)"), "its shape [3] does not go with 8 bytes"),
        (header("'<f4'", "(1,)"), "its shape [1] does not go with 8 bytes"),
        (header("'<f4'", "(18446744073709551615, 18446744073709551615)"), "does not go with"),
        (header("'<f4'", "(18446744073709551616,)"), "does not go on"),
        (header("'<f4'", "(-2,)"), "does not go on"),
        (header("'<f4'", &format!("({}2)", "1, ".repeat(64))), "does not go with"),
        ("{'descr': '<f4', 'shape': (2,)}".to_owned(), "no fortran_order"),
        ("{'descr': '<f4', 'descr': '<f4'}".to_owned(), "descr is in it twice"),
        ("{'kind': '<f4'}".to_owned(), "kind is no key"),
        (header("'<f4'", "(2,)") + "x", "does not go on"),
        (header("'<f4", "(2,)"), "type <f4,  are refused"),
        (String::new(), "does not go on"),
    ] {
        let error = why(npy(&header, &[0; 8]));
        assert!(error.contains(expected), "{header}: {error}");
    }
    assert!(why(b"\x93NUMPY\x04\x00\x00\x00".to_vec()).contains("version 4"));
    assert!(why(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec()).contains("header has 4294967295 bytes"));
    assert!(
        why([npy(&header("'<f4'", "(2,)"), &[0; 8]), npy("", &[])].concat()).contains("go with 18 bytes")
    );
}
