//! What is wrong with a file is said; whole files of Keras are read in `tests/tests/keras.rs`.

use std::io::Cursor;

use super::super::WeightFile;
use super::*;

/// A superblock, and a root group without members.
fn empty() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([0, 0, 0, 0, 0, 8, 8, 0]);
    bytes.extend([4, 0, 16, 0, 0, 0, 0, 0]);
    let undefined = u64::MAX;
    // Base, free space, end, driver; the root's name and header.
    for number in [0, undefined, 248, undefined, 0, 96] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([0; 24]);
    assert_eq!(bytes.len(), 96);
    // A header with one message: tree at 136, heap at 176.
    bytes.extend([1, 0, 1, 0, 1, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0x11, 0, 16, 0, 0, 0, 0, 0]);
    bytes.extend([136u64, 176].iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(*b"TREE");
    bytes.extend([0, 0, 0, 0]);
    bytes.extend([0; 32]);
    bytes.extend(*b"HEAP");
    bytes.extend([0; 4]);
    for number in [16u64, 0, 208] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(248, 0);
    bytes
}

fn open(bytes: Vec<u8>) -> candle_core::Result<WeightFile> {
    WeightFile::new("w", Cursor::new(bytes))
}

#[test]
fn an_empty_group_is_an_empty_file() -> candle_core::Result<()> {
    assert_eq!(open(empty())?.tensors().count(), 0);
    Ok(())
}

#[test]
fn what_is_not_read_is_named() {
    for (at, byte, why) in [
        (8, 2, "version 2 of the format is not read"),
        (13, 4, "addresses of 4 bytes"),
        (24, 1, "begins elsewhere"),
        (40, 249, "the file ends before it says"),
        (64, 255, "a part of it lies beyond its end"),
        (96, 2, "its header is of another version"),
        (98, 2, "its header ends too early"),
        (112, 2, "a group of a newer version"),
        (136, b'X', "there is no TREE"),
        (140, 1, "its tree of names is none"),
        (142, 1, "there is no SNOD"),
        (142, 20, "parts of it overlap"),
        (176, b'X', "there is no HEAP"),
    ] {
        let mut bytes = empty();
        bytes[at] = byte;
        let error = open(bytes).expect_err(why).to_string();
        assert!(error.contains(why), "{at}: {error}");
    }
    for length in 8..empty().len() {
        assert!(open(empty()[..length].to_vec()).is_err(), "{length}");
    }
}

/// A root group of so many groups, whose tree is one and the same: 32 children, each the same list without members.
fn sharing(groups: u8) -> Vec<u8> {
    let mut bytes = empty();
    bytes[142] = 1;
    let list = bytes.len() as u64;
    bytes[168..176].copy_from_slice(&list.to_le_bytes());
    bytes[208..224].copy_from_slice(b"a\0b\0c\0d\0e\0f\0g\0h\0");
    let headers = list + 8 + 40 * 8;
    let tree = headers + 40 * 8;
    let nobody = tree + 24 + 16 * 32;
    bytes.extend(*b"SNOD\x01\0");
    bytes.extend([groups, 0]);
    for n in 0..8 {
        bytes.extend([2 * n, headers + 40 * n].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([0; 24]);
    }
    for _ in 0..8 {
        bytes.extend_from_within(96..120);
        bytes.extend([tree, 176].iter().flat_map(|n| n.to_le_bytes()));
    }
    bytes.extend(*b"TREE");
    bytes.extend([0, 0, 32, 0]);
    bytes.extend([0; 16]);
    for _ in 0..32 {
        bytes.extend([0, nobody].iter().flat_map(|n| n.to_le_bytes()));
    }
    bytes.extend(*b"SNOD\x01\0\0\0");
    bytes
}

#[test]
fn groups_that_share_a_tree_are_refused_before_they_take_long() -> candle_core::Result<()> {
    assert_eq!(open(sharing(1))?.tensors().count(), 0);
    let error = open(sharing(8)).expect_err("one tree of eight groups").to_string();
    assert!(error.contains("parts of it overlap"), "{error}");
    Ok(())
}
