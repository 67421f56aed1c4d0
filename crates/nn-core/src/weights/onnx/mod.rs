//! ONNX models: the tensors that a graph starts with, its initialisers. What the graph computes is left out.
//!
//! Source: ONNX 1.19, `onnx/onnx.proto3` (`ModelProto`, `GraphProto`, `TensorProto`) and `docs/ExternalData.md`.

mod tensor;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use super::file::{About, Format};
use super::flaw::{Read, flaw};
use super::storage::{Opened, Source};
use super::table::Table;
use wire::{Span, Value, Wire};

/// Whether a file begins as a model does: with the format's version, and then the key of another of its fields.
pub(super) fn is_onnx(start: &[u8]) -> bool {
    matches!(start, [0x08, 1..=0x7f, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72, ..])
}

/// What a model is made of, as far as weights go.
#[derive(Default)]
struct Model {
    tensors: BTreeMap<String, tensor::Proto>,
    metadata: BTreeMap<String, String>,
    graphs: usize,
    operator_sets: usize,
}

/// The initialisers of a model of `length` bytes; `folder` is where its external data lie.
pub(super) fn table(source: &mut Box<dyn Source>, length: u64, folder: Option<&Path>) -> Read<Table> {
    let mut model = Model::default();
    let whole = Span { start: 0, end: length };
    let mut wire = Wire::new(source);
    wire.message(whole, &mut |wire, number, value| model.field(wire, number, value))
        .map_err(|e| e.at("an ONNX model"))?;
    // Without them nobody knows what the graph means, and a file that was cut off lacks them.
    if model.graphs != 1 || model.operator_sets == 0 {
        return Err(flaw("not a whole ONNX model (it has not one graph and its operator sets)"));
    }
    let (mut tensors, mut storages) = (BTreeMap::new(), Vec::with_capacity(model.tensors.len()));
    let mut data = External { folder, names: Vec::new(), files: Vec::new() };
    for (name, proto) in model.tensors {
        let found = proto.place(storages.len(), &mut data).map_err(|e| e.at(name.escape_debug()))?;
        let (tensor, storage) = found;
        tensors.insert(name, tensor);
        storages.push(storage);
    }
    let about = About { metadata: model.metadata, ..About::new(Format::Onnx) };
    Ok(Table { beside: data.files, ..Table::new(about, tensors, storages) })
}

/// The files that external data lie in, each opened once.
struct External<'a> {
    folder: Option<&'a Path>,
    names: Vec<String>,
    files: Vec<Opened>,
}

impl External<'_> {
    /// The number and the length of the file of this name.
    fn file(&mut self, name: &str) -> Read<(usize, u64)> {
        let known = self.names.iter().position(|known| known == name);
        let n = match known {
            Some(n) => n,
            None => {
                self.files.push(Opened::beside(self.folder, name)?);
                self.names.push(name.to_owned());
                self.files.len() - 1
            }
        };
        Ok((n + 1, self.files[n].length))
    }
}

impl Model {
    fn field(&mut self, wire: &mut Wire, number: u64, value: Value) -> Read<()> {
        match (number, value) {
            (2, Value::Bytes(span)) => self.note("producer", wire.text(span)?),
            (3, Value::Bytes(span)) => self.note("producer_version", wire.text(span)?),
            (7, Value::Bytes(graph)) => {
                self.graphs += 1;
                wire.message(graph, &mut |wire, number, value| self.initialiser(wire, number, value))?;
            }
            (8, Value::Bytes(_)) => self.operator_sets += 1,
            (14, Value::Bytes(span)) => {
                let (key, value) = entry(wire, span)?;
                self.note(&key, value);
            }
            _ => {}
        }
        Ok(())
    }

    fn note(&mut self, key: &str, value: String) {
        if !value.is_empty() {
            self.metadata.insert(key.to_owned(), value);
        }
    }

    /// A field of the graph.
    fn initialiser(&mut self, wire: &mut Wire, number: u64, value: Value) -> Read<()> {
        match (number, value) {
            (5, Value::Bytes(span)) => {
                let (name, proto) = tensor::Proto::read(wire, span)?;
                if self.tensors.insert(name.clone(), proto).is_some() {
                    return Err(flaw(format!("two initialisers are called {}", name.escape_debug())));
                }
                Ok(())
            }
            (15, _) => Err(flaw("a sparse initialiser is refused")),
            _ => Ok(()),
        }
    }
}

/// A key and its value, both texts.
fn entry(wire: &mut Wire, span: Span) -> Read<(String, String)> {
    let (mut key, mut text) = (String::new(), String::new());
    wire.message(span, &mut |wire, number, value| {
        match (number, value) {
            (1, Value::Bytes(span)) => key = wire.text(span)?,
            (2, Value::Bytes(span)) => text = wire.text(span)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, text))
}

#[cfg(test)]
mod tests;
