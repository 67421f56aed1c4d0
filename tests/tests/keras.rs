//! Weights of Keras: read as PyTorch has them, and computing here what they compute there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use candle_core::{Result, Tensor};
use nn_core::ops::{self, Convolution, Direction, Nonlinearity, Padding, RecurrentOptions, RecurrentWeights};
use nn_core::testing::assert_close;
use nn_core::weights::{Format, WeightFile};
use nn_tests::golden;

type Tensors = BTreeMap<String, Tensor>;

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/keras").join(file)
}

/// Ours of the name of a layer in `.weights.h5`, where layers are called after their classes.
const CLASSES: [(&str, &str); 9] = [
    ("conv", "conv2d"),
    ("bn", "batch_normalization"),
    ("dw", "depthwise_conv2d"),
    ("up", "conv2d_transpose"),
    ("lstm", "lstm"),
    ("gru", "gru"),
    ("both", "bidirectional"),
    ("ln", "layer_normalization"),
    ("fc", "dense"),
];

#[test]
fn files_of_keras_are_read_to_the_bit() -> Result<()> {
    let mut expected: Tensors = golden("keras")?.0;
    expected.retain(|name, _| name.contains('.'));
    let small: Vec<String> = expected.keys().filter(|name| name.starts_with("small.")).cloned().collect();
    let small: Tensors = small.into_iter().filter_map(|name| expected.remove_entry(&name)).collect();
    let by_class = |name: &String| {
        let (layer, parameter) = name.split_once('.').expect("a layer's parameter");
        let class = CLASSES.iter().find(|(ours, _)| *ours == layer).expect("a layer").1;
        format!("{class}.{parameter}")
    };
    let by_class = expected.iter().map(|(name, t)| (by_class(name), t.clone())).collect();
    let small = small.into_iter().map(|(name, t)| (name.replace("small.", "dense."), t)).collect();
    for (file, format, tensors) in [
        ("network.h5", Format::Hdf5, &expected),
        ("network.weights.h5", Format::Hdf5, &by_class),
        ("dense.keras", Format::Keras, &small),
    ] {
        let read = WeightFile::open(path(file))?;
        assert_eq!(read.about().format, format);
        let read = read.read()?;
        assert!(read.keys().eq(tensors.keys()), "{file}: {:?} are not {:?}", read.keys(), tensors.keys());
        for (name, t) in tensors {
            assert_eq!(read[name].dims(), t.dims(), "{file}: {name}");
            assert_close(&read[name], t, 0.0, 0.0)?;
        }
    }
    Ok(())
}

/// What the maker's network computes, from what was read.
fn network(w: &Tensors, images: &Tensor) -> Result<Tensor> {
    let same = Convolution { padding: Padding::Same, ..Convolution::default() };
    let by_channel = Convolution { groups: 4, ..Convolution::default() };
    let x = images.permute((0, 3, 1, 2))?;
    let x = ops::conv2d(&x, &w["conv.weight"], Some(&w["conv.bias"]), same)?;
    let scale = w["bn.weight"].div(&(&w["bn.running_var"] + 1e-3)?.sqrt()?)?;
    let shift = (&w["bn.bias"] - w["bn.running_mean"].mul(&scale)?)?;
    let x = ops::relu(&ops::scale_shift(&x, [&scale, &shift], None)?)?;
    let x = ops::conv2d(&x, &w["dw.weight"], Some(&w["dw.bias"]), by_channel)?;
    let x = ops::conv_transpose2d(&x, &w["up.weight"], Some(&w["up.bias"]), Default::default())?;
    let x = x.permute((0, 2, 3, 1))?.reshape(((), 5, 15))?;
    let (x, _) = ops::lstm(&x, &recurrent(w, "lstm", ""), None, RecurrentOptions::default())?;
    let (x, _) = ops::gru(&x, &recurrent(w, "gru", ""), None, RecurrentOptions::default())?;
    let way = |direction, suffix| {
        let options = RecurrentOptions { direction, ..RecurrentOptions::default() };
        ops::rnn(&x, &recurrent(w, "both", suffix), None, Nonlinearity::Tanh, options)
    };
    let (there, back) = (way(Direction::Forward, "")?.0, way(Direction::Reverse, "_reverse")?.0);
    let x = ops::concat(&[there, back], 2)?;
    let x = ops::layer_norm(&x, 1, Some(&w["ln.weight"]), Some(&w["ln.bias"]), 1e-5)?;
    ops::linear(&x.mean(1)?, &w["fc.weight"], Some(&w["fc.bias"]))
}

fn recurrent(w: &Tensors, layer: &str, suffix: &str) -> RecurrentWeights {
    let of = |what: &str| w[&format!("{layer}.{what}_l0{suffix}")].clone();
    RecurrentWeights {
        w_ih: of("weight_ih"),
        w_hh: of("weight_hh"),
        b_ih: Some(of("bias_ih")),
        b_hh: Some(of("bias_hh")),
    }
}

#[test]
fn a_network_of_keras_computes_the_same_here() -> Result<()> {
    let golden = golden("keras")?.0;
    let read = WeightFile::open(path("network.h5"))?.read()?;
    assert_close(&network(&read, &golden["images"])?, &golden["output"], 1e-5, 1e-6)
}

/// Nothing here has a checksum, so a changed byte may change a number; it must not do worse.
#[test]
fn damaged_files_are_errors_or_other_numbers() -> Result<()> {
    let read = |bytes: Vec<u8>| WeightFile::new("w", Cursor::new(bytes))?.read();
    for file in ["network.h5", "network.weights.h5", "dense.keras"] {
        let whole = fs::read(path(file))?;
        for length in (0..whole.len()).step_by(29).chain([whole.len() - 1]) {
            assert!(read(whole[..length].to_vec()).is_err(), "{file} cut off at {length}");
        }
        for n in (0..whole.len()).step_by(41) {
            for flip in [0x01, 0xff] {
                let mut changed = whole.clone();
                changed[n] ^= flip;
                let total: usize =
                    read(changed).iter().flat_map(Tensors::values).map(Tensor::elem_count).sum();
                assert!(total < whole.len(), "{file}, byte {n}");
            }
        }
    }
    Ok(())
}
