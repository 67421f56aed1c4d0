"""What torchvision and timm make of the large networks: the names and shapes of their parameters, stage outputs,
logits and gradients.

Both sides draw parameters and images from the same pool of random numbers, so nothing large is stored, and of
every result a sketch: its norm and a few of its numbers. The reference runs in f64.
Run `python tests/golden/vision.py [NAME …]`; it writes a safetensors file for each network beside itself.
"""
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.models as tv
from philox import Random
from safetensors.torch import save_file
from timm.models.efficientnet import _gen_mobilenet_v1
from torch import nn

ROOT = Random(1).at("vision")
# A prime, so that no axis of a weight repeats itself.
POOL = ROOT.at("pool").uniform(-1.0, 1.0, 65_521).astype(np.float64)
BATCH = 4
# Of networks with more parameters, which are others with more layers, no gradients: they would take gigabytes.
GIANT = 200_000_000


@dataclass
class Case:
    """A network, its image size, the modules whose outputs are its features, and its last layer.

    Then what becomes of those outputs, other last layers beside the first, and, where training has more than one loss, how
    the output of the network becomes a list of weights and logits.
    """

    build: Callable[[], nn.Module]
    size: int
    features: list[str]
    head: str
    maps: Callable[[list], list] = lambda outputs: outputs
    heads: tuple = ()
    logits: Callable | None = None


class CifarBlock(nn.Module):
    def __init__(self, c_in, c_out, stride, project):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.zeros = (c_out - c_in) // 2
        self.shortcut = nn.Sequential()
        if c_in != c_out and project:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.zeros and not len(self.shortcut):
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.zeros, self.zeros))
        return F.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2, with the parameter names of the re-implementation whose weights most people have."""

    def __init__(self, layers, project):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        c_in = 16
        for n, c_out in enumerate((16, 32, 64)):
            blocks = []
            for block in range((layers - 2) // 6):
                blocks.append(CifarBlock(c_in, c_out, 2 if n and not block else 1, project))
                c_in = c_out
            self.add_module(f"layer{n + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def cifar_resnet(layers, project):
    return Case(lambda: CifarResNet(layers, project), 32, ["layer1", "layer2", "layer3"], "linear")


class AlexNet2012(nn.Module):
    """Krizhevsky et al. 2012, section 3.5, with torchvision's dense layers."""

    def __init__(self):
        super().__init__()

        def conv(c_in, c_out, kernel, **options):
            return [nn.Conv2d(c_in, c_out, kernel, **options), nn.ReLU()]

        def norm():
            return nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)

        def pool():
            return nn.MaxPool2d(3, 2)

        self.features = nn.Sequential(
            *conv(3, 96, 11, stride=4, padding=2), norm(), pool(),
            *conv(96, 256, 5, padding=2, groups=2), norm(), pool(),
            *conv(256, 384, 3, padding=1),
            *conv(384, 384, 3, padding=1, groups=2),
            *conv(384, 256, 3, padding=1, groups=2), pool(),
        )  # fmt: skip
        self.classifier = tv.alexnet().classifier

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 6).flatten(1))


class CatCnn(nn.Sequential):
    """Keras's Conv2D, MaxPooling2D, three times over, Flatten and two times Dense, but for the sigmoid."""

    def __init__(self):
        super().__init__()
        for n, (c_in, c_out) in enumerate([(3, 32), (32, 64), (64, 128)], start=1):
            self.add_module(f"conv{n}", nn.Conv2d(c_in, c_out, 3))
            self.add_module(f"act{n}", nn.ReLU())
            self.add_module(f"pool{n}", nn.MaxPool2d(2))
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(128 * 6 * 6, 128)
        self.act4 = nn.ReLU()
        self.out = nn.Linear(128, 1)


class Nin(nn.Sequential):
    """Lin et al. 2013 as in their Caffe models; a row is kernel, options, widths, and what follows."""

    def __init__(self, rows, classes):
        super().__init__()
        channels, ones = 3, 0
        for n, (kernel, options, widths, *rest) in enumerate(rows, start=1):
            for index, width in enumerate(widths):
                ones += index > 0
                name = f"cccp{ones}" if index else f"conv{n}"
                conv = nn.Conv2d(channels, width, 1) if index else nn.Conv2d(channels, width, kernel, **options)
                self.add_module(name, conv)
                self.add_module(f"relu_{name}", nn.ReLU())
                channels = width
            self.add_module(f"row{n}", nn.Sequential(*rest))
        self.add_module(f"cccp{ones + 1}", nn.Conv2d(channels, classes, 1))
        self.last = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def nin():
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    rows = [
        (11, {"stride": 4}, [96, 96, 96], pool),
        (5, {"padding": 2}, [256, 256, 256], pool),
        (3, {"padding": 1}, [384, 384, 384], pool, nn.Dropout()),
        (3, {"padding": 1}, [1024, 1024]),
    ]
    return Case(lambda: Nin(rows, 1000), 67, ["row1", "row2", "row3", "row4"], "cccp8")


