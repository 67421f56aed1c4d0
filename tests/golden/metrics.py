"""Writes metrics.json: what scikit-learn, seqeval, sacreBLEU and JiWER measure, in batches as a test streams them.

Run with NumPy, scikit-learn, seqeval, sacrebleu and jiwer installed: python tests/golden/metrics.py
"""

import json
import random
import warnings
from importlib.metadata import version
from pathlib import Path

import jiwer
import numpy as np
import sklearn.metrics as sk
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from seqeval.metrics import f1_score, precision_score, recall_score

warnings.filterwarnings("ignore")
SEED = 41
rng, draw = np.random.default_rng(SEED), random.Random(SEED)


def chunks(x, sizes):
    return [part.tolist() for part in np.split(np.asarray(x), np.cumsum(sizes)[:-1])]


def values():
    sizes = [5, 1, 17, 9]
    truth = 1000 + 30 * rng.standard_normal(sum(sizes))  # a mean that is large beside the spread
    predicted = truth + 8 * rng.standard_normal(truth.size)
    return {
        "truth": chunks(truth, sizes),
        "predicted": chunks(predicted, sizes),
        "mae": sk.mean_absolute_error(truth, predicted),
        "rmse": sk.root_mean_squared_error(truth, predicted),
        "mape": sk.mean_absolute_percentage_error(truth, predicted),
        "r2": sk.r2_score(truth, predicted),
    }


def tags(length):
    kinds = ["person", "creative-work", "group"]
    places = ["B", "I", "I", "O", "O", "E", "S"]
    return [(place if (place := draw.choice(places)) == "O" else f"{place}-{draw.choice(kinds)}") for _ in range(length)]


def entities():
    truth = [tags(draw.randint(1, 12)) for _ in range(60)]
    predicted = [[tag if draw.random() < 0.8 else tags(1)[0] for tag in sentence] for sentence in truth]
    return {
        "truth": truth,
        "predicted": predicted,
        "precision": precision_score(truth, predicted),
        "recall": recall_score(truth, predicted),
        "f1": f1_score(truth, predicted),
    }


TEXTS = [
    "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "It costs $3.50 (or 1,000 yen); don't ask -- \"really\"?",
    "A 5-year-old runs at 10-12 km/h... Then: stop!",
    "Tom &amp; Jerry &lt;3 &quot;cheese&quot;, i.e. Gouda & Brie.",
    "Straße, ÜBER, Ärger und 'Öl' [siehe Seite 3,4].",
    "<skipped>Eine Frau tanzt.",
    "Hund",
]


def spoiled(text):
    words = text.split()
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(len(words))
        change = draw.choice(["drop", "double", "capital"])
        words[at : at + 1] = {"drop": words[at + 1 : at + 1], "double": [words[at]] * 2, "capital": [words[at].upper()]}[change]
        words = words or ["nichts"]
    return " ".join(words)


def bleu():
    translations = [spoiled(text) for text in TEXTS]
    sets = {
        "corpus": (translations, TEXTS),
        "short": ([" ".join(text.split()[:4]) for text in TEXTS], TEXTS),
        # Words but no longer runs are right, so that shares of zero are smoothed.
        "scattered": ([" ".join(sorted(text.split(), reverse=True)) for text in TEXTS[:2]], TEXTS[:2]),
        "no runs of four": (["Hund"], ["Hund"]),
        "nothing right": (["a b c d e f"], TEXTS[:1]),
    }
    scores = []
    for name, (ours, references) in sets.items():
        for lower in [False, True]:
            score = BLEU(lowercase=lower).corpus_score(ours, [references]).score
            scores.append({"name": name, "lower": lower, "translations": ours, "references": references, "score": score})
    tokens = [{"text": text, "tokens": Tokenizer13a()(text)} for text in TEXTS + translations]
    return {"scores": scores, "tokens": tokens}


def edits():
    texts = [spoiled(text) for text in TEXTS]
    return {"texts": texts, "references": TEXTS, "wer": jiwer.wer(TEXTS, texts), "cer": jiwer.cer(TEXTS, texts)}


def classes():
    """Class 5 is neither there nor claimed, class 4 only claimed."""
    sizes, count = [7, 20, 13], 6
    target = rng.integers(0, 4, sum(sizes))
    logits = rng.standard_normal((target.size, count)).astype(np.float32)
    logits[np.arange(target.size), target] += 1
    logits[:, 5] = -9
    predicted = logits.argmax(1)
    averages = [
        {"average": average, "beta": beta, "figures": sk.precision_recall_fscore_support(target, predicted, beta=beta, average=average)[:3]}
        for average in ["micro", "macro"]
        for beta in [1.0, 0.5, 2.0]
    ]
    each = sk.precision_recall_fscore_support(target, predicted, beta=2.0, labels=range(count))[:3]
    return {
        "targets": chunks(target, sizes),
        "logits": chunks(logits, sizes),
        "averages": averages,
        "each": [x.tolist() for x in each],
        "accuracy": sk.accuracy_score(target, predicted),
    }


def many_classes():
    sizes, count = [11, 30], 100
    target = rng.integers(0, count, sum(sizes))
    logits = rng.standard_normal((target.size, count)).astype(np.float32)
    logits[np.arange(target.size), target] += 2
    top5 = sk.top_k_accuracy_score(target, logits, k=5, labels=range(count))
    places = np.round(logits, 2)  # few digits keep the file small, and there are ties only off the target's score
    assert top5 == sk.top_k_accuracy_score(target, places, k=5, labels=range(count))
    return {"targets": chunks(target, sizes), "logits": [np.round(part, 2).tolist() for part in chunks(places, sizes)], "top5": top5}


def two_classes():
    sizes = [10, 25, 5]
    target = rng.integers(0, 2, sum(sizes))
    logits = np.round(rng.standard_normal((target.size, 2)) + target[:, None] * [0, 0.7], 1)  # few digits make ties
    score = logits.astype(np.float32).astype(np.float64)
    score = score[:, 1] - score[:, 0]
    return {
        "targets": chunks(target, sizes),
        "logits": chunks(logits, sizes),
        "roc_auc": sk.roc_auc_score(target, score),
        "average_precision": sk.average_precision_score(target, score),
    }


packages = {name: version(name) for name in ["scikit-learn", "seqeval", "sacrebleu", "jiwer"]}
document = {"about": {"maker": "tests/golden/metrics.py", "seed": SEED, **packages}}
for part in [values, entities, bleu, edits, classes, many_classes, two_classes]:
    document[part.__name__] = part()
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
print(f"{path.name}: {path.stat().st_size} bytes")
