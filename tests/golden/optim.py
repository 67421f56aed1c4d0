"""Writes optim.safetensors: what PyTorch's optimisers and gradient clipping do.

Run with PyTorch, timm (for LAMB and Lion), NumPy and safetensors installed: python tests/golden/optim.py
"""

import json
from pathlib import Path

import timm.optim
import torch
from safetensors.torch import save_file

torch.manual_seed(20)
STEPS, EVERY, NOISES = 200, 20, 8
SHAPES = {"conv.weight": (3, 2, 2), "fc.bias": (5,), "fc.weight": (5, 4)}
RARE = "fc.bias"  # gets a gradient in every third step only

OPTIMISERS = {
    "sgd": (0.05, {"kind": "sgd"}),
    "momentum": (0.02, {"kind": "sgd", "momentum": 0.9}),
    "dampening": (0.05, {"kind": "sgd", "momentum": 0.8, "dampening": 0.3}),
    "nesterov": (0.02, {"kind": "sgd", "momentum": 0.9, "nesterov": True}),
    "decay": (0.05, {"kind": "sgd", "weight_decay": 0.1}),
    "all": (0.02, {"kind": "sgd", "momentum": 0.7, "nesterov": True, "weight_decay": 0.03}),
    "adam": (0.02, {"kind": "adam"}),
    "adam_decay": (0.02, {"kind": "adam", "weight_decay": 0.1}),
    "adam_betas": (0.05, {"kind": "adam", "beta1": 0.6, "beta2": 0.95, "eps": 1e-3}),
    "amsgrad": (0.02, {"kind": "adam", "amsgrad": True, "beta2": 0.9}),
    "adamw": (0.02, {"kind": "adamw"}),
    "adamw_amsgrad": (0.02, {"kind": "adamw", "weight_decay": 0.2, "amsgrad": True, "beta2": 0.9}),
    "nadam": (0.02, {"kind": "nadam"}),
    "nadam_decay": (0.02, {"kind": "nadam", "weight_decay": 0.1, "momentum_decay": 0.02}),
    "radam": (0.02, {"kind": "radam"}),
    "radam_decay": (0.02, {"kind": "radam", "weight_decay": 0.1, "beta2": 0.9}),
    "rmsprop": (0.01, {"kind": "rmsprop"}),
    "rmsprop_momentum": (0.01, {"kind": "rmsprop", "momentum": 0.8, "weight_decay": 0.1}),
    "rmsprop_centered": (0.01, {"kind": "rmsprop", "centered": True, "alpha": 0.9}),
    "rmsprop_both": (0.01, {"kind": "rmsprop", "centered": True, "momentum": 0.8, "alpha": 0.9}),
    "adagrad": (0.1, {"kind": "adagrad"}),
    "adagrad_all": (0.1, {"kind": "adagrad", "lr_decay": 0.02, "initial_accumulator_value": 0.3, "weight_decay": 0.1}),
    "adadelta": (1.0, {"kind": "adadelta"}),
    "adadelta_decay": (1.0, {"kind": "adadelta", "rho": 0.8, "weight_decay": 0.1, "eps": 1e-4}),
    "lamb": (0.01, {"kind": "lamb"}),
    "lamb_decay": (0.01, {"kind": "lamb", "weight_decay": 0.2, "beta2": 0.9}),
    "lion": (0.01, {"kind": "lion"}),
    "lion_decay": (0.01, {"kind": "lion", "weight_decay": 0.2, "beta1": 0.8}),
}

# While the rate follows a cycle over all steps, and momentum or the first beta with it.
CYCLED = {
    "sgd_cycled": (0.05, {"kind": "sgd", "momentum": 0.9, "nesterov": True}),
    "adamw_cycled": (0.05, {"kind": "adamw"}),
    "nadam_cycled": (0.05, {"kind": "nadam"}),
}

# Groups differ by factors of the rate and of the weight decay: PyTorch's groups have the products.
GROUPS = {
    "sgd_groups": (0.02, {"kind": "sgd", "momentum": 0.8, "weight_decay": 0.1}),
    "adamw_groups": (0.02, {"kind": "adamw", "weight_decay": 0.2}),
}
FACTORS = {"conv.weight": {"lr": 0.1}, "fc.bias": {"weight_decay": 0.0}, "fc.weight": {"lr": 2.0, "weight_decay": 0.5}}


OF_KIND = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "lamb": timm.optim.Lamb,
    "lion": timm.optim.Lion,
}
# The defaults of `beta1` and `beta2` where PyTorch takes them as a pair.
BETAS = {kind: (0.9, 0.999) for kind in ("adam", "adamw", "nadam", "radam", "lamb")} | {"lion": (0.9, 0.99)}
# The rule of the paper: every parameter is scaled, and clipping is no part of it.
BESIDE = {"lamb": {"always_adapt": True, "max_grad_norm": None, "weight_decay": 0.01}}