def nin_cifar():
    rows = [
        (5, {"padding": 2}, [192, 160, 96], nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout()),
        (5, {"padding": 2}, [192, 192, 192], nn.AvgPool2d(3, 2, ceil_mode=True), nn.Dropout()),
        (3, {"padding": 1}, [192, 192]),
    ]
    return Case(lambda: Nin(rows, 10), 32, ["row1", "row2", "row3"], "cccp6")


def vgg(build, *pools):
    return Case(build, 32, [f"features.{n}" for n in pools], "classifier.6")


def mobilenet_v1(width):
    build = lambda: _gen_mobilenet_v1("mobilenetv1_100", width)  # noqa: E731
    return Case(build, 64, [f"blocks.{n}" for n in range(5)], "classifier")


def mobilenet_v2(width):
    build = lambda: tv.mobilenet_v2(width_mult=width)  # noqa: E731
    return Case(build, 64, [f"features.{n}" for n in (1, 3, 6, 13, 18)], "classifier.1")


def resnet(build):
    return Case(build, 64, ["layer1", "layer2", "layer3", "layer4"], "fc")


def densenet(build):
    blocks = [f"features.{m}" for m in ("denseblock1", "denseblock2", "denseblock3", "norm5")]
    return Case(build, 64, blocks, "classifier", maps=lambda t: t[:3] + [t[3].relu()])


GOOGLENET = Case(
    lambda: tv.googlenet(init_weights=False),
    64,
    ["conv3", "inception3b", "inception4e", "inception5b"],
    "fc",
    logits=lambda output: [(1.0, output.logits), (0.3, output.aux_logits1), (0.3, output.aux_logits2)],
)
INCEPTION_V3 = Case(
    lambda: tv.inception_v3(init_weights=False),
    299,
    ["Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"],
    "fc",
    logits=lambda output: [(1.0, output.logits), (0.4, output.aux_logits)],
)


