#!/usr/bin/env python3
"""How time grows with each size: of a training step and of labelling, one size varied at a time; curves as one picture.

    cargo build --release
    python3 benches/growth.py --device cpu [-o benches/results/growth-cpu-DATE.json] [--only AXIS ...] [--most SIZE]

From m 1000, d 500, hidden layers of 512 and 512, and k 10: the mini-batch m, the clusters k, the columns d and the width of the hidden
layers, each for a step and for labels of rows that the device holds (as many as the mini-batch along m, else 16,384); and the rows of a
file of points, two columns each, that `predict` labels. Every measurement is one row with its command; one that is in the output already
is not made again, so that a call goes on where another ended. The picture comes to lie beside the output, with exponents fitted by least
squares of the logarithms over the upper half of the sizes; `--show` prints these as a table. Needs benches/requirements-growth.txt to
draw, nothing beyond Python itself to measure and to show.
"""

import argparse
import datetime
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from quality import processor

BASE = {"m": 1000, "d": 500, "hidden": 512, "k": 10}
LABELLED = 16_384
SIZES = {
    "m": [100, 215, 464, 1000, 2154, 4642, 10_000, 21_544, 46_416, 100_000],
    "k": [2**i for i in range(1, 13)],
    "d": [10, *(2**i for i in range(4, 13))],
    "hidden": [2**i for i in range(5, 13)],
    "rows": [10_000, 31_623, 100_000, 316_228, 1_000_000, 3_162_278, 10_000_000],
}
NAMES = {
    "m": "rows in the mini-batch, m",
    "k": "clusters, k",
    "d": "columns, d",
    "hidden": "width of both hidden layers",
    "rows": "rows of the file",
}
# Of so many rows and more, fewer samples are taken: they last long enough.
MANY = {"m": 20_000, "rows": 1_000_000}
SAMPLES, FEW = 30, 3
PREDICTIONS = 7


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neuncut", default="target/release/neuncut")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", default="auto", help="as of neuncut [default: auto]")
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES), metavar="AXIS", help=", ".join(SIZES))
    parser.add_argument("--most", type=int, default=max(map(max, SIZES.values())), help="larger sizes are left out")
    parser.add_argument("-o", "--output", type=Path, help="the result, added to when it is there")
    parser.add_argument("--show", metavar="JSON", type=Path, help="only print the exponents of a result")
    chosen = parser.parse_args()
    today = datetime.date.today().isoformat()
    chosen.output = chosen.output or Path(f"benches/results/growth-{chosen.device}-{today}.json")
    return chosen


class Bench:
    def __init__(self, chosen):
        self.chosen = chosen
        self.document = {"rows": []}
        if chosen.output.exists():
            self.document = json.loads(chosen.output.read_text())
            if self.document["command"] != self.command():
                sys.exit(f"{chosen.output} is of {self.document['command']}: give another -o")
        else:
            self.document["date"] = datetime.date.today().isoformat()
            self.document["command"] = self.command()
            self.document["processor"] = processor()

    def command(self):
        return f"python3 benches/growth.py {self.device()}"

    def run(self, command):
        """Runs `neuncut COMMAND` and returns what it prints."""
        words = [self.chosen.neuncut, *shlex.split(command), "--json", "--quiet"]
        return json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)

    def has(self, axis, work, size):
        return any((row["axis"], row["work"], row["size"]) == (axis, work, size) for row in self.document["rows"])

    def keep(self, axis, work, size, command, times, **more):
        """One row; `times` are the median, a low and a high one, in seconds."""
        median, low, high = times
        row = {"axis": axis, "work": work, "size": size, "command": "neuncut " + command, "load": os.getloadavg()[0]}
        row |= {"seconds": median, "low": low, "high": high, **more}
        self.document["rows"].append(row)
        part = self.chosen.output.with_suffix(".part")
        part.write_text(json.dumps(self.document, indent=1) + "\n")
        part.replace(self.chosen.output)
        print(f"{axis} {size}, {work}: {1e3 * median:.3f} ms [{1e3 * low:.3f} {1e3 * high:.3f}]", flush=True)

    def device(self):
        return f"--device {self.chosen.device} --precision {self.chosen.precision}"

    def bench(self, axis, work, size):
        sizes = {**BASE, "m": BASE["m"] if work == "step" else LABELLED, axis: size}
        hidden = f"{sizes['hidden']},{sizes['hidden']}"
        samples = FEW if size >= MANY.get(axis, math.inf) else SAMPLES
        command = f"bench --work {work} --shape custom -m {sizes['m']} -d {sizes['d']} --hidden {hidden} -k {sizes['k']}"
        command = f"{command} --iterations {samples} {self.device()}"
        told = self.run(command)
        self.document["device"] = told["device"]
        times = [told[key] / 1e6 for key in ("median_us", "p10_us", "p90_us")]
        self.keep(axis, work, size, command, times, samples=told["samples"], flop=told["flop"])

    def predict(self, sizes):
        """Labels points that the network was not trained on; without the time that the process takes to start."""
        sizes = [size for size in sizes if not self.has("rows", "predict", size)]
        if not sizes:
            return
        with tempfile.TemporaryDirectory() as folder:
            self.run(f"generate double-c --rows 10000 --seed 0 -o {folder}/train.safetensors")
            self.run(f"fit {folder}/train.safetensors -k 2 --seed 0 {self.device()} --out {folder}/RUN")
            for size in sizes:
                self.run(f"generate double-c --rows {size} --seed 1 -o {folder}/POINTS.npy")
                command = f"predict {folder}/RUN {folder}/POINTS.npy -o {folder}/LABELS.npy {self.device()}"
                samples = FEW if size >= MANY["rows"] else PREDICTIONS
                told = [self.run(command) for _ in range(samples)]
                self.document["device"] = told[0]["device"]
                seconds = sorted(row["seconds"] for row in told)
                times = (statistics.median(seconds), seconds[0], seconds[-1])
                self.keep("rows", "predict", size, command.replace(f"{folder}/", ""), times, samples=samples)

    def measure(self):
        for axis in self.chosen.only:
            sizes = [size for size in SIZES[axis] if size <= self.chosen.most]
            if axis == "rows":
                self.predict(sizes)
                continue
            for work in ("step", "inference"):
                for size in sizes:
                    if not self.has(axis, work, size):
                        self.bench(axis, work, size)


