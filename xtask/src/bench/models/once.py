"""PyTorch's side of `cargo xtask bench models --processes`: one batch with weights from a file; prints the peak of memory."""
import resource

from safetensors.torch import load_file

name, mode, batch, weights = sys.argv[3:]
model, shape = build(name)
model.load_state_dict(load_file(weights))
x = torch.randn(int(batch), *shape)
if mode == "training":
    optimizer = sgd(model.train())
    for _ in range(2):
        train(model, optimizer, x, torch.randint(0, 10, (int(batch),)))
else:
    with torch.inference_mode():
        model.eval()(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
