"""torchvision's side of `cargo xtask bench loader`: a JSON object a line, seconds an epoch back."""
import json
import sys
import time

import torch
import torchvision
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import datasets, transforms

torch.set_num_threads(1)
print(torchvision.__version__, flush=True)
loaders = {}
for line in sys.stdin:
    request = json.loads(line)
    key = tuple(request[name] for name in ("folder", "size", "repeats", "batch", "workers"))
    if key not in loaders:
        folder, size, repeats, batch, workers = key
        transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )
        data = ConcatDataset([datasets.ImageFolder(folder, transform)] * repeats)
        loaders[key] = DataLoader(data, batch, shuffle=True, num_workers=workers, persistent_workers=True)
    began, images = time.perf_counter(), 0
    for _ in range(request["calls"]):
        for pictures, labels in loaders[key]:
            images += len(pictures)
    seconds = time.perf_counter() - began
    assert images == request["images"] * request["calls"], f"{images} images"
    print(seconds / request["calls"], flush=True)
