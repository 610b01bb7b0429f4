#!/usr/bin/env python3
"""The default `neuncut fit` beside spectral clustering of the same graph, by exact Ncut, on many small tables of all shapes.

    cargo build --release
    python3 -m venv peers && peers/bin/pip install numpy scipy scikit-learn
    peers/bin/python benches/zoo.py [--neuncut target/release/neuncut] [--seeds 0 1 2] [--only NAME ... | --random FIRST END] [-o zoo.json]

Every table is clustered by `neuncut fit TABLE -k K --seed SEED`, nothing else being set, and by SciPy's and scikit-learn's spectral
clustering of the graph that the run left (`graph.npz`): the K leading eigenvectors of D^-1/2 A D^-1/2, once with rows of unit norm (Ng,
Jordan and Weiss), once times D^-1/2 (Shi and Malik), k-means with ten starts; the better counts. The Ncut of both is computed here,
from the graph and the labels; an empty cluster counts 1. Exits with 1 when fit's is larger by more than a thousandth anywhere.
Scores against the classes are printed to look at; nothing depends on them. With --random the tables are those of random_tables.py with
these numbers, which have no classes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse
import sklearn.datasets
from scipy.optimize import linear_sum_assignment
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

import random_tables

SLACK = 1e-3
GENERATORS = {"rings": 2, "double-c": 2, "moons": 2, "spirals": 2, "blobs": 5, "subspaces": 5}


def blobs(rng, sizes, d, distance, spread=1.0):
    """Normal clouds around random centres; `distance` is that of the centres from the origin, a row's deviation being 1."""
    centers = rng.normal(size=(len(sizes), d))
    centers *= distance / np.linalg.norm(centers, axis=1, keepdims=True)
    y = np.repeat(np.arange(len(sizes)), sizes)
    x = centers[y] + spread * rng.normal(size=(len(y), d))
    order = rng.permutation(len(y))
    return x[order], y[order]


def bundled(load):
    def make(_rng):
        return load(return_X_y=True)

    return make


def anisotropic(rng):
    y = np.repeat(np.arange(5), 300)
    maps = rng.normal(size=(5, 10, 10)) * np.geomspace(1, 0.1, 10)
    centers = 4 * rng.normal(size=(5, 10))
    x = centers[y] + np.einsum("id,ide->ie", rng.normal(size=(1500, 10)), maps[y])
    return x, y


def duplicates(rng):
    x, y = blobs(rng, [500] * 4, 3, 4)
    return np.round(x), y


def constant_columns(rng):
    x, y = blobs(rng, [400] * 3, 6, 5)
    return np.hstack([x, np.full((len(x), 9), 7.0)]), y


def mixed_scales(rng):
    x, y = blobs(rng, [300] * 5, 15, 6)
    return x * np.geomspace(1e-3, 1e4, 15) + 100, y


def noisy(rng):
    x, y = blobs(rng, [250] * 8, 10, 5)
    return np.hstack([x, rng.normal(size=(len(x), 60))]), y


def heavy_tails(rng):
    y = np.repeat(np.arange(4), 600)
    return 8 * rng.normal(size=(4, 6))[y] + rng.standard_t(2, size=(2400, 6)), y


def categories(rng):
    y = rng.integers(0, 6, 2000)
    shares = rng.uniform(0.1, 0.9, size=(6, 30))
    return (rng.uniform(size=(2000, 30)) < shares[y]).astype(float), y


def counts(rng):
    y = rng.integers(0, 12, 3000)
    rates = rng.gamma(0.1, 1.0, size=(12, 500))
    return rng.poisson(rates[y] * rng.lognormal(0, 0.5, size=(3000, 1))).astype(float), y


