"""Writes norm.safetensors: outputs and gradients of normalisation and of residual sums, from PyTorch.

Run `python tests/golden/norm.py` (needs torch and safetensors) to remake the file; it comes out the same.
"""

import torch
import torch.nn.functional as F

from cases import Cases

cases = Cases(__file__, 3)


def normal(*shape):
    return torch.randn(shape)


# Sizes with planes of one number, of some, and of many; not centred, so that the running mean shows.
SIZES = {"columns": (5, 3), "sequences": (2, 4, 5), "images": (2, 3, 4, 3), "planes": (1, 1, 16, 17)}

for name, shape in SIZES.items():
    parameters = {"w": normal(shape[1]), "b": normal(shape[1])}
    x = 2 * normal(*shape) + 1

    def train(x, w, b):
        return F.batch_norm(x, None, None, w, b, True)

    cases.add(f"batch_norm.{name}", train, x=x, **parameters)
    if name == "planes":
        continue
    cases.add(f"batch_norm.{name}.relu", lambda x, w, b: F.relu(train(x, w, b)), x=x, **parameters)

    def evaluate(x, w, b, mean, variance):
        return F.batch_norm(x, mean, variance, w, b, False, eps=1e-3)

    statistics = {"mean": normal(shape[1]), "variance": 1 + torch.rand(shape[1])}
    cases.add(f"batch_norm.{name}.eval", evaluate, fixed=("mean", "variance"), x=x, **parameters, **statistics)

# The running statistics after three batches, by momentum and as an average of all.
for name, momentum in [("momentum", 0.2), ("average", None)]:
    norm = torch.nn.BatchNorm1d(3, momentum=momentum, affine=False).double()
    batches = 3 * normal(3, 2, 3, 4).double() + 2

    for batch in batches:
        norm(batch)
    cases.tensors |= {f"running.{name}.x": batches, f"running.{name}.mean": norm.running_mean, f"running.{name}.variance": norm.running_var}

for axes, shape in [(1, (2, 3, 5)), (2, (2, 3, 4)), (3, (2, 2, 3))]:
    row = shape[-axes:]
    x = 2 * normal(*shape) + 1
    layer = lambda x, w, b: F.layer_norm(x, row, w, b)
    cases.add(f"layer_norm.{axes}", layer, x=x, w=normal(*row), b=normal(*row))
    cases.add(f"layer_norm.{axes}.plain", lambda x: F.layer_norm(x, row, eps=1e-6), x=x)
    cases.add(f"rms_norm.{axes}", lambda x, w: F.rms_norm(x, row, w, 1e-5), x=x, w=normal(*row))

for groups, shape in [(1, (2, 4, 3)), (2, (2, 4, 2, 3)), (6, (2, 6, 3)), (3, (2, 12))]:
    group = lambda x, w, b: F.group_norm(x, groups, w, b)
    cases.add(f"group_norm.{groups}", group, x=2 * normal(*shape) + 1, w=normal(shape[1]), b=normal(shape[1]))

instance = lambda x, w, b: F.instance_norm(x, weight=w, bias=b)
cases.add("instance_norm", instance, x=2 * normal(2, 3, 2, 3) + 1, w=normal(3), b=normal(3))
cases.add("instance_norm.plain", F.instance_norm, input=normal(2, 3, 4))

for size in [1, 2, 5]:
    response = lambda x: F.local_response_norm(x, size, alpha=0.5, beta=0.6, k=1.5)
    cases.add(f"local_response_norm.{size}", response, x=2 * normal(1, 7, 3))
cases.add("local_response_norm.default", lambda x: F.local_response_norm(x, 5), x=30 * normal(1, 7, 3))

cases.add("add_activate.relu", lambda a, b: F.relu(a + b), a=normal(2, 3, 4), b=normal(2, 3, 4))
cases.add("add_activate.leaky_relu", lambda a, b: F.leaky_relu(a + b, 0.2), a=normal(2, 3, 4), b=normal(2, 3, 4))

cases.save()
