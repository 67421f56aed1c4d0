"""Writes augment_ops.safetensors: what torchvision makes of a picture of Pillow's, and of a batch.

Affine maps, elastic deformation, greyscale, blur, erasing, the operations of RandAugment, mixup and cutmix.

Run with PyTorch, torchvision, NumPy and safetensors installed: python tests/golden/augment_ops.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

H, W = 17, 19
random = np.random.default_rng(6)
torch.manual_seed(6)
ramp = np.linspace(10, 230, W)[None, :, None] * np.array([1.0, 0.6, 0.3])
noise = random.integers(-60, 60, (H, W, 3))
pixels = np.clip(ramp + noise, 0, 255).astype(np.uint8)
pixels[::6] = pixels[::6, :, :1]
picture = Image.fromarray(pixels)
dull = Image.fromarray((pixels // 3 + 40).astype(np.uint8))

# Angle, translation, scale, shear.
AFFINE = [
    [0.0, [0, 0], 1.0, [0.0, 0.0]],
    [0.0, [3, -2], 1.0, [0.0, 0.0]],
    [0.0, [0, 0], 0.7, [0.0, 0.0]],
    [33.0, [1, 2], 1.3, [0.0, 0.0]],
    [-71.5, [-2, 0], 0.8, [12.0, -7.0]],
]
ANGLES = [0.0, 17.0, -90.0, 133.3]
BLURS = [[3, 0.5], [5, 1.3], [9, 2.0]]
# Top, left, height, width.
ERASED = [[2, 3, 5, 4], [0, 0, 16, 18]]
MAGNITUDES = [9, 22]
FILTERS = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}


def planes(picture):
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())


tensors = {"picture": planes(picture), "dull": planes(dull)}
for name, mode in FILTERS.items():
    for i, (angle, translate, scale, shear) in enumerate(AFFINE):
        moved = F.affine(picture, angle, translate, scale, shear, interpolation=mode)
        tensors[f"affine.{name}.{i}"] = planes(moved)
    for i, angle in enumerate(ANGLES):
        tensors[f"rotate.{name}.{i}"] = planes(F.rotate(picture, angle, interpolation=mode))

# In halves of a side, as torchvision has it.
displacement = (torch.rand(1, H, W, 2) - 0.5) * 0.6
tensors["displacement"] = displacement[0].permute(2, 0, 1).contiguous()
for name, mode in FILTERS.items():
    tensors[f"elastic.{name}"] = F.elastic(planes(picture), displacement, interpolation=mode)

tensors["grey"] = planes(F.rgb_to_grayscale(picture, num_output_channels=3))
for i, (kernel, sigma) in enumerate(BLURS):
    tensors[f"blur.{i}"] = F.gaussian_blur(planes(picture), [kernel, kernel], [sigma, sigma])
for i, (top, left, height, width) in enumerate(ERASED):
    value = torch.tensor([7, 77, 177], dtype=torch.uint8)[:, None, None]
    tensors[f"erase.{i}"] = F.erase(planes(picture), top, left, height, width, value)

operations = v2.RandAugment()
for name, (magnitudes, signed) in operations._AUGMENTATION_SPACE.items():
    known = magnitudes(31, H, W)
    for i, at in enumerate(MAGNITUDES):
        magnitude = 0.0 if known is None else float(known[at])
        # The second magnitude the other way round, where there is one.
        magnitude *= -1 if signed and i == 1 else 1
        moved = operations._apply_image_or_video_transform(
            dull, name, magnitude, interpolation=InterpolationMode.NEAREST, fill={type(dull): None}
        )
        tensors[f"{name}.{i}"] = planes(moved)

batch, labels = torch.randn(4, 2, 5, 6), torch.tensor([2, 0, 1, 2])
tensors["batch"], tensors["labels"] = batch, labels.to(torch.uint8)
mixup, cutmix = v2.MixUp(num_classes=3), v2.CutMix(num_classes=3)
SHARE, BOX = 0.3, [1, 2, 4, 5]  # left, top, right, bottom
SHARE_OUTSIDE = 1.0 - (BOX[2] - BOX[0]) * (BOX[3] - BOX[1]) / (5 * 6)
for name, mix, params in [
    ("mixup", mixup, {"lam": SHARE}),
    ("cutmix", cutmix, {"box": tuple(BOX), "lam_adjusted": SHARE_OUTSIDE}),
]:
    params = {"labels": labels, "batch_size": 4, **params}
    tensors[f"{name}.batch"] = mix.transform(batch, params)
    tensors[f"{name}.labels"] = mix.transform(labels, params)

about = {
    "maker": "tests/golden/augment_ops.py",
    "torchvision": torchvision.__version__.split("+")[0],
    "affine": AFFINE,
    "angles": ANGLES,
    "blurs": BLURS,
    "erased": ERASED,
    "magnitudes": MAGNITUDES,
    "share": SHARE,
    "box": BOX,
}
path = Path(__file__).with_suffix(".safetensors")
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"about": json.dumps(about)})
print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")
