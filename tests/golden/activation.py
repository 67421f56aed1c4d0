"""Writes activation.safetensors: outputs and gradients of pointwise functions, softmax and losses, from PyTorch.

Run `python tests/golden/activation.py` (needs torch and safetensors) to remake the file; it comes out the same.
Each case NAME has `NAME.x`, `NAME.y`, `NAME.weight` and `NAME.dx`, the gradient of `(y * weight).sum()`; losses
also have `NAME.target` and, where it gets a gradient, `NAME.dtarget`.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SEED = 1
REDUCTIONS = ["mean", "sum", "none"]

torch.manual_seed(SEED)
torch.set_num_threads(1)
tensors = {}


def case(name, f, x, target=None):
    """Adds one case; a float target is differentiated too."""
    x = x.clone().requires_grad_()
    args = [x]
    if target is not None:
        target = target.clone()
        target.requires_grad_(target.is_floating_point())
        args.append(target)
    y = f(*args)
    weight = torch.randn(y.shape)
    (y * weight).sum().backward()
    tensors[f"{name}.x"], tensors[f"{name}.y"] = x.detach(), y.detach()
    tensors[f"{name}.weight"], tensors[f"{name}.dx"] = weight, x.grad
    if target is not None:
        tensors[f"{name}.target"] = target.detach()
        if target.grad is not None:
            tensors[f"{name}.dtarget"] = target.grad


# Every kink, both neighbours of it, both tails, and numbers between.
x = torch.cat([torch.tensor([-90.0, -9.0, -1e-6, 0.0, 1e-6, 5.999999, 6.0, 6.000001, 9.0, 90.0]), 4 * torch.randn(80)])
x = x.reshape(3, 5, 6)
case("relu", F.relu, x)
case("leaky_relu", lambda x: F.leaky_relu(x, 0.2), x)
case("relu6", F.relu6, x)
case("sigmoid", torch.sigmoid, x)
case("tanh", torch.tanh, x)

x = 3 * torch.randn(2, 3, 4, 5)
for axis in range(4):
    case(f"softmax.{axis}", lambda x: F.softmax(x, axis), x)
    case(f"log_softmax.{axis}", lambda x: F.log_softmax(x, axis), x)
x = 30 * torch.randn(2, 37)
case("softmax.row", lambda x: F.softmax(x, 1), x)
case("log_softmax.row", lambda x: F.log_softmax(x, 1), x)

for reduction in REDUCTIONS:
    for shape in [(4, 5), (2, 3, 7), (2, 5, 3, 4)]:
        labels = torch.randint(shape[1], shape[:1] + shape[2:])
        name = f"cross_entropy.{reduction}.rank{len(shape)}"
        case(name, lambda x, t: F.cross_entropy(x, t, reduction=reduction), 3 * torch.randn(shape), labels)

    x, target = torch.randn(3, 5), torch.randn(3, 5)
    case(f"mse.{reduction}", lambda x, t: F.mse_loss(x, t, reduction=reduction), x, target)

    x = torch.cat([torch.tensor([0.0, 100.0, -100.0, 1000.0, -1000.0]), 5 * torch.randn(10)]).reshape(3, 5)
    target = torch.cat([torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]), torch.rand(10)]).reshape(3, 5)
    bce = lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction=reduction)
    case(f"bce_with_logits.{reduction}", bce, x, target)

version = torch.__version__.split("+")[0]
path = pathlib.Path(__file__).with_suffix(".safetensors")
save_file(tensors, path, {"source": f"tests/golden/activation.py, torch {version}, seed {SEED}"})
print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
