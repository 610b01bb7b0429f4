#!/usr/bin/env python3
"""What the defaults reach on real and synthetic data, beside classical methods: one JSON, that a later call completes.

    cargo build --release
    python3 benches/quality.py --data DATA --features FEATURES -o benches/results/quality-DATE.json [--seeds 5] [--only NAME ...]

DATA holds the folders mnist, fashion-mnist and emnist-letters, each with the four gzipped IDX files; FEATURES holds mnist.safetensors,
fashion.safetensors and letters.safetensors as benches/scatnet.py writes them. Needs nothing beyond Python itself. Every run is one row
with its command; a row that is in the output already is not computed again. Labels only score. The load of the machine is noted beside
the seconds: they tell nothing where it is high.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

KEPT = ("acc", "nmi", "ari", "ncut", "rcut", "sigma", "gamma", "seconds", "stages", "sizes", "rows", "train_rows", "device")
FIGURES = ("rings", "double-c", "moons", "spirals")

# Name, data, clusters, further options.
TABLES = [
    ("ScatNet MNIST, 20,000 rows", "FEATURES/mnist.safetensors", 10, ""),
    ("raw MNIST, 20,000 rows", "DATA/mnist", 10, ""),
    ("ScatNet Fashion-MNIST, 20,000 rows", "FEATURES/fashion.safetensors", 10, ""),
    ("raw Fashion-MNIST, 20,000 rows", "DATA/fashion-mnist", 10, ""),
    ("ScatNet EMNIST Letters, imbalanced, 20,000 rows", "FEATURES/letters.safetensors", 26, ""),
    ("ScatNet MNIST, 50,000 rows", "FEATURES/mnist.safetensors", 10, "--train-rows 50000"),
]


class Runner:
    def __init__(self, options):
        self.neuncut = os.path.abspath(options.neuncut)
        self.places = {"DATA": str(options.data), "FEATURES": str(options.features)}
        self.output = options.output
        self.document = {"rows": []}
        if self.output.exists():
            self.document = json.loads(self.output.read_text())
        else:
            self.document.update(processor=processor(), date=datetime.date.today().isoformat())

    def has(self, name, method, seed):
        return any((r["name"], r["method"], r["seed"]) == (name, method, seed) for r in self.document["rows"])

    def call(self, command):
        """Runs `neuncut COMMAND` and returns what it prints."""
        words = [self.expand(word) for word in shlex.split(command)]
        child = subprocess.run([self.neuncut, *words, "--json", "--quiet"], stdout=subprocess.PIPE, check=True)
        return json.loads(child.stdout)

    def expand(self, word):
        head, _, tail = word.partition("/")
        return f"{self.places[head]}/{tail}" if head in self.places else word

    def keep(self, name, method, seed, command, found, **more):
        row = {"name": name, "method": method, "seed": seed, "command": "neuncut " + command, "load": os.getloadavg()[0]}
        row.update({key: found[key] for key in KEPT if key in found}, **more)
        self.document["rows"].append(row)
        part = self.output.with_suffix(".part")
        part.write_text(json.dumps(self.document, indent=1) + "\n")
        part.replace(self.output)
        shown = [f"{key} {row[key]:.4f}" for key in ("acc", "nmi", "ari", "ncut") if row.get(key) is not None]
        print(f"{name}, {method}, seed {seed}: {', '.join(shown)}, {row['seconds']:.0f} s", flush=True)


def tables(runner, name, data, clusters, options, seeds):
    for seed in seeds:
        if not runner.has(name, "neuncut", seed):
            command = f"fit {data} -k {clusters} --seed {seed} {options}".strip()
            with tempfile.TemporaryDirectory() as folder:
                runner.keep(name, "neuncut", seed, command, runner.call(f"{command} --out {folder}/run"))
    for method in ("spectral", "kmeans"):
        if not runner.has(name, method, 0):
            command = f"baseline {method} {data} -k {clusters} --seed 0 {options}".strip()
            runner.keep(name, method, 0, command, runner.call(command))


def figures(runner, figure, rows, seeds):
    """Trains on 10,000 points, labels and scores ten million others."""
    for seed in seeds:
        name = f"{figure}, 10,000 points, scored on {rows:,}"
        if runner.has(name, "neuncut", seed):
            continue
        with tempfile.TemporaryDirectory() as folder:
            runner.places["TMP"] = folder
            runner.call(f"generate {figure} --rows 10000 --seed {seed} -o TMP/train.safetensors")
            runner.call(f"generate {figure} --rows {rows} --seed {1000 + seed} -o TMP/points.npy")
            command = f"fit TMP/train.safetensors -k 2 --seed {seed}"
            fitted = runner.call(f"{command} --out TMP/run")
            begun = time.perf_counter()
            runner.call("predict TMP/run TMP/points.npy -o TMP/labels.npy")
            seconds = time.perf_counter() - begun
            scores = runner.call("evaluate --predictions TMP/labels.npy --labels TMP/points-labels.npy")
            found = {**fitted, **{key: scores[key] for key in ("acc", "nmi", "ari")}}
            runner.keep(name, "neuncut", seed, command, found, fit_acc=fitted["acc"], predict_seconds=round(seconds, 1))


def processor():
    with open("/proc/cpuinfo", encoding="utf8") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neuncut", default="target/release/neuncut")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--only", nargs="+", help="parts of names")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    runner = Runner(options)
    jobs = [(name, tables, (name, *row)) for name, *row in TABLES]
    jobs[2:2] = [(figure, figures, (figure, options.points)) for figure in FIGURES]
    for name, work, arguments in jobs:
        if not options.only or any(part in name for part in options.only):
            work(runner, *arguments, range(options.seeds))


if __name__ == "__main__":
    main()
