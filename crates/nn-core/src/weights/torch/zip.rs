//! PyTorch's format since 1.6: a zip archive of one pickle and a file for each storage, nothing compressed.

use std::collections::BTreeMap;

use super::super::file::Format;
use super::super::flaw::{Read, flaw};
use super::super::pickle::{self, Input};
use super::super::storage::{Source, Storage};
use super::super::table::Table;

/// The tensors of an archive of these files.
pub(crate) fn table(source: &mut Box<dyn Source>, files: &BTreeMap<String, Storage>) -> Read<Table> {
    let mut pickles = files.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let folder = match (pickles.next(), pickles.next()) {
        (Some(folder), None) if folder.is_empty() || folder.find('/') == Some(folder.len() - 1) => folder,
        _ if files.keys().any(|name| name.ends_with("/models/model.json")) => {
            return Err(flaw(
                "it is a program of torch.export; in Python: torch.save(torch.export.load(path).state_dict, path)",
            ));
        }
        _ => return Err(flaw("it is a zip archive, but no file of PyTorch: it has not one data.pkl")),
    };
    if files.contains_key(&format!("{folder}constants.pkl")) {
        return Err(flaw(
            "it is a TorchScript program; in Python: torch.save(torch.jit.load(path).state_dict(), path)",
        ));
    }
    if let Some((name, _)) = files.iter().find(|(_, place)| place.inflated.is_some()) {
        return Err(flaw(format!("{} is packed, which PyTorch never does", name.escape_debug())));
    }
    if let Some(order) = files.get(&format!("{folder}byteorder")) {
        let order = order.read(source)?;
        if order != b"little" {
            return Err(flaw(format!(
                "its byte order is {}",
                String::from_utf8_lossy(&order).escape_debug()
            )));
        }
    }
    let object = files[&format!("{folder}data.pkl")].read(source)?;
    let (heap, root) =
        pickle::read(&mut Input::new(&object[..], object.len() as u64)).map_err(|e| e.at("data.pkl"))?;
    let mut places = BTreeMap::new();
    for (key, size) in super::storages(&heap)? {
        let place = files.get(&format!("{folder}data/{key}"));
        let place = *place.ok_or_else(|| flaw(format!("there is no storage {key}")))?;
        if place.length != size.bytes {
            return Err(flaw(format!(
                "storage {key} has {} bytes, its tensors need {}",
                place.length, size.bytes
            )));
        }
        places.insert(key, place);
    }
    super::table(Format::TorchZip, &heap, root, &places)
}
