"""Writes attention.safetensors: outputs and gradients of scaled dot-product attention, from PyTorch.

Run `python tests/golden/attention.py` (needs torch and safetensors) to remake the file; it comes out the same.
"""

import torch
import torch.nn.functional as F
from cases import Cases

cases = Cases(__file__, seed=5)


def draw(b, n, t, d, m, s, e):
    return dict(q=torch.randn(b, n, t, d), k=torch.randn(b, m, s, d), v=torch.randn(b, m, s, e))


def attend(**options):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)


cases.add("plain", attend(), **draw(2, 3, 5, 4, 3, 7, 6))
cases.add("scale", attend(scale=0.3), **draw(1, 2, 3, 5, 2, 4, 5))
cases.add("causal", attend(is_causal=True), **draw(1, 2, 6, 3, 2, 6, 3))
cases.add("causal.wide", attend(is_causal=True), **draw(1, 1, 4, 3, 1, 7, 2))
cases.add("grouped", attend(enable_gqa=True), **draw(1, 4, 3, 4, 2, 5, 4))

mask = torch.randn(2, 1, 4, 5)
added = lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
cases.add("added", added, mask=mask, **draw(2, 2, 4, 3, 2, 5, 3))
seen = (torch.rand(4, 5) < 0.7) | (torch.arange(5) == 0)
some = lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask.bool())
cases.add("seen", some, mask=seen.to(torch.uint8), **draw(2, 2, 4, 3, 2, 5, 3))
keys = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], dtype=torch.uint8)
padded = lambda q, k, v, keys: F.scaled_dot_product_attention(q, k, v, attn_mask=keys.bool()[:, None, None, :])
cases.add("keys", padded, keys=keys, **draw(2, 2, 4, 3, 2, 5, 3))

cases.save()
