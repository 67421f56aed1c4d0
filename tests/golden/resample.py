"""Reference values of interpolation and rotary embeddings: inputs, outputs and gradients, from PyTorch in f64.

Run `python tests/golden/resample.py`; it writes resample.safetensors beside itself.
"""

import torch
import torch.nn.functional as F
from cases import Cases

HOW = {
    "nearest": dict(mode="nearest"),
    "nearest_exact": dict(mode="nearest-exact"),
    "bilinear": dict(mode="bilinear"),
    "bilinear_corners": dict(mode="bilinear", align_corners=True),
    "bilinear_antialiased": dict(mode="bilinear", antialias=True),
    "bicubic": dict(mode="bicubic"),
    "bicubic_corners": dict(mode="bicubic", align_corners=True),
    "bicubic_antialiased": dict(mode="bicubic", antialias=True),
}
# Height and width before and after: growing and shrinking, by whole factors and others, down to one pixel.
SIZES = [((3, 4), (6, 8)), ((5, 3), (7, 10)), ((9, 7), (4, 3)), ((4, 9), (7, 2)), ((3, 2), (1, 1))]

cases = Cases(__file__, seed=29)
for name, options in HOW.items():
    for before, after in SIZES:
        (h, w), (i, j) = before, after
        cases.add(
            f"{name}.{h}x{w}.{i}x{j}",
            lambda x: F.interpolate(x, size=after, **options),
            x=torch.randn(1, 1, h, w),
        )
# Where rounding decides which pixel is nearest: 2 to 82 differs from exact arithmetic.
cases.add("nearest.1x2.1x82", lambda x: F.interpolate(x, size=(1, 82)), x=torch.randn(1, 1, 1, 2))


def halves(x, cos, sin):
    """As LLaMA of Hugging Face: the halves swapped, one negated."""
    a, b = x.chunk(2, dim=-1)
    return x * torch.cat((cos, cos), -1) + torch.cat((-b, a), -1) * torch.cat((sin, sin), -1)


def interleaved(x, cos, sin):
    """As LLaMA of Meta: each pair is a complex number."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.complex(cos, sin)
    return torch.view_as_real(pairs).flatten(-2)


for name, rotate in {"halves": halves, "interleaved": interleaved}.items():
    angles = torch.arange(3)[:, None] * 100 ** (-torch.arange(3) / 3)
    inputs = dict(x=torch.randn(2, 2, 3, 6), cos=angles.cos(), sin=angles.sin())
    cases.add(f"rotary.{name}", rotate, fixed=("cos", "sin"), **inputs)
    cases.add(f"rotary.{name}.trained", rotate, **inputs)
cases.save()
