#!/usr/bin/env python3
"""What each default is worth: the default `fit` with one option changed at a time, over seeds; one JSON, that a later call completes.

    cargo build --release
    python3 benches/ablation.py --features FEATURES --data DATA -o benches/results/ablation-DATE.json [--seeds 3] [--only TABLE ...]
    python3 benches/ablation.py --show benches/results/ablation-DATE.json     # the tables of benches/README.md

FEATURES holds mnist.safetensors, fashion.safetensors and letters.safetensors as benches/scatnet.py writes them; DATA the folder `mnist`.
Trained on 20,000 rows unless the table says otherwise; labels only score, on all rows. Needs nothing beyond Python itself. Cuts
compare within a table only where the graph is the same.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean

from quality import Runner

MNIST = "FEATURES/mnist.safetensors"

# Table, option, its values; "" stands for the default.
TABLES = [
    ("defaults", [""]),
    ("neighbours per row", ["--neighbors 3", "--neighbors 5", "--neighbors 10", "--neighbors 20", "--neighbors 30"]),
    ("edges that one end chose", ["--one-sided 0", "--one-sided 0.5", "--one-sided 1"]),
    (
        "gamma",
        [f"--gamma {g}" for g in (0.03, 0.1, 0.2, 0.3, 0.5, 1, 2)] + [f"--penalty frobenius --gamma {g}" for g in ("auto", 5, 20, 100)],
    ),
    (
        "start",
        ["--start kmeans", "--start random", "--start random --moves 5", "--start random --overcluster 2", "--overcluster 2", "--moves 5"],
    ),
    # Filled in for the data: the rows as the network reads them, and those whitened.
    ("rows of the graph", []),
    ("neighbours per seed", [f"--seed-neighbors {n}" for n in (0, 1, 2, 8)]),
    ("mini-batch", [f"--batch {m}" for m in (50, 100, 200, 500, 1400)]),
    ("network", [f"--hidden {h}" for h in ("none", "512", "128,128", "256,256", "1024,1024", "512,512,512")]),
    ("training rows", [f"--train-rows {n}" for n in (1000, 2000, 5000, 10000, 50000)]),
    ("cut and volumes", ["--cut rcut", "--volumes fixed"]),
    (
        "as published: heat kernel within mini-batches",
        [
            "--affinity heat --neighbors 3 --epochs 20",
            "--affinity heat --neighbors 10 --epochs 20",
            "--affinity heat --neighbors all --epochs 20",
            "--affinity heat --neighbors all --penalty frobenius --gamma 100 --sigma 3 --lr 0.001 --epochs 20",
        ],
    ),
]

DATA = [
    ("ScatNet MNIST", MNIST, 10, None),
    ("ScatNet Fashion-MNIST", "FEATURES/fashion.safetensors", 10, ("defaults", "neighbours per row", "gamma", "start", "rows of the graph")),
    ("raw MNIST", "DATA/mnist", 10, ("defaults", "neighbours per row", "gamma", "start", "rows of the graph")),
]

# How the network reads the data.
PLAIN = {"FEATURES": "center,unit", "DATA": "pixels,center,unit"}


def runs(tables):
    """All runs of one seed: the name of the data, the table, the option, the command."""
    for name, data, clusters, only in DATA:
        for table, values in TABLES:
            if (only and table not in only) or (tables and not any(part in table for part in tables)):
                continue
            if table == "rows of the graph":
                plain = PLAIN[data.split("/")[0]]
                values = [f"--graph-features {plain}", f"--graph-features {plain},whiten=0.1,unit"]
            for value in values:
                yield name, table, value, f"fit {data} -k {clusters} {value}".strip()


def measure(chosen):
    runner = Runner(chosen)
    for seed in range(chosen.seeds):
        for name, table, value, command in runs(chosen.only):
            key = f"{name} | {table} | {value or 'default'}"
            if runner.has(key, "neuncut", seed):
                continue
            with tempfile.TemporaryDirectory() as folder:
                full = f"{command} --seed {seed}"
                runner.keep(key, "neuncut", seed, full, runner.call(f"{full} --out {folder}/run"))


def show(path):
    """The tables, as Markdown."""
    found = {}
    for row in json.loads(path.read_text())["rows"]:
        found.setdefault(tuple(row["name"].split(" | ")), []).append(row)
    last = None
    for (name, table, value), rows in sorted(found.items(), key=order):
        if (name, table) != last:
            print(f"\n{name}, {table}\n\n| option | ACC | worst | NMI | ARI | Ncut | gamma | seeds |\n|---|---|---|---|---|---|---|---|")
            last = (name, table)
        of = lambda key: [row[key] for row in rows if row.get(key) is not None]
        cells = [f"{mean(of('acc')):.3f}", f"{min(of('acc')):.3f}"] + [f"{mean(of(key)):.3f}" for key in ("nmi", "ari", "ncut", "gamma")]
        print(f"| `{value}` | {' | '.join(cells)} | {len(rows)} |")


def order(entry):
    (name, table, value), _ = entry
    names, tables = [row[0] for row in DATA], [row[0] for row in TABLES]
    values = [row[2] or "default" for row in runs(None) if row[:2] == (name, table)]
    return names.index(name), tables.index(table), values.index(value) if value in values else len(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neuncut", default="target/release/neuncut")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="parts of names of tables")
    parser.add_argument("--show", type=Path, help="print the tables of this file instead")
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()
    if chosen.show:
        show(chosen.show)
    elif chosen.output and chosen.features and chosen.data:
        measure(chosen)
    else:
        sys.exit("give --features, --data and -o, or --show")


if __name__ == "__main__":
    main()