def optimiser(rule, parameters, lr):
    kind = rule["kind"]
    options = BESIDE.get(kind, {}) | {k: v for k, v in rule.items() if k not in ("kind", "beta1", "beta2")}
    if kind in BETAS:
        options["betas"] = tuple(rule.get(f"beta{i + 1}", BETAS[kind][i]) for i in range(2))
    return OF_KIND[kind](parameters, lr=lr, **options)


def trajectories(out):
    """Gradients are `curvature · (p − centre) + noise[step % 8]`."""
    fields = {name: {} for name in ("start", "curvature", "centre", "noise")}
    for name, shape in SHAPES.items():
        fields["start"][name] = torch.randn(shape)
        fields["curvature"][name] = torch.rand(shape) + 0.2
        fields["centre"][name] = torch.randn(shape) * 2
        fields["noise"][name] = torch.randn(NOISES, *shape) * 0.5
    for field, tensors in fields.items():
        out.update({f"{field}.{name}": t for name, t in tensors.items()})
    for case, (lr, rule) in OPTIMISERS.items():
        # One for each parameter: timm's count an update also where there was no gradient.
        follow(out, case, lambda p: [optimiser(rule, [t], lr) for t in p.values()])


def follow(out, case, make, schedule=lambda opts: []):
    p = {name: torch.nn.Parameter(out[f"start.{name}"].clone()) for name in SHAPES}
    opts = make(p)
    schedulers = schedule(opts)
    history = {name: [] for name in SHAPES}
    for step in range(STEPS):
        for name, t in p.items():
            grad = out[f"curvature.{name}"] * (t.data - out[f"centre.{name}"]) + out[f"noise.{name}"][step % NOISES]
            t.grad = grad if name != RARE or step % 3 == 0 else None
        for opt, t in zip(opts, p.values()):
            if len(opts) == 1 or t.grad is not None:
                opt.step()
        if step + 1 < STEPS:
            for scheduler in schedulers:
                scheduler.step()
        if (step + 1) % EVERY == 0:
            for name, t in p.items():
                history[name].append(t.data.clone())
    out.update({f"{case}.{name}": torch.stack(h) for name, h in history.items()})


def cycled(out):
    for case, (lr, rule) in CYCLED.items():
        cycle = lambda opts: [torch.optim.lr_scheduler.OneCycleLR(opts[0], max_lr=lr, total_steps=STEPS)]
        follow(out, case, lambda p: [optimiser(rule, p.values(), lr)], cycle)


def groups(out):
    """The same gradients; one optimiser with a group for each parameter."""
    for case, (lr, rule) in GROUPS.items():
        of = lambda name, key, base: base * FACTORS[name].get(key, 1.0)
        group = lambda n, t: {"params": [t], "lr": of(n, "lr", lr), "weight_decay": of(n, "weight_decay", rule["weight_decay"])}
        follow(out, case, lambda p: [optimiser(rule, [group(n, t) for n, t in p.items()], lr)])


def clipping(out):
    parameters = [torch.nn.Parameter(torch.zeros(s)) for s in SHAPES.values()]
    for name, p in zip(SHAPES, parameters):
        p.grad = torch.randn(p.shape)
        out[f"clip.grad.{name}"] = p.grad.clone()
    out["clip.norm"] = torch.nn.utils.clip_grad_norm_(parameters, 0.5).reshape(1)
    out.update({f"clip.clipped.{name}": p.grad for name, p in zip(SHAPES, parameters)})
    for name, p in zip(SHAPES, parameters):
        p.grad = out[f"clip.grad.{name}"].clone()
    torch.nn.utils.clip_grad_value_(parameters, 0.7)
    out.update({f"clip.by_value.{name}": p.grad for name, p in zip(SHAPES, parameters)})


def main():
    out = {}
    trajectories(out)
    clipping(out)
    groups(out)
    cycled(out)
    about = {
        "made_by": f"tests/golden/optim.py with PyTorch {torch.__version__.split('+')[0]}",
        "optimisers": {name: {"lr": lr, "rule": rule} for name, (lr, rule) in OPTIMISERS.items()},
        "groups": {name: {"lr": lr, "rule": rule} for name, (lr, rule) in GROUPS.items()},
        "factors": FACTORS,
        "cycled": {name: {"lr": lr, "rule": rule} for name, (lr, rule) in CYCLED.items()},
    }
    out = {name: t.contiguous() for name, t in out.items()}
    save_file(out, Path(__file__).with_name("optim.safetensors"), {"about": json.dumps(about)})


main()
