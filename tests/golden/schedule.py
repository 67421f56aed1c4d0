"""Writes schedule.safetensors: the rates, and momenta, that PyTorch's schedulers give, step by step.

Run with PyTorch and safetensors installed: python tests/golden/schedule.py
"""

import json
import math
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.optim import lr_scheduler

# Steps per epoch, epochs, and the schedule with its times in epochs.
SCHEDULES = {
    "constant": (7, 4, {"lr": 0.3}),
    "warm": (10, 4, {"lr": 0.3, "warmup": 1.5}),
    "step": (10, 9, {"lr": 0.1, "decay": {"kind": "step", "every": 2, "factor": 0.3}}),
    "warm_step": (7, 9, {"lr": 0.1, "warmup": 2, "decay": {"kind": "step", "every": 3, "factor": 0.1}}),
    "multi_step": (10, 9, {"lr": 0.1, "decay": {"kind": "multi_step", "at": [0.5, 3, 7], "factor": 0.2}}),
    "warm_multi_step": (8, 9, {"lr": 0.1, "warmup": 1, "decay": {"kind": "multi_step", "at": [2, 5], "factor": 0.1}}),
    "exponential": (10, 9, {"lr": 0.1, "decay": {"kind": "exponential", "factor": 0.7}}),
    "warm_exponential": (10, 9, {"lr": 0.1, "warmup": 0.5, "decay": {"kind": "exponential", "every": 2, "factor": 0.3}}),
    "polynomial": (10, 9, {"lr": 0.1, "decay": {"kind": "polynomial"}}),
    "warm_polynomial": (10, 9, {"lr": 0.1, "warmup": 2, "decay": {"kind": "polynomial", "power": 0.9}}),
    "cosine": (12, 10, {"lr": 0.05, "decay": {"kind": "cosine"}}),
    "warm_cosine": (12, 10, {"lr": 0.05, "warmup": 0.5, "decay": {"kind": "cosine", "min_lr": 0.001}}),
    "restarts": (12, 10, {"lr": 0.05, "decay": {"kind": "cosine_restarts", "every": 2.5}}),
    "warm_restarts": (10, 20, {"lr": 0.05, "warmup": 1, "decay": {"kind": "cosine_restarts", "every": 1, "mult": 2, "min_lr": 0.002}}),
    "restarts_tripled": (10, 15, {"lr": 0.05, "decay": {"kind": "cosine_restarts", "every": 1, "mult": 3}}),
    "one_cycle": (12, 10, {"lr": 0.2, "decay": {"kind": "one_cycle"}}),
    "one_cycle_linear": (10, 9, {"lr": 0.2, "decay": {"kind": "one_cycle", "anneal": "linear", "rise": 0.43, "div": 10, "final_div": 100}}),
    "one_cycle_three": (10, 9, {"lr": 0.2, "decay": {"kind": "one_cycle", "rise": 0.4, "phases": "three"}}),
    "one_cycle_momentum": (10, 9, {"lr": 0.2, "decay": {"kind": "one_cycle", "phases": "three", "anneal": "linear", "base_momentum": 0.1, "max_momentum": 0.99}}),
    "one_cycle_short": (1, 3, {"lr": 0.2, "decay": {"kind": "one_cycle", "cycle_momentum": False}}),
    "noam": (25, 10, {"lr": (512 * 40) ** -0.5, "warmup": 39 / 25, "decay": {"kind": "noam"}}),
    "noam_cold": (10, 5, {"lr": 0.1, "decay": {"kind": "noam"}}),
}

# The rate, the options, whether small figures are good ones, and a figure for each evaluation.
PLATEAUS = {
    "plateau": (0.1, {"patience": 2}, "min", [3, 2.5, 2.5, 2.4999, 2.6, 2, 2.1, 2.2, 2, 2, 1.99, 2, 2, 2, 2, 2]),
    "plateau_cooldown": (0.1, {"patience": 0, "cooldown": 2, "factor": 0.5}, "min", [1, 1, 1, 1, 1, 0.9, 1, 1, 1, 1, 1]),
    "plateau_absolute": (0.1, {"patience": 1, "threshold": 0.2, "threshold_mode": "abs"}, "min", [2, 1.9, 1.7, 1.6, 1.55, 1.3, 1.2, 1.15]),
    "plateau_least": (0.1, {"patience": 0, "factor": 0.2, "min_lr": 0.003}, "min", [1] * 6),
    "plateau_tiny": (1e-7, {"patience": 0}, "min", [1] * 4),
    "plateau_up": (0.1, {"patience": 1, "threshold": 0.01}, "max", [0.5, 0.504, 0.503, 0.6, 0.605, 0.61, 0.6, 0.59]),
    "plateau_up_absolute": (0.1, {"patience": 0, "threshold": 0.01, "threshold_mode": "abs"}, "max", [0.5, 0.509, 0.52, 0.6, 0.605]),
}


