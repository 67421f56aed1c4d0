"""Writes cross_entropy.safetensors: cross-entropy of labels and of probabilities, and negative log-likelihood, from PyTorch in f64.

Run `python tests/golden/cross_entropy.py` (needs torch and safetensors) to remake the file; it comes out the same.
"""

import torch
import torch.nn.functional as F
from cases import Cases

REDUCTIONS = ["mean", "sum", "none"]
cases = Cases(__file__, seed=31)


def distribution(*shape, axis=1):
    return F.softmax(torch.randn(shape), axis)


def cross_entropies():
    for rank, shape in [(2, (3, 4)), (3, (2, 3, 2))]:
        labels = torch.randint(shape[1], shape[:1] + shape[2:])
        labels.view(-1)[1] = 1
        for reduction in REDUCTIONS:
            for weighted in [False, True]:
                for smoothing in [0.0, 0.2]:
                    name = f"{reduction}.{rank}.{'w' if weighted else '-'}.{'s' if smoothing else '-'}"
                    options = dict(reduction=reduction, label_smoothing=smoothing)
                    weight = dict(weight=torch.rand(shape[1])) if weighted else {}
                    x = 2 * torch.randn(shape)

                    def hard(x, target, weight=None):
                        return F.cross_entropy(x, target, weight, ignore_index=1, **options)

                    def soft(x, target, weight=None):
                        return F.cross_entropy(x, target, weight, **options)

                    cases.add(f"cross_entropy.{name}", hard, fixed=["weight"], x=x, target=labels, **weight)
                    target = distribution(*shape)
                    cases.add(f"cross_entropy.soft.{name}", soft, fixed=["weight"], x=x, target=target, **weight)
                nll = lambda x, target, weight=None: F.nll_loss(x, target, weight, ignore_index=1, reduction=reduction)
                name = f"nll_loss.{reduction}.{rank}.{'w' if weighted else '-'}"
                cases.add(name, nll, fixed=["weight"], x=torch.randn(shape), target=labels, **weight)


cross_entropies()
cases.save()
