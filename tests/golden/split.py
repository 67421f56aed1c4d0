"""Writes split.json: how many examples of each class scikit-learn's stratified split puts into its first part.

Run with scikit-learn and NumPy installed: python tests/golden/split.py
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split


def decided(counts, first):
    """Whether the sizes follow from the counts alone: where equals compete for one more, chance decides."""
    lost = sorted((Fraction(c * first, sum(counts)) % 1 for c in counts), reverse=True)
    more = first - sum(c * first // sum(counts) for c in counts)
    return more == 0 or more == len(lost) or lost[more - 1] != lost[more]


def main():
    rng, cases = np.random.default_rng(7), []
    while len(cases) < 80:
        counts = [int(c) for c in rng.integers(2, 60, rng.integers(2, 9))]
        first = int(rng.integers(len(counts), sum(counts) - len(counts) + 1))
        if not decided(counts, first):
            continue
        labels = np.repeat(np.arange(len(counts)), counts)
        part, _ = train_test_split(labels, train_size=first, test_size=len(labels) - first, stratify=labels, random_state=0)
        cases.append({"counts": counts, "first": first, "of_each": np.bincount(part, minlength=len(counts)).tolist()})
    Path(__file__).with_name("split.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


main()
