"""Takes weights to PyTorch and back: a saved model loads there with strict=True and gives the same logits, also by way of
PyTorch's own format, and one saved there, in any format, gives the same logits here.

Run `python tests/golden/roundtrip.py lenet5 runs/lenet5-digits/model.safetensors`.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from zoo import MODELS, start

TOLERANCE = 1e-5


def forward(name, weights, x, folder):
    """The logits of `cargo xtask forward`."""
    save_file({"input": x}, folder / "x.safetensors")
    (folder / "y.safetensors").unlink(missing_ok=True)
    files = ["--weights", weights, "--input", folder / "x.safetensors", "--output", folder / "y.safetensors"]
    subprocess.run(["cargo", "xtask", "forward", name, *map(str, files)], check=True, stdout=subprocess.DEVNULL)
    return load_file(folder / "y.safetensors")["output"]


def compare(what, ours, theirs):
    off = (ours - theirs).abs().max().item()
    print(f"{what}: logits differ by {off:.1e} at most")
    if not off <= TOLERANCE * max(1.0, theirs.abs().max().item()):
        sys.exit(f"{what}: more than {TOLERANCE:.0e}")


def main():
    name, weights = sys.argv[1], Path(sys.argv[2])
    torch.manual_seed(0)
    x = torch.randn(32, 1, 28, 28)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        folder = Path(folder)
        model = MODELS[name]()
        model.load_state_dict(load_file(weights), strict=True)
        compare(f"{weights} in PyTorch", forward(name, weights, x, folder), model(x))
        converted = folder / "converted.pt"
        subprocess.run(["cargo", "xtask", "convert", str(weights), str(converted)], check=True)
        model.load_state_dict(torch.load(converted, weights_only=True), strict=True)
        compare(f"{converted.name} in PyTorch", forward(name, converted, x, folder), model(x))
        model = start(MODELS[name])
        there = [folder / f"there{kind}" for kind in (".safetensors", ".pt", "_old.pt")]
        save_file(model.state_dict(), there[0], metadata={"format": "pt"})
        torch.save(model.state_dict(), there[1])
        torch.save({"state_dict": model.state_dict()}, there[2], _use_new_zipfile_serialization=False)
        for file in there:
            compare(f"{file.name} here", forward(name, file, x, folder), model(x))


if __name__ == "__main__":
    main()
