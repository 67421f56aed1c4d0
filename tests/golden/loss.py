"""Writes loss.safetensors: losses of elements and their gradients, from PyTorch in f64.

Run `python tests/golden/loss.py` (needs torch and safetensors) to remake the file; it comes out the same.
"""

import torch
import torch.nn.functional as F
from cases import Cases

REDUCTIONS = ["mean", "sum", "none"]
cases = Cases(__file__, seed=32)


def distribution(*shape, axis=1):
    return F.softmax(torch.randn(shape), axis)


def elementwise():
    shape = (3, 4)
    for r in REDUCTIONS:
        x, target = 2 * torch.randn(shape), torch.randn(shape)
        target[0, 0] = x[0, 0]
        cases.add(f"mse.{r}", lambda x, target: F.mse_loss(x, target, reduction=r), x=x, target=target)
        cases.add(f"l1.{r}", lambda x, target: F.l1_loss(x, target, reduction=r), x=x, target=target)
        cases.add(f"huber.{r}", lambda x, target: F.huber_loss(x, target, reduction=r, delta=0.7), x=x, target=target)
        smooth = lambda x, target: F.smooth_l1_loss(x, target, reduction=r, beta=0.7)
        cases.add(f"smooth_l1.{r}", smooth, x=x, target=target)
        x, target = torch.rand(shape), torch.rand(shape)
        x[0], target[0] = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
        fixed = ["target"]  # whose gradient is infinite
        cases.add(f"bce.{r}", lambda x, target: F.binary_cross_entropy(x, target, reduction=r), fixed, x=x, target=target)
        x, target = torch.rand(shape), torch.rand(shape)
        cases.add(f"bce.inside.{r}", lambda x, target: F.binary_cross_entropy(x, target, reduction=r), x=x, target=target)

        x = torch.cat([torch.tensor([0.0, 100.0, -100.0, 1000.0]), 5 * torch.randn(8)]).reshape(shape)

        def bce(x, target, weight=None, pos_weight=None):
            return F.binary_cross_entropy_with_logits(x, target, weight, reduction=r, pos_weight=pos_weight)

        fixed = ["weight", "pos_weight"]
        weight, pos_weight = torch.rand(3, 1), 3 * torch.rand(4)
        cases.add(f"bce_with_logits.{r}", bce, x=x, target=target)
        cases.add(f"bce_with_logits.weight.{r}", bce, fixed, x=x, target=target, weight=weight)
        cases.add(f"bce_with_logits.pos_weight.{r}", bce, fixed, x=x, target=target, pos_weight=pos_weight)
        cases.add(f"bce_with_logits.both.{r}", bce, fixed, x=x, target=target, weight=weight, pos_weight=pos_weight)
    for r in [*REDUCTIONS, "batchmean"]:
        x, target = distribution(*shape).log(), distribution(*shape)
        cases.add(f"kl_div.{r}", lambda x, target: F.kl_div(x, target, reduction=r), x=x, target=target)
        logarithms = lambda x, target: F.kl_div(x, target, reduction=r, log_target=True)
        cases.add(f"kl_div.log.{r}", logarithms, x=x, target=target.log())


elementwise()
cases.save()
