#!/usr/bin/env python3
"""k-means on raw pixels: what the simplest peer makes of the features we start from.

    kmeans.py FOLDER [--clusters K] [--starts 10] [--seeds 0 1 2]

FOLDER holds the four gzipped IDX files of an MNIST-like set; training and test rows are clustered together. Prints one
JSON line per feature scaling and seed. NMI has the paper's geometric normalisation.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import sklearn
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix


def read_idx(path):
    with gzip.open(path) as file:
        content = file.read()
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def read_all(folder, kind):
    return np.concatenate([read_idx(folder / f"{part}-{kind}-ubyte.gz") for part in ("train", "t10k")])


def unit(x):
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6)


def accuracy(classes, clusters):
    """Share of rows under the best one-to-one map of clusters to classes."""
    table = contingency_matrix(classes, clusters)
    return table[linear_sum_assignment(table, maximize=True)].sum() / table.sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clusters", type=int, help="as many as there are classes, unless given")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()

    images = read_all(chosen.folder, "images-idx3")
    labels = read_all(chosen.folder, "labels-idx1")
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    features = {
        "/255": pixels,
        "/255, unit rows": unit(pixels),
        "/255, centred, unit rows": unit(pixels - pixels.mean(0)),
    }
    for name, x in features.items():
        for seed in chosen.seeds:
            clusters = chosen.clusters or len(np.unique(labels))
            start = time.perf_counter()
            found = KMeans(clusters, init="k-means++", n_init=chosen.starts, random_state=seed).fit_predict(x)
            report = {
                "peer": f"scikit-learn {sklearn.__version__} KMeans",
                "rows": len(x),
                "clusters": clusters,
                "starts": chosen.starts,
                "features": name,
                "seed": seed,
                "acc": round(float(accuracy(labels, found)), 4),
                "nmi": round(float(normalized_mutual_info_score(labels, found, average_method="geometric")), 4),
                "ari": round(float(adjusted_rand_score(labels, found)), 4),
                "seconds": round(time.perf_counter() - start, 1),
            }
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
