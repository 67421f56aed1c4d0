"""Writes vector_loss.safetensors: losses of vectors and of sequences, and their gradients, from PyTorch in f64.

Run `python tests/golden/vector_loss.py` (needs torch and safetensors) to remake the file; it comes out the same.
"""

import torch
import torch.nn.functional as F
from cases import Cases

REDUCTIONS = ["mean", "sum", "none"]
cases = Cases(__file__, seed=33)


def vectors():
    for dim in range(3):
        a, b = torch.randn(2, 3, 4), torch.randn(3, 1)
        cases.add(f"cosine_similarity.{dim}", lambda a, b: F.cosine_similarity(a, b, dim), a=a, b=b)
    a, b = torch.randn(2, 4), torch.randn(2, 4)
    a[0] = 0
    cases.add("cosine_similarity.zeros", lambda a, b: F.cosine_similarity(a, b, 1), a=a, b=b)
    sides = torch.tensor([1, -1, -1, 1, -1])
    for r in REDUCTIONS:
        embedding = lambda a, b, target: F.cosine_embedding_loss(a, b, target, margin=0.1, reduction=r)
        cases.add(f"cosine_embedding_loss.{r}", embedding, a=torch.randn(5, 4), b=torch.randn(5, 4), target=sides)
        for p in [1.0, 2.0, 3.5, float("inf")]:
            for swap in [False, True]:
                if r != "none" and p != 2:
                    continue
                name = f"triplet_margin_loss.{r}.{p}.{'swap' if swap else '-'}"
                triplet = lambda a, p_, n: F.triplet_margin_loss(a, p_, n, 1.5, p, swap=swap, reduction=r)
                a, p_, n = torch.randn(3, 4, 5)
                cases.add(name, triplet, a=a, p_=p_, n=n)


def sequences():
    targets = torch.tensor([[1, 2, 2], [3, 0, 0], [0, 0, 0], [2, 1, 2]])
    frames, lengths = torch.tensor([6, 2, 5, 3]), torch.tensor([3, 1, 0, 3])
    joined = torch.tensor([1, 2, 2, 3, 2, 1, 2])
    impossible = torch.tensor([6, 0, 5, 2])
    for r in REDUCTIONS:
        # After a log-softmax, where the two conventions of the gradient agree.
        def ctc(x, targets, frames, lengths, zero_infinity=False):
            return F.ctc_loss(F.log_softmax(x, -1), targets, frames, lengths, 0, r, zero_infinity)

        x = torch.randn(6, 4, 4)
        cases.add(f"ctc_loss.{r}", ctc, x=x, targets=targets, frames=frames, lengths=lengths)
        cases.add(f"ctc_loss.joined.{r}", ctc, x=x, targets=joined, frames=frames, lengths=lengths)
        zero = lambda **inputs: ctc(**inputs, zero_infinity=True)
        cases.add(f"ctc_loss.impossible.{r}", zero, x=x, targets=targets, frames=impossible, lengths=lengths)


vectors()
sequences()
cases.save()
