"""Writes activation.safetensors: outputs and gradients of pointwise functions, softmax and look-ups, from PyTorch.

Run `python tests/golden/activation.py` (needs torch and safetensors) to remake the file; it comes out the same.
"""

import torch
import torch.nn.functional as F
from cases import Cases

ACTIVATIONS = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    # Its threshold as far out as ours: nowhere.
    "softplus": lambda x: F.softplus(x, beta=1.5, threshold=1e9),
    "softsign": F.softsign,
    "log_sigmoid": F.logsigmoid,
    # Not `F.hardsigmoid`, whose sixth is one of single precision.
    "hard_sigmoid": lambda x: F.relu6(x + 3) / 6,
    "hard_swish": F.hardswish,
    "hard_tanh": F.hardtanh,
}

cases = Cases(__file__, seed=1)

# Every kink, both neighbours of it, both tails, and numbers between.
kinks = [-90.0, -9.0, -3.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 3.0, 5.999999, 6.0, 6.000001, 9.0, 90.0]
x = torch.cat([torch.tensor(kinks), 4 * torch.randn(28)]).reshape(3, 2, 7)
for name, f in ACTIVATIONS.items():
    cases.add(name, lambda x, f=f: f(x), x=x)
cases.add("prelu", lambda x, weight: F.prelu(x, weight), x=torch.randn(2, 3, 4), weight=torch.randn(3))

x = 3 * torch.randn(2, 3, 2, 4)
for axis in range(4):
    cases.add(f"softmax.{axis}", lambda x: F.softmax(x, axis), x=x)
    cases.add(f"log_softmax.{axis}", lambda x: F.log_softmax(x, axis), x=x)
x = 6 * torch.randn(2, 37)
cases.add("softmax.row", lambda x: F.softmax(x, 1), x=x)
cases.add("log_softmax.row", lambda x: F.log_softmax(x, 1), x=x)
for axis in range(3):
    cases.add(f"log_sum_exp.{axis}", lambda x: torch.logsumexp(x, axis), x=5 * torch.randn(3, 2, 5))

table = torch.randn(7, 3)
look = lambda index, table: F.embedding(index, table, padding_idx=2)
cases.add("embedding", look, index=torch.randint(7, (2, 9)), table=table)
index = torch.randint(4, (2, 5, 3))
cases.add("gather", lambda x, index: x.gather(1, index), x=torch.randn(2, 4, 3), index=index)
add = lambda x, index, source: x.scatter_add(1, index, source)
cases.add("scatter_add", add, x=torch.randn(3, 4, 3), index=index, source=torch.randn(2, 5, 3))

cases.save()