def grid(rng):
    y = np.repeat(np.arange(40), 200)
    x = np.stack([y % 8, y // 8], 1) + 0.15 * rng.normal(size=(8000, 2))
    return x, y


def small_and_large(rng):
    return blobs(rng, [20, 4000, 5980, 10_000], 12, 8)


def uneven_spread(rng):
    x, y = blobs(rng, [300] * 6, 8, 9)
    center = np.array([x[y == c].mean(0) for c in range(6)])
    return center[y] + (x - center[y]) * np.geomspace(0.1, 3, 6)[y, None], y


def swiss_roll(rng):
    x, t = sklearn.datasets.make_swiss_roll(4000, noise=0.1, random_state=int(rng.integers(2**31)))
    return x, np.digitize(t, np.quantile(t, np.arange(1, 10) / 10))


def ten_rings(rng):
    y = rng.integers(0, 10, 5000)
    angle = rng.uniform(0, 2 * np.pi, 5000)
    radius = 1 + y + 0.05 * rng.normal(size=5000)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), y


def crowds(sizes, distance):
    """Normal clouds of deviation 1 in the plane around the corners of a polygon, so far from its centre."""

    def make(rng):
        y = np.repeat(np.arange(len(sizes)), sizes)
        angle = 2 * np.pi * y / len(sizes)
        return distance * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(size=(len(y), 2)), y

    return make


def times(rng):
    """Seconds since 1970 in three campaigns, in each of which a second column has two values."""
    y = np.repeat(np.arange(6), 250)
    seconds = 1.7e9 + 2e7 * (y // 2) + 2e4 * rng.normal(size=1500)
    return np.stack([seconds, 6 * (y % 2) + rng.normal(size=1500), rng.normal(size=1500)], 1), y


def cities(rng):
    y = rng.choice(8, 2400, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    centers = np.stack([rng.uniform(-180, 180, 8), rng.uniform(-60, 70, 8)], 1)
    return centers[y] + 0.1 * rng.normal(size=(2400, 2)), y


def outliers(rng):
    x, y = blobs(rng, [250] * 4, 3, 5)
    x[:10] += 1e4 * rng.normal(size=(10, 3))
    return x, y


# What makes the rows, the number of clusters.
SETS = {
    "iris": (bundled(sklearn.datasets.load_iris), 3),
    "wine": (bundled(sklearn.datasets.load_wine), 3),
    "breast-cancer": (bundled(sklearn.datasets.load_breast_cancer), 2),
    "digits": (bundled(sklearn.datasets.load_digits), 10),
    "anisotropic": (anisotropic, 5),
    "imbalanced": (lambda rng: blobs(rng, [1600, 800, 400, 200, 100, 50], 8, 6), 6),
    "20-of-20,000": (small_and_large, 4),
    "uneven-spread": (uneven_spread, 6),
    "forty-in-1000": (lambda rng: blobs(rng, [100] * 40, 1000, 25), 40),
    "wide-300x1000": (lambda rng: blobs(rng, [60] * 5, 1000, 16), 5),
    "noisy-columns": (noisy, 8),
    "duplicates": (duplicates, 4),
    "constant-columns": (constant_columns, 3),
    "mixed-scales": (mixed_scales, 5),
    "heavy-tails": (heavy_tails, 4),
    "categories": (categories, 6),
    "counts-500": (counts, 12),
    "grid-of-40": (grid, 40),
    "ten-rings": (ten_rings, 10),
    "swiss-roll": (swiss_roll, 10),
    "barely-there": (lambda rng: blobs(rng, [400] * 5, 10, 2), 5),
    "barely-there-20": (lambda rng: blobs(rng, [500] * 20, 30, 4), 20),
    "one-cloud": (lambda rng: (rng.normal(size=(1000, 20)), np.zeros(1000, int)), 10),
    "square": (lambda rng: (rng.uniform(size=(2000, 2)), np.zeros(2000, int)), 6),
    "few-rows": (lambda rng: blobs(rng, [40] * 5, 40, 6), 5),
    "two-columns-big": (lambda rng: blobs(rng, [4000] * 5, 2, 4, 0.7), 5),
    "crowds-30": (crowds([200] * 3, 30), 10),
    "crowds-300": (crowds([200] * 3, 300), 10),
    "crowds-3000": (crowds([500, 250, 150], 3000), 9),
    "crowds-of-20": (crowds([300] * 5, 25), 20),
    "times": (times, 6),
    "cities": (cities, 14),
    "far-outliers": (outliers, 4),
    "incomes": (lambda rng: (rng.lognormal(10, 1, size=(2000, 1)), np.zeros(2000, int)), 6),
    "line": (lambda rng: (rng.uniform(size=(2000, 1)), np.zeros(2000, int)), 5),
}


def ncut(graph, labels, k):
    """Exact, in f64."""
    degrees = np.asarray(graph.sum(1)).ravel()
    total = 0.0
    for label in range(k):
        inside = (labels == label).astype(float)
        volume = degrees @ inside
        total += 1 - inside @ (graph @ inside) / volume if volume > 0 else 1.0
    return total


def eigenvectors(graph, k):
    """The k leading ones of D^-1/2 A D^-1/2, and the degrees."""
    n = graph.shape[0]
    degrees = np.asarray(graph.sum(1)).ravel()
    roots = 1 / np.sqrt(np.maximum(degrees, 1e-300))
    matrix = scipy.sparse.diags(roots) @ graph @ scipy.sparse.diags(roots)
    if n <= 2500:
        return np.linalg.eigh(matrix.toarray())[1][:, : -k - 1 : -1], degrees
    start = np.random.default_rng(0).normal(size=n)
    return eigsh(matrix, k, which="LA", ncv=min(n, max(4 * k, 100)), v0=start, maxiter=20_000, tol=1e-8)[1], degrees


def spectral(graph, k, seeds):
    """For each seed the smaller Ncut of the two scalings, with its labels."""
    vectors, degrees = eigenvectors(graph, k)
    rows = {
        "unit": vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12),
        "shi-malik": vectors / np.sqrt(degrees)[:, None],
    }
    best = []
    for seed in seeds:
        labels = [KMeans(k, n_init=10, random_state=seed).fit_predict(x) for x in rows.values()]
        best.append(min(((ncut(graph, y, k), y) for y in labels), key=lambda pair: pair[0]))
    return best


def accuracy(classes, clusters):
    table = contingency_matrix(classes, clusters)
    return table[linear_sum_assignment(table, maximize=True)].sum() / table.sum()


def fit(neuncut, table, k, seed, out, threads):
    command = [neuncut, "fit", table, "-k", k, "--seed", seed, "--out", out, "--threads", threads, "--json", "--quiet", "--overwrite"]
    return json.loads(subprocess.run([str(a) for a in command], check=True, stdout=subprocess.PIPE).stdout)


def tables(chosen, folder):
    """Name, rows, classes or none, and number of clusters of each table that is asked for."""
    if chosen.random:
        for number in range(*chosen.random):
            name, x, k = random_tables.table(number)
            yield name, x, None, k
        return
    for at, name in enumerate([*SETS, *GENERATORS]):
        if chosen.only and name not in chosen.only:
            continue
        if name in SETS:
            make, k = SETS[name]
            yield name, *make(np.random.default_rng(1000 + at)), k
        else:
            made = folder / "made.npz"
            subprocess.run([chosen.neuncut, "generate", name, "--rows", "10000", "--seed", "5", "-o", made, "--quiet"], check=True)
            with np.load(made) as loaded:
                yield name, loaded["x"], loaded["y"], GENERATORS[name]
            made.unlink()


def main():
    warnings.filterwarnings("ignore", message="Number of distinct clusters")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neuncut", default="target/release/neuncut")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", choices=[*SETS, *GENERATORS])
    which.add_argument("--random", nargs=2, type=int, metavar=("FIRST", "END"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()

    results = []
    header = ("table", "rows", "cols", "k", "seed", "fit", "spectral", "fit/spectral", "ACC", "NMI", "spectral ACC", "NMI", "s")
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        for name, x, y, k in tables(chosen, Path(folder)):
            table = Path(folder, "table.npz")
            np.savez(table, x=x.astype(np.float32), **({} if y is None else {"y": np.asarray(y, np.int64)}))
            # The graph depends on the seed only where rows are drawn: these tables are trained on whole.
            known = {}
            for seed in chosen.seeds:
                begun = time.perf_counter()
                fit(chosen.neuncut, table, k, seed, out, chosen.threads)
                seconds = time.perf_counter() - begun
                rows = np.load(out / "training-rows.npy")
                graph = scipy.sparse.load_npz(out / "graph.npz").astype(np.float64).tocsr()
                labels = np.load(out / "labels.npy")[rows]
                key = (graph.nnz, graph.data.tobytes())
                if key not in known:
                    known[key] = dict(zip(chosen.seeds, spectral(graph, k, chosen.seeds)))
                of_spectral, spectral_labels = known[key][seed]
                of_fit = ncut(graph, labels, k)
                worse = of_fit > of_spectral * (1 + SLACK) + 1e-9
                scores = [None] * 4
                if y is not None:
                    scores = [f(y[rows], l) for l in (labels, spectral_labels) for f in (accuracy, normalized_mutual_info_score)]
                row = {
                    "table": name, "rows": x.shape[0], "cols": x.shape[1], "clusters": k, "seed": seed, "ncut": of_fit,
                    "spectral_ncut": of_spectral, "acc": scores[0], "nmi": scores[1], "spectral_acc": scores[2],
                    "spectral_nmi": scores[3], "seconds": round(seconds, 1), "worse": bool(worse),
                }  # fmt: skip
                results.append(row)
                ratio = of_fit / of_spectral if of_spectral > 0 else float("nan")
                shown = [name, *x.shape, k, seed, f"{of_fit:.5g}", f"{of_spectral:.5g}", f"{ratio:.4f}" + (" WORSE" if worse else "")]
                shown += ["" if score is None else f"{score:.3f}" for score in scores] + [f"{seconds:.1f}"]
                print("| " + " | ".join(map(str, shown)) + " |", flush=True)
    if chosen.output:
        chosen.output.write_text(json.dumps({"command": "benches/zoo.py", "slack": SLACK, "rows": results}, indent=1) + "\n")
    losses = sum(row["worse"] for row in results)
    print(f"\n{losses} of {len(results)} runs have a larger Ncut than spectral clustering")
    sys.exit(losses > 0)


if __name__ == "__main__":
    main()
