"""PyTorch's side of `cargo xtask bench ops`: one request a line, seconds a call back.

Started with the number of threads; a request is a JSON object: `case` (a number), `inputs` (dims and kind), `setup`
(statements), `f` (an expression over the list `x`), `pass` ("forward" or "both") and `calls`.
"""
import json
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
print(torch.__version__, flush=True)


def tensor(dims, kind, classes):
    if kind == "labels":
        return torch.randint(0, classes, dims)
    return torch.randn(dims).requires_grad_(kind in ("trained", "weights"))


def prepare(request):
    names = {"torch": torch, "F": F, "nn": torch.nn}
    exec(request["setup"], names)
    f = eval("lambda x: " + request["f"], names)
    x = [tensor(*given) for given in request["inputs"]]
    modules = [m for m in names.values() if isinstance(m, torch.nn.Module)]
    trained = [t for t in x if t.requires_grad] + [p for m in modules for p in m.parameters()]
    return f, x, trained, torch.ones_like(f(x))


def call(f, x, trained, dy, which):
    if which == "forward":
        with torch.inference_mode():
            f(x)
    else:
        f(x).backward(dy)
        for t in trained:
            t.grad = None


number, ready = None, None
for line in sys.stdin:
    request = json.loads(line)
    if number != request["case"]:
        number, ready = request["case"], prepare(request)
    began = time.perf_counter()
    for _ in range(request["calls"]):
        call(*ready, request["pass"])
    print((time.perf_counter() - began) / request["calls"], flush=True)
