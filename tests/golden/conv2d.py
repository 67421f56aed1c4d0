"""Reference values of convolutions and linear layers: inputs, options, outputs and gradients, from PyTorch in f64.

Run `python tests/golden/conv2d.py`; it writes conv2d.safetensors beside itself.
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

CASES = [
    # input, weight, bias, options
    ((1, 3, 7, 6), (4, 3, 3, 2), True, dict(stride=(2, 1), padding=(1, 0))),
    ((1, 4, 7, 8), (4, 2, 3, 3), True, dict(padding=(2, 2), dilation=(2, 2), groups=2)),
    ((1, 3, 6, 5), (6, 1, 3, 3), False, dict(stride=(2, 2), padding=(1, 1), groups=3)),
    ((2, 1, 8, 7), (3, 1, 5, 5), True, dict()),
    ((2, 5, 3, 4), (3, 5, 1, 1), True, dict()),
    ((1, 2, 9, 8), (2, 2, 7, 7), False, dict(stride=(2, 2), padding=(3, 3))),
    ((3, 2, 4, 4), (5, 2, 4, 4), True, dict()),
    ((1, 2, 7, 6), (3, 2, 3, 3), True, dict(padding="same")),
]
SAME_STRIDED = [
    # TensorFlow's SAME with a stride: zeros go after where their number is odd.
    ((1, 2, 8, 7), (3, 2, 3, 3), (2, 2)),
]


def record(tensors, name, inputs, y):
    dy = torch.randn(y.shape, dtype=torch.float64)
    grads = torch.autograd.grad(y, list(inputs.values()), dy)
    tensors[f"{name}.y"], tensors[f"{name}.dy"] = y.detach(), dy
    for (key, value), grad in zip(inputs.items(), grads):
        tensors[f"{name}.{key}"], tensors[f"{name}.d{key}"] = value.detach(), grad


def main():
    torch.manual_seed(20)
    tensors, options = {}, {}
    leaf = lambda *shape: torch.randn(shape, dtype=torch.float64, requires_grad=True)
    for n, (x, w, bias, kwargs) in enumerate(CASES):
        inputs = {"x": leaf(*x), "w": leaf(*w)} | ({"b": leaf(w[0])} if bias else {})
        y = F.conv2d(inputs["x"], inputs["w"], inputs.get("b"), **kwargs)
        record(tensors, f"conv{n}", inputs, y)
        options[f"conv{n}"] = kwargs
    for x, w, stride in SAME_STRIDED:
        name = f"conv{len(options)}"
        inputs = {"x": leaf(*x), "w": leaf(*w)}
        pads = []
        for size, kernel, step in reversed(list(zip(x[2:], w[2:], stride))):
            total = max((-(-size // step) - 1) * step + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        y = F.conv2d(F.pad(inputs["x"], pads), inputs["w"], stride=stride)
        record(tensors, name, inputs, y)
        options[name] = dict(stride=stride, padding="same")
    for n, (x, w) in enumerate([((5, 4), (3, 4)), ((2, 3, 4), (2, 4))]):
        inputs = {"x": leaf(*x), "w": leaf(*w), "b": leaf(w[0])}
        record(tensors, f"linear{n}", inputs, F.linear(*inputs.values()))
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    meta = {"about": json.dumps({"torch": torch.__version__, "seed": 20, "options": options}, sort_keys=True)}
    save_file(tensors, Path(__file__).with_suffix(".safetensors"), metadata=meta)


main()
