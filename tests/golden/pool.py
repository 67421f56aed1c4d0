"""Reference values of pooling: inputs, options, outputs and gradients, from PyTorch in f64.

Run `python tests/golden/pool.py`; it writes pool.safetensors beside itself.
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SEED = 21
CASES = {
    "max_pool2d": [
        # input, options; "ties" rounds the input, "sparse" makes most of it -inf, "nan" some of it NaN
        ((1, 2, 4, 6), dict(kernel_size=(2, 2))),
        ((1, 2, 5, 5), dict(kernel_size=(2, 2))),
        ((1, 1, 8, 7), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))),
        ((1, 1, 8, 7), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), input="ties")),
        ((1, 1, 8, 7), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), input="sparse")),
        ((1, 1, 8, 7), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), input="nan")),
        ((1, 1, 8, 6), dict(kernel_size=(3, 3), stride=(2, 2), ceil_mode=True)),
        ((1, 1, 7, 6), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True)),
        ((1, 1, 6, 5), dict(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))),
        ((1, 1, 9, 8), dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 1), dilation=(2, 3))),
        ((1, 1, 9, 7), dict(kernel_size=(2, 3), stride=(3, 2), dilation=(3, 2), ceil_mode=True, input="ties")),
        ((1, 1, 7, 9), dict(kernel_size=(2, 1), stride=(3, 4))),
        ((2, 1, 1, 1), dict(kernel_size=(2, 2), ceil_mode=True)),
    ],
    "avg_pool2d": [
        ((1, 2, 4, 6), dict(kernel_size=(2, 2))),
        ((1, 2, 5, 5), dict(kernel_size=(2, 2))),
        ((1, 1, 8, 7), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))),
        ((1, 1, 8, 7), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), count_include_pad=False)),
        ((1, 1, 8, 6), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True)),
        ((1, 1, 8, 6), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True, count_include_pad=False)),
        ((1, 1, 8, 6), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True, divisor_override=5)),
        ((1, 1, 6, 7), dict(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))),
        ((1, 1, 11, 8), dict(kernel_size=(5, 5), stride=(3, 3))),
        ((1, 1, 7, 9), dict(kernel_size=(2, 1), stride=(3, 4))),
        ((2, 1, 1, 1), dict(kernel_size=(2, 2), ceil_mode=True)),
    ],
    "adaptive_avg_pool2d": [
        ((1, 3, 5, 4), dict(output_size=(1, 1))),
        ((1, 1, 7, 10), dict(output_size=(3, 4))),
        ((1, 1, 4, 3), dict(output_size=(6, 5))),
        ((1, 1, 9, 2), dict(output_size=(2, 7))),
    ],
}


def leaf(shape, kind):
    x = torch.randn(shape, dtype=torch.float64)
    chosen = torch.rand(shape)
    if kind == "ties":
        x = x.round()
    if kind == "sparse":
        x = x.masked_fill(chosen < 0.8, -torch.inf)
    if kind == "nan":
        x = x.masked_fill(chosen < 0.15, torch.nan)
    return x.requires_grad_()


def main():
    torch.manual_seed(SEED)
    tensors, options = {}, {}
    for op, cases in CASES.items():
        for n, (shape, kwargs) in enumerate(cases):
            name = f"{op}.{n}"
            x = leaf(shape, kwargs.get("input"))
            y = getattr(F, op)(x, **{key: value for key, value in kwargs.items() if key != "input"})
            dy = torch.randn(y.shape, dtype=torch.float64)
            (dx,) = torch.autograd.grad(y, x, dy)
            tensors |= {f"{name}.x": x.detach(), f"{name}.y": y.detach(), f"{name}.dy": dy, f"{name}.dx": dx}
            options[name] = kwargs
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    meta = {"about": json.dumps({"torch": torch.__version__, "seed": SEED, "options": options}, sort_keys=True)}
    save_file(tensors, Path(__file__).with_suffix(".safetensors"), metadata=meta)


main()
