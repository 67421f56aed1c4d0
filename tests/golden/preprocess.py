"""What Pillow and torchvision make of pictures: of small files in every format, of a drawn picture resized each way, and of
the photos in NN_DATA_DIR, of which only a few pixels are kept.

Run `NN_DATA_DIR=… python tests/golden/preprocess.py`; it writes formats.safetensors and preprocess.safetensors beside itself.
"""

import io
import json
import os
import pathlib

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

# Shorter side, crop, interpolation: as they are, smaller, larger, and with a border.
PRESETS = [(256, 224, "bilinear"), (232, 224, "bilinear"), (248, 224, "bicubic"), (96, 80, "bilinear"), (64, 70, "bicubic")]
# Pixels kept of a result.
KEPT = 40


def drawn(height, width):
    """A picture that any language can draw: every channel a ripple of its own."""
    y, x, c = np.mgrid[:height, :width, :3]
    return Image.fromarray(((3 * x * x + 5 * y * y + 7 * (c + 1) * x * y + 50 * c) // 16 % 256).astype(np.uint8))


def square(image, shorter, crop, interpolation):
    """As `torchvision.transforms._presets.ImageClassification`, up to the conversion to numbers: `[crop, crop, 3]`."""
    image = F.resize(image, [shorter], InterpolationMode(interpolation), antialias=True)
    return torch.from_numpy(np.array(F.center_crop(image, [crop])))


def sketch(pixels):
    """Pixels here and there, `[KEPT, 3]`."""
    pixels = pixels.reshape(-1, 3)
    return pixels[torch.arange(KEPT) * 7919 % len(pixels)]


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def formats():
    """Files by name; the exact ones must be read to the bit."""
    image = drawn(19, 27)
    turned = Image.Exif()
    turned[0x112] = 6
    deep = np.array(image.resize((15, 9))).astype(np.uint16) * 257 + 100
    return {
        "jpeg_444": encoded(image, "JPEG", quality=85, subsampling=0),
        "jpeg_422": encoded(image, "JPEG", quality=85, subsampling=1),
        "jpeg_420": encoded(image, "JPEG", quality=85, subsampling=2),
        "jpeg_progressive": encoded(image, "JPEG", quality=60, progressive=True),
        "jpeg_restarts": encoded(image, "JPEG", quality=60, restart_marker_blocks=1),
        "jpeg_turned": encoded(image, "JPEG", quality=85, exif=turned),
        "jpeg_grey": encoded(image.convert("L"), "JPEG", quality=85),
        "jpeg_rgb": encoded(image, "JPEG", quality=60, keep_rgb=True),
        "jpeg_cmyk": encoded(image.convert("CMYK"), "JPEG", quality=60),
        "png_palette": encoded(image.quantize(13), "PNG"),
        "png_black_and_white": encoded(image.convert("1"), "PNG"),
        "png_16": png_16(deep),
        "gif": encoded(image.quantize(13), "GIF", save_all=True, append_images=[image.transpose(0).quantize(5)]),
        "bmp": encoded(image.resize((9, 7)), "BMP"),
        "webp_lossless": encoded(image.resize((9, 7)), "WEBP", lossless=True),
        "webp_lossy": encoded(image, "WEBP", quality=80),
    }


def png_16(pixels):
    """Pillow writes no colours of sixteen bits."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def save(name, tensors, about):
    path = pathlib.Path(__file__).with_name(f"{name}.safetensors")
    versions = {"maker": "tests/golden/preprocess.py", "pillow": PIL.__version__, "torchvision": torchvision.__version__.split("+")[0]}
    save_file(tensors, path, {"about": json.dumps(versions | about, sort_keys=True)})
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def main():
    tensors = {}
    for name, file in formats().items():
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
        tensors[f"{name}.file"] = torch.frombuffer(bytearray(file), dtype=torch.uint8)
        tensors[f"{name}.pixels"] = torch.from_numpy(np.array(image))
    save("formats", tensors, {})

    folder = pathlib.Path(os.environ["NN_DATA_DIR"])
    photos = sorted([*folder.glob("photos/*.jpg"), *folder.glob("imagenet-sample/*.JPEG")])
    images = [drawn(61, 83), drawn(83, 61)] + [Image.open(path).convert("RGB") for path in photos]
    squares = [torch.stack([sketch(square(image, *preset)) for image in images]) for preset in PRESETS]
    names = [str(path.relative_to(folder)) for path in photos]
    save("preprocess", {"squares": torch.stack(squares)}, {"presets": PRESETS, "photos": names})


if __name__ == "__main__":
    main()
