"""Exports every model of the registry, with weights and statistics drawn at random, and runs what was made in ONNX Runtime: the
outputs must be ours to 1e-4 of the largest, for two sizes of the batch.

Run `python tests/golden/onnx_export.py [MODEL ...]` where onnx, onnxruntime and safetensors are installed; it prints a table.
The recurrent models are written by a test: run that with NN_ONNX_OUT=DIR, then this with DIR/*.onnx.
"""
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

TOLERANCE = 1e-4


def xtask(*args):
    done = subprocess.run(["cargo", "xtask", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def compare(name, folder):
    """Nodes, the largest difference of three images together and of one alone, and what the largest number is."""
    model = Path(name) if name.endswith(".onnx") else folder / "model.onnx"
    example = model.with_suffix(".safetensors")
    if model != Path(name):
        xtask("export", name, "--onnx", model, "--example", example)
    graph = onnx.load(model)
    onnx.checker.check_model(graph)
    assert not any(node.op_type == "BatchNormalization" for node in graph.graph.node)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    example = load_file(example)
    images, expected = example["input"], example["output"]
    difference = 0.0
    for some in (slice(0, 3), slice(1, 2)):
        (got,) = session.run(["output"], {"input": images[some]})
        assert got.shape == expected[some].shape, got.shape
        difference = max(difference, float(np.abs(got - expected[some]).max()))
    largest = float(np.abs(expected).max())
    return len(graph.graph.node), difference / max(largest, 1e-30), largest


def main():
    names = sys.argv[1:] or [model["name"] for model in json.loads(xtask("list", "models", "--json"))["models"]]
    failed = False
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, {datetime.date.today()}\n")
    print("| model | nodes | difference | largest output |\n| --- | --- | --- | --- |")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                nodes, difference, largest = compare(name, Path(folder))
                failed |= not difference <= TOLERANCE
                print(f"| {name} | {nodes} | {difference:.0e} | {largest:.2g} |", flush=True)
            except (RuntimeError, AssertionError) as error:
                failed = True
                print(f"| {name} | {error} | | |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
