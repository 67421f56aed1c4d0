//! Groups: a tree of lists of names and addresses, and a heap with the names.

use super::super::flaw::{Read, flaw};
use super::bytes::{Bytes, beyond};

/// A tree of a file of weights is one or two levels high.
const HIGHEST: u8 = 16;
/// How many bytes of a tree refer to a child, and how many of a list to a member.
const CHILD: u64 = 16;
const ENTRY: u64 = 40;

/// What the heap of names looks like: where the names lie, and how many bytes they have.
struct Heap {
    start: u64,
    size: u64,
}

/// Names and addresses of the members of the group with this tree and heap.
pub(super) fn members(file: &mut Bytes<'_>, tree: u64, heap: u64) -> Read<Vec<(String, u64)>> {
    file.go_to(heap)?;
    file.expect(*b"HEAP")?;
    file.skip(4)?;
    let (size, _free, start) = (file.u64()?, file.u64()?, file.u64()?);
    if size > file.length() {
        return Err(beyond());
    }
    let heap = Heap { start, size };
    let mut members = Vec::new();
    // Levels go down by one, so trees end however their nodes refer to each other.
    let mut open = vec![(tree, None)];
    while let Some((address, expected)) = open.pop() {
        file.go_to(address)?;
        file.expect(*b"TREE")?;
        let [kind, level] = file.array()?;
        if kind != 0 || level > HIGHEST || expected.is_some_and(|expected| level != expected) {
            return Err(flaw("its tree of names is none"));
        }
        let count = file.u16()?;
        file.claim(CHILD * u64::from(count))?;
        file.skip(16)?;
        let mut children = Vec::with_capacity(count.into());
        for _ in 0..count {
            let [_key, child] = [file.u64()?, file.u64()?];
            children.push(child);
        }
        match level.checked_sub(1) {
            Some(below) => open.extend(children.into_iter().rev().map(|child| (child, Some(below)))),
            None => {
                for child in children {
                    list(file, child, &heap, &mut members)?;
                }
            }
        }
    }
    Ok(members)
}

/// A list of members.
fn list(file: &mut Bytes<'_>, address: u64, heap: &Heap, members: &mut Vec<(String, u64)>) -> Read<()> {
    file.go_to(address)?;
    file.expect(*b"SNOD")?;
    file.skip(2)?;
    let count = file.u16()?;
    file.claim(ENTRY * u64::from(count))?;
    for n in 0..u64::from(count) {
        // Names lie elsewhere, so each entry is gone to.
        file.go_to(address.saturating_add(8 + ENTRY * n))?;
        let (name, object) = (file.u64()?, file.u64()?);
        if file.u32()? == 2 {
            return Err(flaw("a link that leads to another name is not followed"));
        }
        let Some(room) = heap.size.checked_sub(name) else { return Err(flaw("a name lies beyond its heap")) };
        file.go_to(heap.start.saturating_add(name))?;
        let name = file.text(room)?;
        if name.is_empty() || name.contains('/') {
            return Err(flaw(format!("{} is no name", name.escape_debug())));
        }
        file.claim(name.len() as u64 + 1)?;
        members.push((name, object));
    }
    Ok(())
}
