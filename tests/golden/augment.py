"""Writes augment.safetensors: what torchvision makes of a picture of Pillow's, colours and sizes.

Run with PyTorch, torchvision, NumPy and safetensors installed: python tests/golden/augment.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

random = np.random.default_rng(30)
# Soft colours with sharp edges, and every sixth row grey.
ramp = np.linspace(0, 255, 30)[None, :, None] * np.array([1.0, 0.6, 0.2])
noise = random.integers(-90, 90, (24, 30, 3))
pixels = np.clip(ramp + noise, 0, 255).astype(np.uint8)
pixels[::6] = pixels[::6, :, :1]
picture = Image.fromarray(pixels)

FACTORS = {
    "brightness": (F.adjust_brightness, [0.3, 0.77, 1.4]),
    "contrast": (F.adjust_contrast, [0.0, 0.6, 1.7]),
    "saturation": (F.adjust_saturation, [0.0, 0.45, 1.9]),
    "hue": (F.adjust_hue, [-0.5, -0.13, 0.02, 0.31]),
}
SIZES = [[13, 17], [11, 40], [60, 9], [36, 31]]


def planes(picture):
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())


def resize(picture, size, mode):
    """Rows, then columns: in one call Pillow 13 takes columns first where a picture loses much more of its height."""
    return F.resize(F.resize(picture, [picture.height, size[1]], mode), size, mode)


tensors = {"picture": planes(picture)}
for name, (function, factors) in FACTORS.items():
    for i, factor in enumerate(factors):
        tensors[f"{name}.{i}"] = planes(function(picture, factor))
for i, size in enumerate(SIZES):
    tensors[f"bilinear.{i}"] = planes(resize(picture, size, InterpolationMode.BILINEAR))
    tensors[f"bicubic.{i}"] = planes(resize(picture, size, InterpolationMode.BICUBIC))
    tensors[f"nearest.{i}"] = planes(F.resize(picture, size, InterpolationMode.NEAREST))
about = {
    "maker": "tests/golden/augment.py",
    "torchvision": torchvision.__version__.split("+")[0],
    "factors": {name: factors for name, (_, factors) in FACTORS.items()},
    "sizes": SIZES,
}
path = Path(__file__).with_suffix(".safetensors")
save_file(tensors, path, {"about": json.dumps(about, sort_keys=True)})
print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")
