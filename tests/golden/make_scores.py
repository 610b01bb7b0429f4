"""Writes scores.json: what scikit-learn and SciPy make of some labellings.

    python make_scores.py        (scikit-learn 1.9, SciPy 1.17)
"""

import json
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

random = np.random.default_rng(20250101)


def case(name, predicted, clusters, truth, classes):
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    table = np.zeros((clusters, classes), dtype=np.int64)
    np.add.at(table, (predicted, truth), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {
        "name": name,
        "predicted": predicted.tolist(),
        "clusters": clusters,
        "truth": truth.tolist(),
        "classes": classes,
        "acc": float(table[rows, columns].sum() / len(truth)),
        "nmi_geometric": float(normalized_mutual_info_score(truth, predicted, average_method="geometric")),
        "nmi_arithmetic": float(normalized_mutual_info_score(truth, predicted, average_method="arithmetic")),
        "ari": float(adjusted_rand_score(truth, predicted)),
    }


def noisy(rows, clusters, classes, kept):
    """Clusters that follow the classes in a share `kept` of the rows."""
    truth = random.integers(classes, size=rows)
    followed = random.random(rows) < kept
    return np.where(followed, truth % clusters, random.integers(clusters, size=rows)), clusters, truth, classes


cases = [
    case("one row", [0], 1, [0], 1),
    case("one cluster, one class", [0, 0, 0], 1, [0, 0, 0], 1),
    case("one cluster, two classes", [0, 0, 0], 1, [0, 1, 0], 2),
    case("two clusters, one class", [0, 1, 0], 2, [0, 0, 0], 1),
    case("all single rows, both", [0, 1, 2], 3, [2, 0, 1], 3),
    case("all single rows, one side", [0, 1, 2, 3], 4, [0, 0, 1, 1], 2),
    case("independent", [0, 0, 1, 1], 2, [0, 1, 0, 1], 2),
    case("unused names", [0, 4, 4, 0, 2], 6, [3, 1, 1, 3, 0], 5),
    case("good", *noisy(129, 3, 3, 0.9)),
    case("poor", *noisy(257, 10, 10, 0.2)),
    case("more clusters", *noisy(129, 13, 5, 0.7)),
    case("more classes", *noisy(129, 4, 11, 0.7)),
    case("uneven", np.minimum(random.geometric(0.3, size=201) - 1, 6), 7,
         np.minimum(random.geometric(0.5, size=201) - 1, 4), 5),
]
lines = ",\n".join(json.dumps(c) for c in cases)
Path(__file__).with_name("scores.json").write_text(f"[\n{lines}\n]\n")
