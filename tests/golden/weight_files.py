"""Writes weights/: arrays of NumPy, models of ONNX and weights in shards as their libraries write them, and weights.safetensors:
what is in them.

Run with PyTorch, NumPy, ONNX, transformers and safetensors installed: python tests/golden/weight_files.py
"""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent / "weights"
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "b1"]
# Candle has no such types; the next that hold all values are these.
WIDER = {"i1": "i2", "b1": "u1", "u2": "i4", "u4": "i8"}

random = np.random.default_rng(5)
expected = {}


def note(file, arrays):
    for name, array in arrays.items():
        kind = array.dtype.str[1:]
        expected[f"{file}/{name}"] = np.array(array, WIDER.get(kind, kind), order="C")


def state():
    """Small arrays of all types, both orders of bytes and of axes, among them an empty one and a number."""
    numbers = random.integers(0, 100, (2, 3))
    arrays = {kind: (numbers * 1.25).astype(kind) for kind in DTYPES}
    arrays |= {f"big_{kind}": arrays[kind].astype(f">{kind}") for kind in ("f2", "f4", "f8", "i4")}
    arrays["layer.0/turned"] = np.asfortranarray(arrays["f4"])
    arrays["empty"] = np.zeros((0, 4), "f4")
    arrays["number"] = np.array(7)
    return arrays


def numpy():
    arrays = state()
    for name in ("f4", "big_f4", "number"):
        np.save(FOLDER / f"{name}.npy", arrays[name])
        note(f"{name}.npy", {"tensor": arrays[name]})
    turned = np.asfortranarray(random.standard_normal((2, 3, 4)))
    np.save(FOLDER / "turned.npy", turned)
    note("turned.npy", {"tensor": turned})
    for file, save in (("stored.npz", np.savez), ("deflated.npz", np.savez_compressed)):
        save(FOLDER / file, **arrays)
        note(file, arrays)
    np.savez(FOLDER / "unnamed.npz", arrays["f4"], arrays["i2"])
    note("unnamed.npz", {"arr_0": arrays["f4"], "arr_1": arrays["i2"]})
    np.save(FOLDER / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def onnx_model(tensors):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    node = helper.make_node("Identity", ["x"], ["y"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([node], "net", [x], [y], initializer=tensors)
    return helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)])


def onnx_files():
    arrays = {f"layer.{kind}": state()[kind] for kind in DTYPES}
    raw = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    typed = [
        helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.flatten())
        for name, array in arrays.items()
    ]
    for file, tensors in (("raw.onnx", raw), ("typed.onnx", typed)):
        onnx.save(onnx_model(tensors), FOLDER / file)
        note(file, arrays)
    onnx.save(
        onnx_model([numpy_helper.from_array(array, name) for name, array in arrays.items()]), FOLDER / "beside.onnx",
        save_as_external_data=True, location="beside.bin", size_threshold=0,
    )
    note("beside.onnx", arrays)
    torch.manual_seed(5)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, 1, 4, 4),), FOLDER / "exported.onnx", opset_version=17, dynamo=False, verbose=False
        )
    note("exported.onnx", {name: t.numpy() for name, t in net.state_dict().items()})


def shards():
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4,
        max_position_embeddings=4,
    )
    torch.manual_seed(5)
    model = transformers.BertModel(config)
    model.save_pretrained(FOLDER, max_shard_size=600)
    (FOLDER / "config.json").unlink()
    note("model.safetensors.index.json", {name: t.numpy() for name, t in model.state_dict().items()})


def main():
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.iterdir():
        file.unlink()
    numpy()
    onnx_files()
    shards()
    versions = {library.__name__: library.__version__.split("+")[0] for library in (np, onnx, torch, transformers)}
    about = {"maker": "tests/golden/weight_files.py", "seed": 5, "versions": versions}
    path = FOLDER.with_suffix(".safetensors")
    save_file(expected, path, {"about": json.dumps(about, sort_keys=True)})
    for file in (path, *sorted(FOLDER.iterdir())):
        print(f"{file.relative_to(FOLDER.parent)}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
