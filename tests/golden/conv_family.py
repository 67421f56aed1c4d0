"""Writes conv_family.safetensors: one-dimensional, transposed, depthwise and unevenly padded convolutions, from PyTorch.

Run `python tests/golden/conv_family.py` (needs torch and safetensors) to remake the file; it comes out the same.
"""

import torch
import torch.nn.functional as F

from cases import Cases

cases = Cases(__file__, 31)


def normal(*shape):
    return torch.randn(shape)


# Of each: input, weight, options. The tests have the same tables, in the same order.
CONV1D = [
    ((2, 2, 6), (3, 2, 3), dict()),
    ((1, 4, 9), (4, 2, 5), dict(stride=2, padding=2, groups=2)),
    ((1, 3, 9), (6, 1, 3), dict(padding=4, dilation=4, groups=3)),
]
CONV_TRANSPOSE1D = [
    ((2, 3, 5), (3, 2, 3), dict()),
    ((2, 4, 4), (4, 3, 4), dict(stride=2, padding=1, groups=2)),
    ((1, 2, 5), (2, 3, 3), dict(stride=3, output_padding=2, dilation=2)),
]
CONV_TRANSPOSE2D = [
    ((2, 2, 3, 4), (2, 2, 3, 3), dict()),
    ((1, 2, 4, 3), (2, 3, 4, 4), dict(stride=2, padding=1)),
    ((1, 2, 3, 3), (2, 2, 3, 2), dict(stride=(2, 3), padding=(1, 0), output_padding=(1, 2))),
    ((2, 4, 3, 3), (4, 1, 3, 3), dict(stride=(2, 1), padding=(2, 1), groups=2)),
    ((1, 2, 4, 3), (2, 2, 2, 3), dict(dilation=(3, 2), padding=(1, 2), output_padding=(2, 1))),
    ((1, 1, 2, 2), (1, 1, 8, 8), dict(stride=4, padding=2)),
]
DEPTHWISE = [
    ((2, 2, 7, 7), (2, 1, 3, 3), dict(padding=1)),
    ((2, 2, 7, 6), (2, 1, 3, 3), dict(padding=1, stride=2)),
    ((1, 1, 6, 7), (2, 1, 5, 5), dict(padding=2)),
    ((1, 1, 7, 20), (1, 1, 5, 5), dict(padding=2, stride=2)),
    ((1, 2, 6, 8), (4, 1, 2, 3), dict(padding=(1, 0), stride=(1, 3), dilation=(3, 2))),
]
# Zeros before and after each axis, height first.
UNEVEN = [
    ((1, 2, 5, 6), (3, 2, 3, 3), ((0, 1), (2, 0)), dict()),
    ((1, 2, 6, 6), (2, 1, 3, 3), ((0, 1), (0, 1)), dict(stride=2, groups=2)),
]

for name, table, f in [
    ("conv1d", CONV1D, F.conv1d),
    ("conv_transpose1d", CONV_TRANSPOSE1D, F.conv_transpose1d),
    ("conv_transpose2d", CONV_TRANSPOSE2D, F.conv_transpose2d),
    ("depthwise", DEPTHWISE, lambda x, w, b, groups=None, **options: F.conv2d(x, w, b, groups=x.shape[1], **options)),
]:
    for n, (x, w, options) in enumerate(table):
        c_out = w[1] * options.get("groups", 1) if "transpose" in name else w[0]
        cases.add(
            f"{name}.{n}",
            lambda x, w, b, f=f, options=options: f(x, w, b, **options),
            x=normal(*x),
            w=normal(*w),
            b=normal(c_out),
        )

for n, (x, w, ((top, bottom), (left, right)), options) in enumerate(UNEVEN):
    cases.add(
        f"uneven.{n}",
        lambda x, w, pad=(left, right, top, bottom), options=options: F.conv2d(F.pad(x, pad), w, **options),
        x=normal(*x),
        w=normal(*w),
    )
cases.add(
    "causal",
    lambda x, w: F.conv1d(F.pad(x, (4, 0)), w, dilation=2),
    x=normal(2, 2, 7),
    w=normal(3, 2, 3),
)

cases.save()
