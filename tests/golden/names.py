"""Writes names.safetensors and names_mobilenet.safetensors: how timm and transformers call the parameters of networks, and
their shapes.

Run with PyTorch, timm, transformers (version 4, whose names are those of the files on the hub) and safetensors installed:
python tests/golden/names.py
"""

import json
from pathlib import Path

import timm
import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    MobileNetV1Config,
    MobileNetV1ForImageClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

MOBILENETS = {
    "mobilenet_v1": {
        "transformers": lambda: MobileNetV1ForImageClassification(MobileNetV1Config(num_labels=1000)),
    },
    "mobilenet_v2": {
        "timm": lambda: timm.create_model("mobilenetv2_100"),
        "transformers": lambda: MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=1000)),
    },
}
MODELS = {
    "vit_b_16": {
        "timm": lambda: timm.create_model("vit_base_patch16_224"),
        "transformers": lambda: ViTForImageClassification(ViTConfig(num_labels=1000)),
    },
    "deit_t_16_distilled": {"timm": lambda: timm.create_model("deit_tiny_distilled_patch16_224")},
    "resnet18": {
        "transformers": lambda: ResNetForImageClassification(
            ResNetConfig(
                hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=1000,
            )
        ),
    },
    "vgg11_bn": {"timm": lambda: timm.create_model("vgg11_bn")},
    "vgg16": {"timm": lambda: timm.create_model("vgg16")},
    "resnet50": {"transformers": lambda: ResNetForImageClassification(ResNetConfig(num_labels=1000))},
}


def shapes(build):
    with torch.device("meta"):
        return {name: list(t.shape) for name, t in build().state_dict().items()}


def write(file, models):
    names = {model: {library: shapes(build) for library, build in of.items()} for model, of in models.items()}
    versions = {"timm": timm.__version__, "transformers": transformers.__version__}
    about = {"maker": "tests/golden/names.py", "versions": versions, "names": names}
    path = Path(__file__).with_name(f"{file}.safetensors")
    save_file({}, path, {"about": json.dumps(about, sort_keys=True, separators=(",", ":"))})
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    write("names", MODELS)
    write("names_mobilenet", MOBILENETS)
