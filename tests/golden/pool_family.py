"""Reference values of pooling of sequences, adaptive pooling and global pooling, from PyTorch.

Run `python tests/golden/pool_family.py`; it writes pool_family.safetensors beside itself. The options are those of
`crates/nn-core/tests/golden_pool_family.rs`.
"""

import torch
import torch.nn.functional as F

from cases import Cases

# Shape; kernel, stride, padding, dilation, rounding up.
MAX_POOL1D = [
    ((2, 3, 9), (2, 2, 0, 1, False)),
    ((1, 2, 12), (3, 2, 1, 1, True)),
    ((1, 2, 12), (3, 1, 1, 3, False)),
]
# Shape; kernel, stride, padding, rounding up, padding counts.
AVG_POOL1D = [
    ((2, 3, 9), (2, 2, 0, False, True)),
    ((1, 2, 12), (3, 2, 1, True, True)),
    ((1, 2, 12), (5, 1, 2, False, False)),
]
ADAPTIVE1D = [((2, 3, 9), 1), ((1, 2, 11), 4), ((1, 2, 3), 5)]
ADAPTIVE2D = [((2, 2, 7, 5), (1, 1)), ((1, 2, 13, 10), (6, 7)), ((1, 2, 3, 20), (5, 3)), ((1, 1, 8, 24), (1, 1))]


def ties(x):
    """Numbers of which many are equal, at least one of each plane NaN."""
    x = x.round()
    x[..., 1, 2] = torch.nan
    x[..., 2, 0] = torch.nan
    return x


def main():
    cases = Cases(__file__, 22)
    for n, (shape, (kernel, stride, padding, dilation, ceil)) in enumerate(MAX_POOL1D):
        f = lambda x: F.max_pool1d(x, kernel, stride, padding, dilation, ceil)
        cases.add(f"max_pool1d.{n}", f, x=torch.randn(shape))
    for n, (shape, (kernel, stride, padding, ceil, counts)) in enumerate(AVG_POOL1D):
        f = lambda x: F.avg_pool1d(x, kernel, stride, padding, ceil, counts)
        cases.add(f"avg_pool1d.{n}", f, x=torch.randn(shape))
    for n, (shape, bins) in enumerate(ADAPTIVE1D):
        cases.add(f"adaptive_avg_pool1d.{n}", lambda x: F.adaptive_avg_pool1d(x, bins), x=torch.randn(shape))
        cases.add(f"adaptive_max_pool1d.{n}", lambda x: F.adaptive_max_pool1d(x, bins), x=torch.randn(shape))
    for n, (shape, bins) in enumerate(ADAPTIVE2D):
        f = lambda x: F.adaptive_max_pool2d(x, bins)
        cases.add(f"adaptive_max_pool2d.{n}", f, x=torch.randn(shape))
        cases.add(f"adaptive_max_pool2d.ties.{n}", f, x=torch.randn(shape).round())
    x = ties(torch.randn(2, 2, 5, 6))
    y, places = F.adaptive_max_pool2d(x, (2, 2), return_indices=True)
    cases.tensors |= {"nan.x": x.double(), "nan.y": y.double(), "nan.places": places}
    cases.add("global_avg_pool", lambda x: x.mean((2, 3, 4)), x=torch.randn(2, 3, 2, 4, 3))
    cases.add("global_max_pool", lambda x: F.adaptive_max_pool2d(x, 1).flatten(1), x=torch.randn(2, 3, 5, 7))
    cases.save()


main()
