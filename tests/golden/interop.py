"""Takes every model of the registry that torchvision or timm has to PyTorch and back: weights drawn there, written there, read
here, converted for the library here, loaded there with strict=True, and the same logits on both sides, to 1e-5.

Run `python tests/golden/interop.py [MODEL ...]` where torch, torchvision, timm and safetensors are installed; it prints a table.
"""
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-5
TIMM = {
    **{f"vit_{size}_{patch}": f"vit_{name}_patch{patch}_224" for size, name in
       (("t", "tiny"), ("s", "small"), ("b", "base"), ("l", "large")) for patch in (16, 32)},
    **{f"deit_{size}_16_distilled": f"deit_{name}_distilled_patch16_224" for size, name in
       (("t", "tiny"), ("s", "small"), ("b", "base"))},
    "mobilenet_v1": "mobilenetv1_100", "mobilenet_v2": "mobilenetv2_100", "mobilenet_v2_0.5": "mobilenetv2_050",
    "mobilenet_v2_0.35": "mobilenetv2_035", "mobilenet_v2_1.4": "mobilenetv2_140",
}
# Built otherwise than torchvision builds them by default.
OPTIONS = {
    "googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False},
    "fcn_resnet50": {"weights_backbone": None, "aux_loss": True}, "fcn_resnet101": {"weights_backbone": None, "aux_loss": True},
}
# Built by timm without the auxiliary classifier that torchvision's weights have.
NOT_TIMM = {"inception_v3"}
WIDTHS = {"mobilenet_v2_0.5": 0.5, "mobilenet_v2_0.35": 0.35, "mobilenet_v2_1.4": 1.4}


def xtask(*args):
    done = subprocess.run(["cargo", "xtask", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def builders(name):
    """Each library's function that builds the model."""
    base, options = name, dict(OPTIONS.get(name, {}))
    if name in WIDTHS:
        base, options["width_mult"] = "mobilenet_v2", WIDTHS[name]
    if base in torchvision.models.list_models():
        yield "torchvision", lambda: torchvision.models.get_model(base, weights=None, **options)
    theirs = TIMM.get(name, name)
    # Some of timm's start without classes.
    if timm.is_model(theirs) and name not in NOT_TIMM:
        yield "timm", lambda: timm.create_model(theirs, num_classes=1000)


def randomise(model):
    """Weights of which no two layers have the same, and statistics that norms have to take into account."""
    for name, t in model.state_dict().items():
        if name.endswith("running_mean"):
            t.normal_(0, 0.1)
        elif name.endswith("running_var"):
            t.uniform_(0.5, 1.5)
        elif t.is_floating_point() and t.dim() == 1:
            t.add_(torch.randn_like(t) * 0.02)
        elif t.is_floating_point() and not t.any():
            t.normal_(0, 0.02)


def logits(y):
    return y["out"] if isinstance(y, dict) else y[0] if isinstance(y, tuple) else y


def difference(ours, theirs):
    return (ours - theirs).abs().max().item() / max(1.0, theirs.abs().max().item())


def round_trip(name, library, build, size, folder):
    """The largest differences of the logits: theirs taken here, and ours taken there, by each format."""
    torch.manual_seed(0)
    model = build().eval()
    randomise(model)
    x = torch.randn(1, *size)
    expected = logits(model(x))
    save_file({"input": x}, folder / "x.safetensors")
    theirs = folder / "theirs.pt"
    torch.save(model.state_dict(), theirs)

    def forward(weights):
        (folder / "y.safetensors").unlink(missing_ok=True)
        xtask("forward", name, "--weights", weights, "--input", folder / "x.safetensors", "--output", folder / "y.safetensors")
        return load_file(folder / "y.safetensors")["output"]

    here = difference(forward(theirs), expected)
    there = 0.0
    for file in ("back.pt", "back.safetensors"):
        back = folder / file
        xtask("convert", theirs, back, "--to", library, "--force")
        state = torch.load(back, weights_only=True) if back.suffix == ".pt" else load_file(back)
        model = build().eval()
        model.load_state_dict(state, strict=True)
        there = max(there, difference(logits(model(x)), expected))
        back.unlink()
    return here, there


def main():
    torch.set_num_threads(1)
    models = json.loads(xtask("list", "models", "--json"))["models"]
    wanted, failed = sys.argv[1:], False
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}, {datetime.date.today()}\n")
    print("| model | library | read here | written here |\n| --- | --- | --- | --- |")
    for model in models:
        name = model["name"]
        for library, build in builders(name) if not wanted or name in wanted else ():
            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                try:
                    here, there = round_trip(name, library, build, model["input"], Path(folder))
                    failed |= not max(here, there) <= TOLERANCE
                    print(f"| {name} | {library} | {here:.0e} | {there:.0e} |", flush=True)
                except RuntimeError as error:
                    failed = True
                    print(f"| {name} | {library} | {error} | |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
