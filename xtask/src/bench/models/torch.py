"""PyTorch's side of `cargo xtask bench models`: a JSON object a line, seconds a call back."""
import json
import time

print(torch.__version__, flush=True)
ready = {}
for line in sys.stdin:
    request = json.loads(line)
    name, batch, calls = request["model"], request["batch"], request["calls"]
    training = request["pass"] == "training"
    key = name, batch, training
    if key not in ready:
        ready.clear()
        model, shape = build(name)
        ready[key] = model.train(training), sgd(model), torch.randn(batch, *shape), torch.randint(0, 10, (batch,))
    model, optimizer, x, y = ready[key]
    began = time.perf_counter()
    if training:
        for _ in range(calls):
            train(model, optimizer, x, y)
    else:
        with torch.inference_mode():
            for _ in range(calls):
                model(x)
    print((time.perf_counter() - began) / calls, flush=True)
