//! How arrays lie in Keras, and how they lie in PyTorch: views of the same numbers.

use std::collections::BTreeMap;

use super::super::Element;
use super::super::flaw::{Read, flaw};
use super::super::storage::Storage;
use super::super::strided::Strided;
use super::{CellRole, Role, Way};

/// The tensors so far.
pub(super) struct Turned {
    pub(super) tensors: BTreeMap<String, Strided>,
    pub(super) storages: Vec<Storage>,
    pub(super) joined: Vec<(String, Vec<String>)>,
}

/// An array, and the path it has in the file.
type Found = (String, Strided);

/// The arrays of a recurrent layer in one direction.
#[derive(Default)]
pub(super) struct Cell {
    kernel: Option<Found>,
    recurrent: Option<Found>,
    bias: Option<Found>,
}

impl Cell {
    pub(super) fn part(&mut self, role: CellRole) -> &mut Option<Found> {
        match role {
            CellRole::Kernel => &mut self.kernel,
            CellRole::RecurrentKernel => &mut self.recurrent,
            CellRole::Bias => &mut self.bias,
        }
    }

    /// How many gates the cell has, and how many units, if it is one that PyTorch has.
    fn gates(&self) -> Option<[usize; 2]> {
        let (_, kernel) = self.kernel.as_ref()?;
        let (_, recurrent) = self.recurrent.as_ref()?;
        let (&[_, columns], &[units, all]) = (&kernel.shape[..], &recurrent.shape[..]) else { return None };
        let gates = all.checked_div(units)?;
        // Without a bias nobody can tell a GRU's `reset_after`.
        let told = gates != GRU || self.bias.is_some();
        let fits = columns == all && all == gates * units && [1, 3, 4].contains(&gates);
        let rows = if gates == GRU { vec![2, all] } else { vec![all] };
        let bias =
            self.bias.as_ref().is_none_or(|(_, bias)| bias.shape == rows && bias.element == Element::F32);
        (fits && told && bias).then_some([gates, units])
    }
}

/// Gates of a GRU: Keras has them in the order z, r, h, PyTorch as r, z, n. An LSTM's are i, f, c, o in both.
const GRU: usize = 3;
const GRU_ORDER: [usize; 3] = [1, 0, 2];

impl Turned {
    pub(super) fn new(storages: Vec<Storage>) -> Self {
        Self { tensors: BTreeMap::new(), storages, joined: Vec::new() }
    }

    /// An array of a layer that is not recurrent.
    pub(super) fn add(&mut self, layer: &str, role: Role, path: &str, array: &Strided) -> Read<()> {
        let vector = array.shape.len() == 1;
        let (name, view) = match role {
            Role::Kernel => ("weight", kernel(array)),
            Role::DepthwiseKernel => ("weight", depthwise(array)),
            Role::Embeddings => ("weight", (array.shape.len() == 2).then(|| array.clone())),
            Role::Gamma => ("weight", vector.then(|| array.clone())),
            Role::Bias | Role::Beta => ("bias", vector.then(|| array.clone())),
            Role::Mean => ("running_mean", vector.then(|| array.clone())),
            Role::Variance => ("running_var", vector.then(|| array.clone())),
            Role::Cell(..) => unreachable!("those come together"),
        };
        match view {
            Some(view) => self.put(format!("{layer}.{name}"), view),
            None => self.keep(path, array),
        }
    }

    /// An array of which nothing is known.
    pub(super) fn keep(&mut self, path: &str, array: &Strided) -> Read<()> {
        self.put(path.replace('/', "."), array.clone())
    }

    /// A recurrent layer, with both biases, or as it is.
    pub(super) fn add_cell(&mut self, layer: &str, way: Way, cell: Cell) -> Read<()> {
        let Some([gates, units]) = cell.gates() else {
            let mut parts = [cell.kernel, cell.recurrent, cell.bias].into_iter().flatten();
            return parts.try_for_each(|(path, array)| self.keep(&path, &array));
        };
        let suffix = if way == Way::Backward { "_l0_reverse" } else { "_l0" };
        let name = |what: &str| format!("{layer}.{what}{suffix}");
        let weights = [("weight_ih", cell.kernel), ("weight_hh", cell.recurrent)];
        for (what, (_, array)) in weights.into_iter().filter_map(|(what, found)| Some((what, found?))) {
            self.put_gates(name(what), permuted(&array, &[1, 0]), [gates, units])?;
        }
        let Some((_, bias)) = cell.bias else { return Ok(()) };
        if gates == GRU {
            for (row, what) in ["bias_ih", "bias_hh"].into_iter().enumerate() {
                let mut view = part(&bias, row, 1);
                (view.shape, view.strides) = (vec![GRU * units], vec![1]);
                self.put_gates(name(what), view, [gates, units])?;
            }
            return Ok(());
        }
        // Keras adds one bias where PyTorch adds two.
        self.storages.push(Storage::zeros((gates * units) as u64));
        let zeros = Strided::contiguous(self.storages.len() - 1, Element::F32, vec![gates * units]);
        self.put(name("bias_ih"), bias)?;
        self.put(name("bias_hh"), zeros)
    }

    /// Rows gate by gate, in PyTorch's order.
    fn put_gates(&mut self, name: String, array: Strided, [gates, units]: [usize; 2]) -> Read<()> {
        if gates != GRU {
            return self.put(name, array);
        }
        let mut names = Vec::with_capacity(GRU);
        for gate in GRU_ORDER {
            // No path has this sign, so nothing else is called so.
            let of_gate = format!("{name}/{gate}");
            self.put(of_gate.clone(), part(&array, gate * units, units))?;
            names.push(of_gate);
        }
        if self.tensors.contains_key(&name) {
            return Err(twice(&name));
        }
        self.joined.push((name, names));
        Ok(())
    }

    fn put(&mut self, name: String, array: Strided) -> Read<()> {
        match self.tensors.insert(name.clone(), array) {
            None => Ok(()),
            Some(_) => Err(twice(&name)),
        }
    }
}

fn twice(name: &str) -> super::super::flaw::Flaw {
    flaw(format!("two arrays would be called {}", name.escape_debug()))
}

/// Height and width first, then channels from and to; in PyTorch these are first, to before from.
fn kernel(array: &Strided) -> Option<Strided> {
    let order: &[usize] = match array.shape.len() {
        2 => &[1, 0],
        3 => &[2, 1, 0],
        4 => &[3, 2, 0, 1],
        5 => &[4, 3, 0, 1, 2],
        _ => return None,
    };
    Some(permuted(array, order))
}

/// `[h, w, c, m]` → `[c · m, 1, h, w]`: what comes from a channel lies together in both.
fn depthwise(array: &Strided) -> Option<Strided> {
    let (&[height, width, channels, multiplier], &[down, right, _, step]) =
        (&array.shape[..], &array.strides[..])
    else {
        return None;
    };
    let shape = vec![channels.checked_mul(multiplier)?, 1, height, width];
    Some(Strided { shape, strides: vec![step, step, down, right], ..array.clone() })
}

fn permuted(array: &Strided, order: &[usize]) -> Strided {
    let of = |sizes: &[usize]| order.iter().map(|&axis| sizes[axis]).collect();
    Strided { shape: of(&array.shape), strides: of(&array.strides), ..array.clone() }
}

/// `rows` places of the first axis, from `start` on.
fn part(array: &Strided, start: usize, rows: usize) -> Strided {
    let mut part = array.clone();
    part.offset = part.offset.saturating_add(start.saturating_mul(part.strides[0]));
    part.shape[0] = rows;
    part
}
