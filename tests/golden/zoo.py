"""What PyTorch makes of the models in the zoo: names, features, logits, gradients and the loss of a hundred steps.

Both sides start from the numbers `ParamStore::new(1)` draws, so nothing large is stored.
Run `python tests/golden/zoo.py`; it writes a safetensors file for each model beside itself.
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from philox import Random
from safetensors.torch import save_file
from torch import nn

SEED, BATCH, BATCHES, STEPS = 1, 16, 8, 100


class LeNet5(nn.Module):
    def __init__(self, act, pool):
        super().__init__()
        self.act, self.pool = act, pool
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120, 84)
        self.fc2 = nn.Linear(84, 10)

    def features(self, x):
        s2 = self.pool(self.act(self.conv1(x)), 2)
        s4 = self.pool(self.act(self.conv2(s2)), 2)
        return [s2, s4, self.act(self.conv3(s4))]

    def forward(self, x):
        return self.fc2(self.act(self.fc1(self.features(x)[-1].flatten(1))))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.out = nn.Linear(32 * 7 * 7, 10)

    def features(self, x):
        first = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return [first, F.max_pool2d(F.relu(self.conv2(first)), 2)]

    def forward(self, x):
        return self.out(self.features(x)[-1].flatten(1))


class Mlp(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


MODELS = {
    "lenet5": lambda: LeNet5(torch.tanh, F.avg_pool2d),
    "lenet5_relu": lambda: LeNet5(F.relu, F.max_pool2d),
    "cnn": Cnn,
    "mlp": lambda: Mlp(784, 128, 64, 10),
}
OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
}


def start(build):
    """The model as `ParamStore::new(SEED)` starts it: uniform in ±1/√fan_in, drawn by name."""
    model = build()
    root = Random(SEED).at("parameters")
    fan_in = {name.rpartition(".")[0]: w[0].numel() for name, w in model.named_parameters() if name.endswith("weight")}
    with torch.no_grad():
        for name, p in model.named_parameters():
            bound = 1 / fan_in[name.rpartition(".")[0]] ** 0.5
            p.copy_(torch.from_numpy(root.at(name).uniform(-bound, bound, tuple(p.shape))))
    return model


def batches():
    data = Random(SEED).at("golden")
    for n in range(BATCHES):
        x = data.at("images").nth(n).uniform(-1.5, 1.5, (BATCH, 1, 28, 28))
        y = data.at("labels").nth(n).below(10, BATCH)
        yield torch.from_numpy(x), torch.from_numpy(y)


def main():
    fixed = list(batches())
    torch.set_num_threads(1)
    for name, build in MODELS.items():
        model = start(build)
        tensors = {}
        x, y = fixed[0]
        with torch.no_grad():
            tensors["logits"] = model(x)
            for n, feature in enumerate(model.features(x[:2]) if hasattr(model, "features") else []):
                tensors[f"features.{n}"] = feature
        F.cross_entropy(model(x), y).backward()
        for key, p in model.named_parameters():
            tensors[f"gradient.{key}"] = p.grad.flatten()[:32].clone()
            tensors[f"gradient_norm.{key}"] = p.grad.double().norm()
        for rule, make in OPTIMISERS.items():
            # In f64: PyTorch's own f32 run drifts up to 20 % from it within a hundred steps where ReLU makes chaos.
            model = start(build).double()
            optimiser, losses = make(model.parameters()), []
            for step in range(STEPS):
                x, y = fixed[step % BATCHES]
                optimiser.zero_grad()
                loss = F.cross_entropy(model(x.double()), y)
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
            tensors[f"loss.{rule}"] = torch.tensor(losses, dtype=torch.float64)
        about = {
            "torch": torch.__version__,
            "parameters": {key: list(p.shape) for key, p in model.named_parameters()},
        }
        path = Path(__file__).parent / f"{name}.safetensors"
        save_file({k: t.contiguous() for k, t in tensors.items()}, path, metadata={"about": json.dumps(about, sort_keys=True)})
        print(f"{name}: {path.stat().st_size} bytes, loss {losses[0]:.4f} → {losses[-1]:.4f} with {rule}")


if __name__ == "__main__":
    main()
