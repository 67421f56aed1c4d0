"""How PyTorch's side of `cargo xtask bench models` builds a model; the program that measures it follows."""
import sys
import warnings

sys.path.insert(0, sys.argv[1])
warnings.filterwarnings("ignore")
import torch  # noqa: E402

torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(0)


def build(name):
    """The model and the shape of its images."""
    import torchvision

    if name in torchvision.models.list_models():
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        side = 299 if name == "inception_v3" else 224
        return torchvision.models.get_model(name, weights=None, **options), (3, side, side)
    import zoo

    if name in zoo.MODELS:
        return zoo.MODELS[name](), (1, 28, 28)
    import vision

    side = 32 if "cifar" in name else 227 if name == "alexnet_2012" else 224
    return vision.CASES[name].build(), (3, side, side)


def train(model, sgd, x, y):
    """A step; the losses of heads after the first enter 0.3 times, as GoogLeNet's do."""
    sgd.zero_grad()
    output = model(x)
    main, *others = output if isinstance(output, tuple) else [output]
    loss = torch.nn.functional.cross_entropy(main, y)
    for logits in others:
        loss = loss + 0.3 * torch.nn.functional.cross_entropy(logits, y)
    loss.backward()
    sgd.step()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