MOMENTUM = 0.9


def optimiser(lr):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=MOMENTUM)


def after_warmup(opt, decay, steps, total):
    """`steps` is of an epoch, `total` what is left of the run."""
    of = lambda key: round(decay[key] * steps)
    return {
        "constant": lambda: lr_scheduler.ConstantLR(opt, factor=1.0),
        "step": lambda: lr_scheduler.StepLR(opt, of("every"), decay["factor"]),
        "multi_step": lambda: lr_scheduler.MultiStepLR(opt, [round(at * steps) for at in decay["at"]], decay["factor"]),
        "exponential": lambda: lr_scheduler.ExponentialLR(opt, decay["factor"] ** (1 / round(decay.get("every", 1) * steps))),
        "polynomial": lambda: lr_scheduler.PolynomialLR(opt, total, decay.get("power", 1.0)),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(opt, total, decay.get("min_lr", 0.0)),
        "cosine_restarts": lambda: lr_scheduler.CosineAnnealingWarmRestarts(opt, of("every"), decay.get("mult", 1), decay.get("min_lr", 0.0)),
        "one_cycle": lambda: lr_scheduler.OneCycleLR(
            opt,
            max_lr=opt.param_groups[0]["lr"],
            total_steps=total,
            pct_start=decay.get("rise", 0.3),
            anneal_strategy={"cosine": "cos", "linear": "linear"}[decay.get("anneal", "cosine")],
            cycle_momentum=decay.get("cycle_momentum", True),
            base_momentum=decay.get("base_momentum", 0.85),
            max_momentum=decay.get("max_momentum", 0.95),
            div_factor=decay.get("div", 25.0),
            final_div_factor=decay.get("final_div", 1e4),
            three_phase=decay.get("phases") == "three",
        ),
    }[decay["kind"]]()


def noam(opt, warmup):
    """Equation 3 of the paper, with the highest rate in place of d_model."""
    formula = lambda step: min(step**-0.5, step * warmup**-1.5) * math.sqrt(warmup)
    return lr_scheduler.LambdaLR(opt, lambda step: formula(step + 1))


def paces(steps, epochs, schedule):
    warmup, total = round(schedule.get("warmup", 0) * steps), steps * epochs
    decay, opt = schedule.get("decay", {"kind": "constant"}), optimiser(schedule["lr"])
    if decay["kind"] == "noam":
        scheduler = noam(opt, warmup + 1)
    elif warmup:
        rise = lr_scheduler.LinearLR(opt, start_factor=1 / (warmup + 1), total_iters=warmup)
        scheduler = lr_scheduler.SequentialLR(opt, [rise, after_warmup(opt, decay, steps, total - warmup)], [warmup])
    else:
        scheduler = after_warmup(opt, decay, steps, total)
    out = []
    for step in range(total):
        out.append([opt.param_groups[0][key] for key in ("lr", "momentum")])
        opt.step()
        if step + 1 < total:
            scheduler.step()
    return torch.tensor(out, dtype=torch.float64).T


def reduced(lr, options, mode, figures):
    opt = optimiser(lr)
    scheduler = lr_scheduler.ReduceLROnPlateau(opt, mode, **options)
    out = []
    for figure in figures:
        scheduler.step(figure)
        out.append(opt.param_groups[0]["lr"])
    return torch.tensor(out, dtype=torch.float64)


def main():
    warnings.simplefilter("ignore")  # SequentialLR calls its parts in an order they warn about.
    out = {}
    for name, plan in SCHEDULES.items():
        out[name], momentum = (series.contiguous() for series in paces(*plan))
        if (momentum != MOMENTUM).any():
            out[f"{name}.momentum"] = momentum
    out |= {name: reduced(*plan) for name, plan in PLATEAUS.items()}
    about = {
        "made_by": f"tests/golden/schedule.py with PyTorch {torch.__version__.split('+')[0]}",
        "schedules": {n: {"steps_per_epoch": s, "epochs": e, "schedule": p} for n, (s, e, p) in SCHEDULES.items()},
        "plateaus": {n: {"lr": lr, "plateau": o, "mode": m, "figures": f} for n, (lr, o, m, f) in PLATEAUS.items()},
    }
    save_file(out, Path(__file__).with_name("schedule.safetensors"), {"about": json.dumps(about)})


main()
