"""Writes weights/: arrays of NumPy, models of ONNX and weights in shards as their libraries write them, and weights.safetensors:
what is in them.

Run with PyTorch, NumPy, ONNX, timm, transformers and safetensors installed: python tests/golden/weight_files.py
"""

import json
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import timm
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

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
    for version in (2, 3):
        with open(FOLDER / f"header{version}.npy", "wb") as file:
            np.lib.format.write_array(file, arrays["f4"], version=(version, 0))
        note(f"header{version}.npy", {"tensor": arrays["f4"]})
    np.save(FOLDER / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(FOLDER / "records.npy", np.zeros(2, [("a", "f4"), ("b", "i4")]))
    np.save(FOLDER / "complex.npy", np.ones(2, "c8"))
    np.savez(FOLDER / "words.npz", numbers=arrays["f4"], words=np.array(["a", "b"]))


def onnx_model(tensors, sparse=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    node = helper.make_node("Identity", ["x"], ["y"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([node], "net", [x], [y], initializer=tensors, sparse_initializer=sparse)
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
    halves = torch.tensor([1.5, -2.25, 3e38]).to(torch.bfloat16)
    raw = numpy_helper.from_array(halves.float().numpy().astype(ml_dtypes.bfloat16), "raw")
    typed = helper.make_tensor("typed", TensorProto.BFLOAT16, [3], halves.float().tolist())
    onnx.save(onnx_model([raw, typed]), FOLDER / "bf16.onnx")
    expected.update({f"bf16.onnx/{name}": halves.clone() for name in ("raw", "typed")})
    onnx.save(onnx_model([helper.make_tensor("odd", TensorProto.FLOAT8E4M3FN, [1], [1.0])]), FOLDER / "float8.onnx")
    place = helper.make_tensor("places", TensorProto.INT64, [1], [1])
    sparse = helper.make_sparse_tensor(helper.make_tensor("numbers", TensorProto.FLOAT, [1], [3.0]), place, [4])
    onnx.save(onnx_model([], [sparse]), FOLDER / "sparse.onnx")
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
    for file, safe in (("model.safetensors", True), ("pytorch_model.bin", False)):
        model.save_pretrained(FOLDER, max_shard_size=600, safe_serialization=safe)
        note(f"{file}.index.json", {name: t.numpy() for name, t in model.state_dict().items()})
    (FOLDER / "config.json").unlink()


def safetensors():
    dtypes = (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint32, torch.uint16, torch.uint8, torch.bool,
    )
    wider = {torch.int8: torch.int16, torch.bool: torch.uint8, torch.uint16: torch.int32, torch.uint32: torch.int64}
    tensors = {str(dtype).removeprefix("torch."): torch.tensor([[0, 1, 77]]).to(dtype) for dtype in dtypes}
    save_file(tensors, FOLDER / "types.safetensors", {"format": "pt", "note": "in quotes: \"\u00e9\""})
    expected.update({f"types.safetensors/{name}": t.to(wider.get(t.dtype, t.dtype)) for name, t in tensors.items()})
    for name, dtype in (("float8", torch.float8_e4m3fn), ("complex", torch.complex64)):
        save_file({"odd": torch.ones(1).to(dtype)}, FOLDER / f"{name}.safetensors")
    torch.manual_seed(5)
    sizes = {"embed_dim": 4, "depth": 1, "num_heads": 1, "img_size": 4, "patch_size": 2, "num_classes": 2}
    model = timm.create_model("vit_tiny_patch16_224", **sizes)
    folder = FOLDER / "timm"
    timm.models.save_for_hf(model, folder, safe_serialization="both")
    for theirs, file in (("model.safetensors", "timm.safetensors"), ("pytorch_model.bin", "timm.bin")):
        (folder / theirs).rename(FOLDER / file)
        note(file, {name: t.numpy() for name, t in model.state_dict().items()})
    (folder / "config.json").unlink()
    folder.rmdir()


def main():
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.iterdir():
        file.unlink()
    numpy()
    onnx_files()
    shards()
    safetensors()
    libraries = (np, onnx, timm, torch, transformers)
    versions = {library.__name__: library.__version__.split("+")[0] for library in libraries}
    about = {"maker": "tests/golden/weight_files.py", "seed": 5, "versions": versions}
    path = FOLDER.with_suffix(".safetensors")
    as_tensors = {name: torch.as_tensor(value) for name, value in expected.items()}
    save_file(as_tensors, path, {"about": json.dumps(about, sort_keys=True)})
    for file in (path, *sorted(FOLDER.iterdir())):
        print(f"{file.relative_to(FOLDER.parent)}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
