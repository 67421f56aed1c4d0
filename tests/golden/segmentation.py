"""Writes segmentation.safetensors: scikit-learn's confusion matrix of three batches of scenes, and what follows from it.

Run with PyTorch, scikit-learn, NumPy and safetensors installed: python tests/golden/segmentation.py
"""

import json
from pathlib import Path

import sklearn
import torch
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

torch.manual_seed(40)
CLASSES, IGNORE = 6, 255
BATCHES = [(2, 5, 7), (1, 4, 4), (3, 6, 3)]

tensors, targets, predictions = {}, [], []
for i, (batch, height, width) in enumerate(BATCHES):
    target = torch.randint(0, CLASSES - 2, (batch, height, width))  # class 4 is only predicted, 5 is neither
    logits = torch.randn(batch, CLASSES, height, width)
    logits[:, 5] = -9
    logits.scatter_add_(1, target[:, None], torch.full((batch, 1, height, width), 1.0))
    target[torch.rand(target.shape) < 0.2] = IGNORE
    tensors |= {f"{i}.logits": logits, f"{i}.targets": target.to(torch.uint8)}
    targets.append(target[target != IGNORE])
    predictions.append(logits.argmax(1)[target != IGNORE])
    tensors[f"{i}.loss"] = torch.nn.functional.cross_entropy(logits.double(), target, ignore_index=IGNORE)
targets, predictions = torch.cat(targets).numpy(), torch.cat(predictions).numpy()
matrix = confusion_matrix(targets, predictions, labels=range(CLASSES))
tensors["confusion"] = torch.from_numpy(matrix)
# Over the classes that were there or were predicted, which is scikit-learn's mean where labels are not given.
tensors["mean_iou"] = torch.tensor(jaccard_score(targets, predictions, average="macro"), dtype=torch.float64)
tensors["accuracy"] = torch.tensor(accuracy_score(targets, predictions), dtype=torch.float64)
about = {"maker": "tests/golden/segmentation.py", "scikit-learn": sklearn.__version__, "ignore": IGNORE}
path = Path(__file__).with_suffix(".safetensors")
save_file(tensors, path, {"about": json.dumps(about, sort_keys=True)})
print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")
