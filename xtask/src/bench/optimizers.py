"""PyTorch's side of `cargo xtask bench optimizers`: one request a line, seconds a step back.

Started with the number of threads and the shapes of the parameters, as JSON; a request is a JSON object: `rule` (a class of
`torch.optim`), `options`, `way` ("fused" or "foreach") and `steps`.
"""
import json
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
parameters = [torch.randn(shape).requires_grad_() for shape in json.loads(sys.argv[2])]
for p in parameters:
    p.grad = torch.randn_like(p)
print(torch.__version__, flush=True)

asked, optimizer = None, None
for line in sys.stdin:
    request = json.loads(line)
    what = request["rule"], request["options"], request["way"]
    if asked != what:
        asked = what
        optimizer = getattr(torch.optim, what[0])(parameters, lr=1e-4, **what[1], **{what[2]: True})
    began = time.perf_counter()
    for _ in range(request["steps"]):
        optimizer.step()
    print((time.perf_counter() - began) / request["steps"], flush=True)
