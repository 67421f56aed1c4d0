"""PyTorch's side of `cargo xtask bench models`: one command a line, seconds a step back.

Started with the folder of `zoo.py` and the number of threads; reads `model batch steps`.
"""
import sys
import time

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from zoo import MODELS  # noqa: E402

torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(0)
print(torch.__version__, flush=True)
ready = {}
for line in sys.stdin:
    name, batch, steps = line.split()
    if (name, batch) not in ready:
        model = MODELS[name]()
        sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        ready[name, batch] = model, sgd, torch.randn(int(batch), 1, 28, 28), torch.randint(0, 10, (int(batch),))
    model, sgd, x, y = ready[name, batch]
    began = time.perf_counter()
    for _ in range(int(steps)):
        sgd.zero_grad()
        F.cross_entropy(model(x), y).backward()
        sgd.step()
    print((time.perf_counter() - began) / int(steps), flush=True)
