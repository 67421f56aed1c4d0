//! What is called what; whole files of Keras are read in `tests/tests/keras.rs`.

use super::super::Element;
use super::*;

/// The names and shapes that become of arrays of these paths and shapes; of what is joined there is no shape.
fn read(arrays: &[(&str, &[usize])]) -> Read<BTreeMap<String, Vec<usize>>> {
    let array = |(n, &(path, shape)): (usize, &(&str, &[usize]))| {
        (path.to_owned(), Strided::contiguous(n, Element::F32, shape.to_vec()))
    };
    let found = arrays.iter().enumerate().map(array).collect();
    let storages = arrays.iter().map(|_| Storage::zeros(1)).collect();
    let table = table(Arrays { found, storages, others: Vec::new() }, Format::Hdf5)?;
    let joined = table.joined.into_iter().map(|(name, _)| (name, Vec::new()));
    Ok(table.tensors.into_iter().map(|(name, t)| (name, t.shape)).chain(joined).collect())
}

/// Asserts what becomes of arrays.
fn becomes(arrays: &[(&str, &[usize])], expected: &[(&str, &[usize])]) -> Read<()> {
    let expected = expected.iter().map(|&(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    assert_eq!(read(arrays)?, expected);
    Ok(())
}

#[test]
fn a_gru_without_a_bias_stays_as_it_is() -> Read<()> {
    becomes(
        &[("gru/gru/gru_cell/kernel", &[5, 6]), ("gru/gru/gru_cell/recurrent_kernel", &[2, 6])],
        &[("gru.gru.gru_cell.kernel", &[5, 6]), ("gru.gru.gru_cell.recurrent_kernel", &[2, 6])],
    )?;
    becomes(
        &[("layers/gru/cell/vars/0", &[5, 6]), ("layers/gru/cell/vars/1", &[2, 6])],
        &[("layers.gru.cell.vars.0", &[5, 6]), ("layers.gru.cell.vars.1", &[2, 6])],
    )?;
    becomes(
        &[("lstm/lstm/lstm_cell/kernel", &[5, 8]), ("lstm/lstm/lstm_cell/recurrent_kernel", &[2, 8])],
        &[("lstm.weight_ih_l0", &[8, 5]), ("lstm.weight_hh_l0", &[8, 2])],
    )
}

#[test]
fn attention_stays_as_it_is_and_convolutions_are_turned() -> Read<()> {
    let attention: [(&str, &[usize]); 5] = [
        ("mha/mha/query/kernel", &[8, 2, 4]),
        ("mha/mha/query/bias", &[2, 4]),
        ("mha/mha/key/kernel", &[8, 2, 4]),
        ("mha/mha/attention_output/kernel", &[2, 4, 8]),
        ("mha/mha/attention_output/bias", &[8]),
    ];
    let kept = attention.map(|(path, shape)| (path.replace('/', "."), shape));
    becomes(&attention, &kept.each_ref().map(|(name, shape)| (&name[..], *shape)))?;
    becomes(
        &[("e/e/kernel", &[8, 2, 4]), ("e/e/bias", &[2, 4])],
        &[("e.e.kernel", &[8, 2, 4]), ("e.e.bias", &[2, 4])],
    )?;
    for (kernel, bias) in [("conv/conv/kernel", "conv/conv/bias"), ("conv/conv/kernel:0", "conv/conv/bias:0")]
    {
        becomes(&[(kernel, &[3, 5, 7]), (bias, &[7])], &[("conv.weight", &[7, 5, 3]), ("conv.bias", &[7])])?;
        // A transposed one.
        becomes(&[(kernel, &[3, 5, 7]), (bias, &[5])], &[("conv.weight", &[7, 5, 3]), ("conv.bias", &[5])])?;
    }
    becomes(&[("conv/conv/kernel", &[3, 5, 7])], &[("conv.weight", &[7, 5, 3])])
}

#[test]
fn layers_of_nested_models_keep_the_models_name_if_they_must() -> Read<()> {
    becomes(&[("a/conv1/kernel", &[2, 3])], &[("conv1.weight", &[3, 2])])?;
    becomes(
        &[
            ("model_weights/a/conv1/kernel:0", &[2, 3]),
            ("model_weights/a/conv2/kernel:0", &[2, 4]),
            ("model_weights/b/conv1/kernel:0", &[2, 5]),
            ("model_weights/c/conv3/kernel:0", &[2, 6]),
            ("model_weights/conv1/conv1/kernel:0", &[2, 7]),
        ],
        &[
            ("a.conv1.weight", &[3, 2]),
            ("a.conv2.weight", &[4, 2]),
            ("b.conv1.weight", &[5, 2]),
            ("conv3.weight", &[6, 2]),
            ("conv1.weight", &[7, 2]),
        ],
    )?;
    let lstm = |model: &str| {
        [format!("{model}/lstm/lstm_cell/kernel"), format!("{model}/lstm/lstm_cell/recurrent_kernel")]
    };
    let ([a, a_again], [b, b_again]) = (lstm("a"), lstm("b"));
    becomes(
        &[(&a, &[5, 8]), (&a_again, &[2, 8]), (&b, &[6, 4]), (&b_again, &[1, 4])],
        &[
            ("a.lstm.weight_ih_l0", &[8, 5]),
            ("a.lstm.weight_hh_l0", &[8, 2]),
            ("b.lstm.weight_ih_l0", &[4, 6]),
            ("b.lstm.weight_hh_l0", &[4, 1]),
        ],
    )
}

#[test]
fn what_an_optimiser_keeps_is_no_weight_and_cells_may_be_numbered() -> Read<()> {
    becomes(
        &[
            ("layers/dense/vars/0", &[3, 4]),
            ("layers/dense/vars/1", &[4]),
            ("optimizer/vars/1", &[3, 4]),
            ("optimizer_weights/Adam/m/dense/kernel:0", &[3, 4]),
        ],
        &[("dense.weight", &[4, 3]), ("dense.bias", &[4])],
    )?;
    let group = "model_weights/bidirectional/bidirectional";
    let paths = ["forward_lstm/lstm_cell_1", "backward_lstm/lstm_cell_2"]
        .map(|cell| ["kernel:0", "recurrent_kernel:0"].map(|name| format!("{group}/{cell}/{name}")));
    let [[a, b], [c, d]] = &paths;
    becomes(
        &[(a, &[3, 8]), (b, &[2, 8]), (c, &[3, 8]), (d, &[2, 8])],
        &[
            ("bidirectional.weight_ih_l0", &[8, 3]),
            ("bidirectional.weight_hh_l0", &[8, 2]),
            ("bidirectional.weight_ih_l0_reverse", &[8, 3]),
            ("bidirectional.weight_hh_l0_reverse", &[8, 2]),
        ],
    )
}

#[test]
fn two_arrays_of_one_name_are_refused() {
    for (paths, why) in [
        (["a/a/lstm_cell/kernel", "a/a/gru_cell/kernel"], "its layer has two of its kind"),
        (["layers/dense/vars/0", "dense/vars/0"], "two arrays would be called dense.weight"),
    ] {
        let error = read(&paths.map(|path| (path, &[2usize, 3][..]))).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn an_array_of_no_layer_stays_as_it_is() -> Read<()> {
    for path in ["kernel", "model_weights/kernel"] {
        becomes(&[(path, &[2, 3])], &[(&path.replace('/', "."), &[2, 3])])?;
    }
    Ok(())
}

/// Each of them asks how many lie in its group.
#[test]
fn a_group_of_many_arrays_is_read_in_a_moment() -> Read<()> {
    let paths: Vec<String> = (0..50_000).map(|n| format!("dense/vars/{n}")).collect();
    let arrays: Vec<(&str, &[usize])> = paths.iter().map(|path| (&path[..], &[1usize][..])).collect();
    assert_eq!(read(&arrays)?.len(), arrays.len());
    Ok(())
}
