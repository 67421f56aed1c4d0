"""Writes torch/: files as PyTorch wrote them in all its formats, and torch.safetensors: what is in them.

Run with PyTorch and safetensors installed: python tests/golden/torch_files.py
"""

import io
import json
import pickle
import struct
import tarfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "torch"
DTYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64,
    "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool,
}
# Candle has no such types; the next that hold all values are these.
WIDER = {torch.int8: torch.int16, torch.bool: torch.uint8, torch.uint16: torch.int32, torch.uint32: torch.int64}

torch.manual_seed(5)
torch.set_num_threads(1)
expected = {}


def state():
    """A small state dict of all types, among them an empty tensor and a number."""
    tensors = OrderedDict((name, (torch.randn(2, 3) * 3).to(dtype)) for name, dtype in DTYPES.items())
    tensors["empty"] = torch.zeros(0, 4)
    tensors["bn.num_batches_tracked"] = torch.tensor(7)
    return tensors


def strided():
    """Views: turned, cut, every other column, one number for all, parts of one storage."""
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return OrderedDict(
        whole=whole, turned=whole.t(), cut=whole[1:3, 2:5], odd=whole[:, 1::2], all=torch.tensor([3.0]).expand(2, 2),
        permuted=torch.arange(24, dtype=torch.int16).reshape(2, 3, 4).permute(2, 0, 1), same=whole,
    )


def checkpoint(prefix):
    """What training scripts save: the state dict in a part, beside the optimiser's state and plain facts."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    tensors = OrderedDict((prefix + name, t) for name, t in model.state_dict().items())
    tensors._metadata = model.state_dict()._metadata
    return {
        "epoch": 24, "arch": "linear", "best": 0.5, "state_dict": tensors, "args": Namespace(lr=0.1),
        "accuracy": torch.tensor(46.75), "optimizer": optimizer.state_dict(),
    }


def note(file, tensors):
    for name, t in tensors.items():
        t = t.detach()
        expected[f"{file}/{name}"] = t.to(WIDER.get(t.dtype, t.dtype)).contiguous().clone()


def save(file, value, tensors, **options):
    torch.save(value, FOLDER / file, **options)
    note(file, tensors)


def refused():
    """What is no tensor of numbers that Candle has, or no state dict."""
    linear, numbers = torch.nn.Linear(1, 1), torch.ones(2, 2)
    torch.save(linear, FOLDER / "model.pt")
    torch.jit.save(torch.jit.trace(linear, torch.ones(1, 1)), FOLDER / "script.pt")
    torch.export.save(torch.export.export(linear, (torch.ones(1, 1),)), FOLDER / "program.pt2")
    for file, tensor in (
        ("complex.pt", numbers.to(torch.complex64)), ("float8.pt", numbers.to(torch.float8_e4m3fn)),
        ("quantized.pt", torch.quantize_per_tensor(numbers, 0.1, 0, torch.qint8)), ("sparse.pt", numbers.to_sparse()),
    ):
        torch.save({"plain": numbers, "odd": tensor}, FOLDER / file)


def save_tar(file, tensors):
    """The format of PyTorch 0.1, which `torch.load` still reads and nothing writes."""
    with tarfile.open(FOLDER / file, "w", format=tarfile.PAX_FORMAT) as tar:

        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        classes = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}
        storages, views, ids = io.BytesIO(), io.BytesIO(), {}
        for t in tensors.values():
            ids.setdefault(t.untyped_storage().data_ptr(), (len(ids) + 100, t))
        pickle.dump(len(ids), storages, 2)
        for key, t in ids.values():
            pickle.dump((key, "cpu", classes[t.dtype]), storages, 2)
            numbers = t.untyped_storage()
            storages.write(struct.pack("<q", len(numbers) // t.element_size()) + bytes(numbers))
        pickle.dump([], storages, 2)
        pickle.dump(len(tensors), views, 2)
        for n, t in enumerate(tensors.values()):
            pickle.dump((n, ids[t.untyped_storage().data_ptr()][0], type(t)), views, 2)
            sizes = [*t.shape, *t.stride(), t.storage_offset()]
            views.write(struct.pack("<ii", t.dim(), 0) + struct.pack(f"<{len(sizes)}q", *sizes))
        add("storages", storages.getvalue())
        add("tensors", views.getvalue())
        keys = list(tensors)

        class Pickler(pickle._Pickler):
            def persistent_id(self, value):
                return str(keys.index(value.name)) if isinstance(value, Named) else None

        class Named:
            def __init__(self, name):
                self.name = name

        data = io.BytesIO()
        Pickler(data, 2).dump(OrderedDict((name, Named(name)) for name in keys))
        add("pickle", data.getvalue())
    loaded = torch.load(FOLDER / file, weights_only=False)
    assert all(torch.equal(loaded[name], t) for name, t in tensors.items())
    note(file, tensors)


def main():
    FOLDER.mkdir(exist_ok=True)
    old = {"_use_new_zipfile_serialization": False}
    tensors = state()
    save("state.pt", tensors, tensors)
    save("state_old.pt", tensors, tensors, **old)
    tensors = strided()
    save("strided.pt", tensors, tensors)
    save("strided_old.pt", tensors, tensors, **old)
    save("protocol4.pt", tensors, tensors, pickle_protocol=4)
    young = {"u16": torch.tensor([1, 65535], dtype=torch.uint16), "u32": torch.tensor([7], dtype=torch.uint32)}
    save("young.pt", young, young)
    for file, prefix, options in [("nested.pt", "module.", {}), ("nested_old.pth.tar", "module._orig_mod.", old)]:
        value = checkpoint(prefix)
        save(file, value, {name.removeprefix(prefix): t for name, t in value["state_dict"].items()}, **options)
    parameters = {"w": torch.nn.Parameter(torch.randn(3)), "b": torch.nn.Buffer(torch.ones(2))}
    save("parameter.pt", {"net": {"layers": parameters}}, parameters)
    refused()
    tensor = torch.randn(2, 2)
    save("tensor.pt", tensor, {"tensor": tensor})
    save("list.pt", [tensor, tensor.t()], {"0": tensor, "1": tensor.t()})
    whole = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    save_tar("tar.pth", OrderedDict(whole=whole, column=whole[:, 1], count=torch.tensor([9])))
    about = {"maker": "tests/golden/torch_files.py", "seed": 5, "torch": torch.__version__.split("+")[0]}
    path = FOLDER.with_suffix(".safetensors")
    save_file(expected, path, {"about": json.dumps(about, sort_keys=True)})
    print(f"{path.name}: {len(expected)} tensors, {path.stat().st_size} bytes")
    for file in sorted(FOLDER.iterdir()):
        print(f"torch/{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