class Vit(tv.VisionTransformer):
    """torchvision's, for images of any size and with DeiT's second token as timm has them."""

    def __init__(self, patch, depth, width, heads, distilled):
        super().__init__(224, patch, depth, heads, width, 4 * width)
        self.tokens = ["class_token"]
        if distilled:
            self.tokens.append("distillation_token")
            self.distillation_token = nn.Parameter(torch.zeros(1, 1, width))
            self.encoder.pos_embedding = nn.Parameter(torch.zeros(1, 2 + (224 // patch) ** 2, width))
            self.heads.head_dist = nn.Linear(width, 1000)

    def forward(self, x):
        x = self.conv_proj(x)
        grid = x.shape[2:]
        tokens = [getattr(self, name).expand(len(x), -1, -1) for name in self.tokens]
        x = torch.cat(tokens + [x.flatten(2).transpose(1, 2)], 1)
        special, patches = self.encoder.pos_embedding.tensor_split([len(tokens)], 1)
        side = round(patches.shape[1] ** 0.5)
        patches = patches.transpose(1, 2).unflatten(2, (side, side))
        patches = F.interpolate(patches, grid, mode="bicubic", antialias=True)
        positions = torch.cat([special, patches.flatten(2).transpose(1, 2)], 1)
        x = self.encoder.ln(self.encoder.layers(x + positions))
        logits = [head(x[:, i]) for i, head in enumerate(self.heads.children())]
        return logits if self.training and len(logits) > 1 else sum(logits) / len(logits)


def vit(patch, width, heads, depth=12, distilled=False):
    def maps(outputs):
        side = 96 // patch
        return [t[:, -side * side :].transpose(1, 2).unflatten(2, (side, side)) for t in outputs]

    layers = [f"encoder.layers.encoder_layer_{depth * n // 4 - 1}" for n in (1, 2, 3)]
    return Case(
        lambda: Vit(patch, depth, width, heads, distilled),
        96,
        [*layers, "encoder.ln"],
        "heads.head",
        maps,
        ("heads.head_dist",) if distilled else (),
        (lambda output: [(0.5, logits) for logits in output]) if distilled else None,
    )


CASES = {
    "resnet18": resnet(tv.resnet18),
    "resnet34": resnet(tv.resnet34),
    "resnet50": resnet(tv.resnet50),
    "resnet101": resnet(tv.resnet101),
    "resnet152": resnet(tv.resnet152),
    "wide_resnet50_2": resnet(tv.wide_resnet50_2),
    "wide_resnet101_2": resnet(tv.wide_resnet101_2),
    "resnext50_32x4d": resnet(tv.resnext50_32x4d),
    "resnext101_32x8d": resnet(tv.resnext101_32x8d),
    "cifar_resnet20": cifar_resnet(20, project=False),
    "cifar_resnet32": cifar_resnet(32, project=False),
    "cifar_resnet44": cifar_resnet(44, project=False),
    "cifar_resnet56": cifar_resnet(56, project=False),
    "cifar_resnet110": cifar_resnet(110, project=False),
    "cifar_resnet20_b": cifar_resnet(20, project=True),
    "cifar_resnet32_b": cifar_resnet(32, project=True),
    "cifar_resnet44_b": cifar_resnet(44, project=True),
    "cifar_resnet56_b": cifar_resnet(56, project=True),
    "cifar_resnet110_b": cifar_resnet(110, project=True),
    "mobilenet_v1": mobilenet_v1(1.0),
    "mobilenet_v1_0.25": mobilenet_v1(0.25),
    "mobilenet_v1_0.5": mobilenet_v1(0.5),
    "mobilenet_v1_0.75": mobilenet_v1(0.75),
    "mobilenet_v2": mobilenet_v2(1.0),
    "mobilenet_v2_0.35": mobilenet_v2(0.35),
    "mobilenet_v2_0.5": mobilenet_v2(0.5),
    "mobilenet_v2_1.4": mobilenet_v2(1.4),
    "vgg11": vgg(tv.vgg11, 2, 5, 10, 15, 20),
    "vgg13": vgg(tv.vgg13, 4, 9, 14, 19, 24),
    "vgg16": vgg(tv.vgg16, 4, 9, 16, 23, 30),
    "vgg19": vgg(tv.vgg19, 4, 9, 18, 27, 36),
    "vgg11_bn": vgg(tv.vgg11_bn, 3, 7, 14, 21, 28),
    "vgg13_bn": vgg(tv.vgg13_bn, 6, 13, 20, 27, 34),
    "vgg16_bn": vgg(tv.vgg16_bn, 6, 13, 23, 33, 43),
    "vgg19_bn": vgg(tv.vgg19_bn, 6, 13, 26, 39, 52),
    "cat_cnn": Case(CatCnn, 64, ["pool1", "pool2", "pool3"], "out"),
    "alexnet": Case(tv.alexnet, 63, ["features.2", "features.5", "features.12"], "classifier.6"),
    "alexnet_2012": Case(AlexNet2012, 63, ["features.3", "features.7", "features.14"], "classifier.6"),
    "nin": nin(),
    "nin_cifar": nin_cifar(),
    "densenet121": densenet(tv.densenet121),
    "densenet161": densenet(tv.densenet161),
    "densenet169": densenet(tv.densenet169),
    "densenet201": densenet(tv.densenet201),
    "googlenet": GOOGLENET,
    "inception_v3": INCEPTION_V3,
    "vit_t_16": vit(16, 192, 3),
    "vit_t_32": vit(32, 192, 3),
    "vit_s_16": vit(16, 384, 6),
    "vit_s_32": vit(32, 384, 6),
    "vit_b_16": vit(16, 768, 12),
    "vit_b_32": vit(32, 768, 12),
    "vit_l_16": vit(16, 1024, 16, depth=24),
    "vit_l_32": vit(32, 1024, 16, depth=24),
    "deit_t_16_distilled": vit(16, 192, 3, distilled=True),
    "deit_s_16_distilled": vit(16, 384, 6, distilled=True),
    "deit_b_16_distilled": vit(16, 768, 12, distilled=True),
}


def draw(name, shape):
    """Numbers in ±1 that belong to `name`: the pool, read in a circle from a place that the name decides."""
    start = int(ROOT.at(name).below(len(POOL), 1)[0])
    return np.resize(np.roll(POOL, -start), shape)


def fill(model, gain):
    """Weights in ±√(3·gain / fan_in), norms in [0.5, 1.5], the rest in ±0.5, counters 0; all of them f32 numbers."""
    with torch.no_grad():
        for name, t in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            x = draw(name, tuple(t.shape))
            if t.dim() > 1:
                x *= (3.0 * gain / t[0].numel()) ** 0.5
            elif name.endswith(("weight", "running_var")):
                x = 1.0 + 0.5 * x
            else:
                x *= 0.5
            t.copy_(torch.from_numpy(x.astype(np.float32)))


def sketch(t, count):
    """The norm and `count` numbers from everywhere."""
    t = t.detach().double().flatten()
    at = torch.arange(count) * len(t) // count
    return torch.cat([t.norm()[None], t[at]]).float()


def layers(model):
    """Names and shapes of a state dict, the modules that have the same ones together."""
    kinds = {}
    for name, t in model.state_dict().items():
        module, _, last = name.rpartition(".")
        kinds.setdefault(module, {})[last] = list(t.shape)
    groups = {}
    for module, shapes in kinds.items():
        groups.setdefault(json.dumps(shapes), []).append(module)
    return [[json.loads(shapes), modules] for shapes, modules in groups.items()]


def dropout(model):
    """Whether training draws random numbers, which are not the same on both sides."""
    return any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())


def steady(model):
    """Takes dropout away."""
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0


def loss(logits, y):
    """Of a single logit that of its sigmoid."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits.dtype))
    return F.cross_entropy(logits, y)


def gradients(model, case, batch, norms, tensors):
    """Adds a sketch of every parameter's gradient; the mode they are taken in."""
    x, y = batch
    if case.logits:
        steady(model)  # Or training, which alone runs auxiliary heads, would be random.
    mode = "train" if case.logits or (norms and not dropout(model)) else "eval"
    output = model.train(mode == "train")(x)
    heads = case.logits(output) if case.logits else [(1.0, output)]
    sum(weight * loss(logits, y) for weight, logits in heads).backward()
    tensors["gradients"] = torch.stack([sketch(p.grad, 4) for _, p in sorted(model.named_parameters())])
    return mode


def make(name, case):
    model = case.build()
    known = layers(model)
    parameters = sum(p.numel() for p in model.parameters())
    norms = any("running_var" in key for key in model.state_dict())
    gain = 1.0 if norms else 2.0
    fill(model, gain)
    model = model.double()
    classes = model.get_submodule(case.head).weight.shape[0]
    x = torch.from_numpy(draw("images", (BATCH, 3, case.size, case.size)))
    y = torch.from_numpy(ROOT.at("labels").below(max(classes, 2), BATCH))

    heard = {}
    hooks = [
        model.get_submodule(m).register_forward_hook(lambda _, __, out, m=m: heard.update({m: out}))
        for m in case.features
    ]
    read = []
    for head in (case.head, *case.heads):
        hooks.append(model.get_submodule(head).register_forward_hook(lambda _, i, __: read.append(i[0])))
    with torch.no_grad():
        logits = model.eval()(x)
    for hook in hooks:
        hook.remove()
    read = [t.mean((2, 3)) if t.dim() == 4 else t for t in read]  # what a last convolution sees
    features = case.maps([heard[m] for m in case.features])
    tensors = {f"features.{n}": sketch(t, 16) for n, t in enumerate(features)}
    tensors |= {"embedding": sketch(sum(read) / len(read), 16), "logits": sketch(logits, 64)}

    mode = "none" if parameters > GIANT else gradients(model, case, (x, y), norms, tensors)
    about = {
        "torch": torch.__version__,
        "parameters": parameters,
        "layers": known,
        "features": [list(t.shape) for t in features],
        "size": case.size,
        "gain": gain,
        "mode": mode,
    }
    path = Path(__file__).parent / f"{name}.safetensors"
    save_file(tensors, path, metadata={"about": json.dumps(about, sort_keys=True, separators=(",", ":"))})
    norms = tensors["gradients"][:, 0] if "gradients" in tensors else torch.zeros(1)
    print(f"{name}: {path.stat().st_size} bytes, {parameters} parameters, |logits| {logits.norm():.3g}, "
          f"gradients {norms.min():.3g} to {norms.max():.3g} in {mode}")


class Maps(nn.Module):
    """The modules of a classifier's `features`, and the outputs of some of them."""

    def __init__(self, features, wanted):
        super().__init__()
        self.features, self.wanted = features, wanted

    def forward(self, x):
        maps = []
        for n, module in enumerate(self.features):
            x = module(x)
            if n in self.wanted:
                maps.append(x)
        return maps


class Skip(nn.Module):
    """Coarser scores at twice their size, and the scores of a finer map."""

    def __init__(self, channels, classes):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False)
        self.score = nn.Conv2d(channels, classes, 1)

    def forward(self, coarse, fine):
        return self.upsample(coarse) + self.score(fine)


class Fcn(nn.Module):
    """Long et al. 2015, sections 3.3 and 4.1, with zeros around maps in place of the 100 pixels around the image."""

    def __init__(self, backbone, channels, kernel, width, classes=21):
        super().__init__()
        *fine, coarse = channels
        self.backbone = backbone
        self.classifier = nn.Sequential(
            nn.Conv2d(coarse, width, kernel, padding=kernel // 2), nn.ReLU(), nn.Dropout(),
            nn.Conv2d(width, width, 1), nn.ReLU(), nn.Dropout(),
            nn.Conv2d(width, classes, 1),
        )
        self.skips = nn.ModuleList([Skip(c, classes) for c in reversed(fine)])
        stride = 32 // 2 ** len(fine)
        self.upsample = nn.ConvTranspose2d(classes, classes, 2 * stride, stride, stride // 2, bias=False)

    def forward(self, x):
        h, w = x.shape[2:]
        *fine, coarse = self.backbone(F.pad(x, (0, -w % 32, 0, -h % 32)))
        scores = self.classifier(coarse)
        for skip, maps in zip(self.skips, reversed(fine)):
            scores = skip(scores, maps)
        return {"out": self.upsample(scores)[:, :, :h, :w]}


def fcn_vgg16(channels):
    return lambda: Fcn(Maps(tv.vgg16().features, [16, 23, 30][-len(channels):]), channels, 7, 4096)


def fcn_mobilenet_v2():
    return Fcn(Maps(tv.mobilenet_v2().features, [6, 13, 18]), [32, 96, 1280], 3, 256)


def torchvision(build):
    return lambda: build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)


SEGMENTERS = {
    "fcn32s_vgg16": fcn_vgg16([512]),
    "fcn16s_vgg16": fcn_vgg16([512, 512]),
    "fcn8s_vgg16": fcn_vgg16([256, 512, 512]),
    "fcn_mobilenet_v2": fcn_mobilenet_v2,
    "fcn_resnet50": torchvision(tv.segmentation.fcn_resnet50),
    "fcn_resnet101": torchvision(tv.segmentation.fcn_resnet101),
}


def make_segmenter(name, build):
    """Scores of every pixel, and gradients in training without dropout; the auxiliary loss enters half."""
    model = build()
    about = {"torch": torch.__version__, "layers": layers(model), "parameters": sum(p.numel() for p in model.parameters())}
    fill(model, 1.0)
    model = model.double()
    steady(model)
    x = torch.from_numpy(draw("images", (2, 3, 40, 56)))
    y = torch.from_numpy(ROOT.at("labels").below(21, 2 * 40 * 56).reshape(2, 40, 56))
    with torch.no_grad():
        tensors = {"logits": sketch(model.eval()(x)["out"], 64)}
    # Only training runs auxiliary heads. Elsewhere batch statistics would make gradients of biases before them 0.
    about["mode"] = "train" if hasattr(model, "aux_classifier") else "eval"
    output = model.train(about["mode"] == "train")(x)
    loss = F.cross_entropy(output["out"], y)
    if "aux" in output:
        loss = loss + 0.5 * F.cross_entropy(output["aux"], y)
    loss.backward()
    tensors["gradients"] = torch.stack([sketch(p.grad, 4) for _, p in sorted(model.named_parameters())])
    path = Path(__file__).parent / f"{name}.safetensors"
    save_file(tensors, path, metadata={"about": json.dumps(about, sort_keys=True, separators=(",", ":"))})
    print(f"{name}: {path.stat().st_size} bytes, {about['parameters']} parameters")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for chosen in sys.argv[1:] or [*CASES, *SEGMENTERS]:
        if chosen in CASES:
            make(chosen, CASES[chosen])
        else:
            make_segmenter(chosen, SEGMENTERS[chosen])
