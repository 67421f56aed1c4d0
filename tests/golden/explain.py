"""Writes explain.safetensors: images, and where in them the zoo's small networks looked, by Grad-CAM as its paper has it.

Run `python tests/golden/explain.py` with PyTorch and safetensors installed.
"""
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from zoo import MODELS, batches, start


def grad_cam(model, image, label):
    """Selvaraju et al. 2017, equations 1 and 2, over the last map of features."""
    maps = []
    features = model.features

    def kept(x):
        found = features(x)
        found[-1].retain_grad()
        maps.append(found[-1])
        return found

    model.features = kept
    model(image)[0, label].backward()
    weights = maps[0].grad.mean((2, 3), keepdim=True)
    return (weights * maps[0]).sum(1).relu()[0].detach()


def main():
    torch.set_num_threads(1)
    images, labels = next(batches())
    tensors = {}
    for name in ("cnn", "lenet5", "lenet5_relu"):
        # Some class whose map is not all zeros.
        for n in range(len(images)):
            cam = grad_cam(start(MODELS[name]), images[n : n + 1], labels[n])
            if cam.max() > 0:
                break
        tensors |= {f"{name}.image": images[n : n + 1].clone(), f"{name}.class": labels[n].clone(), f"{name}.cam": cam}
    about = {"maker": "tests/golden/explain.py", "torch": torch.__version__.split("+")[0]}
    path = Path(__file__).with_name("explain.safetensors")
    save_file(tensors, path, {"about": json.dumps(about, sort_keys=True)})
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
