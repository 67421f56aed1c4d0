"""What the makers of reference numbers share: a case is a function, its inputs, its output and its gradients."""

import json
import pathlib

import torch
from safetensors.torch import save_file


class Cases:
    """Cases of one file; numbers are in f64, so that they tell a wrong formula from rounding.

    Case NAME has `NAME.ARG` for each input, `NAME.y`, `NAME.dy` (drawn at random) and `NAME.dARG`, the gradient of
    `(y * dy).sum()`, for each float input that is not called fixed.
    """

    def __init__(self, maker, seed):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        self.path = pathlib.Path(maker).with_suffix(".safetensors")
        self.about = {"maker": f"tests/golden/{pathlib.Path(maker).name}", "seed": seed}
        self.tensors = {}

    def add(self, name, f, fixed=(), **inputs):
        """Adds a case: `f` takes the inputs by name."""
        leaves = {}
        for key, x in inputs.items():
            x = x.detach().clone()
            if x.is_floating_point():
                # Numbers that `f32` has too, so that both types see the same input.
                x = x.float().double().requires_grad_(key not in fixed)
            leaves[key] = x
        y = f(**leaves)
        dy = torch.randn(y.shape, dtype=torch.float64)
        (y * dy).sum().backward()
        parts = {"y": y, "dy": dy, **leaves, **{f"d{key}": x.grad for key, x in leaves.items() if x.grad is not None}}
        self.tensors |= {f"{name}.{key}": x.detach().contiguous().clone() for key, x in parts.items()}

    def save(self):
        """Writes the file beside its maker."""
        about = json.dumps({**self.about, "torch": torch.__version__.split("+")[0]}, sort_keys=True)
        save_file(self.tensors, self.path, {"about": about})
        print(f"{self.path.name}: {len(self.tensors)} tensors, {self.path.stat().st_size} bytes")