class Curve:
    """Times along an axis, and the power of the size that they grow with."""

    def __init__(self, axis, work, rows):
        self.axis, self.work = axis, work
        self.rows = sorted((row for row in rows if (row["axis"], row["work"]) == (axis, work)), key=lambda row: row["size"])
        self.upper = self.rows[len(self.rows) // 2 :]
        logs = [[math.log(row[key]) for row in self.upper] for key in ("size", "seconds")]
        self.exponent, self.intercept = statistics.linear_regression(*logs) if len(self.upper) > 1 else (None, None)

    def fitted(self, size):
        return math.exp(self.intercept + self.exponent * math.log(size))


def curves(document):
    keys = dict.fromkeys((row["axis"], row["work"]) for row in document["rows"])
    found = [Curve(axis, work, document["rows"]) for axis, work in keys]
    return sorted(found, key=lambda curve: list(SIZES).index(curve.axis))


def show(document):
    """The exponents, as they stand in the README."""
    print(f"{document['device']}, {document['date']}\n")
    print("| time grows with | work | exponent | fitted over | milliseconds there |")
    print("|---|---|---|---|---|")
    for curve in curves(document):
        if curve.exponent is None:
            continue
        first, last = curve.upper[0], curve.upper[-1]
        low, high = (milliseconds(row["seconds"]) for row in (first, last))
        print(f"| {NAMES[curve.axis]} | {curve.work} | {curve.exponent:.2f} | {first['size']:,} to {last['size']:,} | {low} to {high} |")


def milliseconds(seconds):
    return f"{1e3 * seconds:,.0f}" if seconds >= 1 else f"{1e3 * seconds:.3g}"


def pyplot():
    import matplotlib

    matplotlib.use("svg")
    # The same numbers give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"})
    from matplotlib import pyplot

    return pyplot


def draw(plot, document, path):
    """A panel for each axis: medians, their spread, and the fit where it was fitted."""
    figure, panels = plot.subplots(2, 3, figsize=(12, 7), layout="constrained")
    for axis, panel in zip(SIZES, panels.flat):
        for colour, curve in enumerate(curve for curve in curves(document) if curve.axis == axis):
            sizes, times = [row["size"] for row in curve.rows], [1e3 * row["seconds"] for row in curve.rows]
            spread = [[1e3 * (row["seconds"] - row["low"]) for row in curve.rows], [1e3 * (row["high"] - row["seconds"]) for row in curve.rows]]
            power = "" if curve.exponent is None else f", power {curve.exponent:.2f}"
            panel.errorbar(sizes, times, spread, fmt="o", markersize=3.5, capsize=2, color=f"C{colour}", label=f"{curve.work}{power}")
            if curve.exponent is not None:
                ends = [curve.upper[0]["size"], curve.upper[-1]["size"]]
                panel.plot(ends, [1e3 * curve.fitted(size) for size in ends], color=f"C{colour}", linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel=NAMES[axis], ylabel="milliseconds")
        panel.minorticks_off()
        panel.grid(color="0.9")
        if panel.has_data():
            panel.legend(frameon=False)
    text = (
        f"{document['device']}\n{document['date']}\n\nfrom m {BASE['m']}, d {BASE['d']}, k {BASE['k']},\nhidden {BASE['hidden']}, {BASE['hidden']};\n"
        f"inference of {LABELLED:,} rows, along m of m;\npredict of points of two columns\n\nmedians; bars from 10 to 90 % of the samples,\nof "
        "predict from the least to the most;\nlines and powers fitted to the upper half\nof the sizes"
    )
    last = panels.flat[len(SIZES)]
    last.axis("off")
    last.text(0, 1, text, va="top", linespacing=1.5)
    figure.savefig(path, metadata={"Date": None})


def main():
    chosen = options()
    if chosen.show:
        show(json.loads(chosen.show.read_text()))
        return
    plot = pyplot()
    bench = Bench(chosen)
    bench.measure()
    draw(plot, bench.document, chosen.output.with_suffix(".svg"))
    show(bench.document)


if __name__ == "__main__":
    main()
