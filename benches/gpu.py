#!/usr/bin/env python3
"""What a GPU does: every kernel checked, steps timed beside PyTorch's, labels timed, digits clustered from their pixels, up to 8,100,000.

    python3 benches/gpu.py --neuncut BINARY --mnist DIR -o benches/results/GPU-DATE.json [--only PART ...]

BINARY is a built `neuncut`: a machine with a GPU may have no Rust. DIR holds the four MNIST files. The peers need PyTorch and NumPy, the
rest Python alone. What is done is written at once, so that a run that is cut short has what came before. `--only` runs some of the parts:
validate, steps, tiles, labels, peers, mnist, make, mnist8m. `--show` prints the tables of a result.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

PRECISIONS = ("fp32", "tf32x3", "tf32", "bf16")
SHAPES = ("mnist", "imagenet")
# Of labels: in the card's memory, held against what it multiplies; from a file in the page cache, against what comes from the host.
LABELS = {"inference": "matrix", "predict": "host_to_device"}
FAST = ("tf32", "bf16")
TILES = ("rule", "short", "square", "wide")
PARTS = ("validate", "steps", "tiles", "labels", "peers", "mnist", "make", "mnist8m")
FEATURES = "scatnet,pca=500,center,unit"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neuncut", default="target/release/neuncut")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mnist", help="folder with the four MNIST files")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", type=int, default=8_100_000, help="digits of mnist8m")
    parser.add_argument("--folder", help="where large files go [default: a temporary one]")
    parser.add_argument("--peer-seconds", type=int, default=600, help="PyTorch's steps are given up after so long")
    parser.add_argument("-o", "--output", help="the result, added to when it is there")
    parser.add_argument("--show", metavar="JSON", help="only print the tables of a result")
    chosen = parser.parse_args()
    if not chosen.show and not (chosen.mnist and chosen.output):
        parser.error("--mnist and -o are needed")
    return chosen


class Bench:
    def __init__(self, chosen, folder):
        self.chosen, self.folder = chosen, pathlib.Path(folder)
        self.out = pathlib.Path(chosen.output)
        self.document = json.loads(self.out.read_text()) if self.out.exists() else {}

    def keep(self, part, value):
        self.document[part] = value
        self.out.write_text(json.dumps(self.document, indent=1) + "\n")

    def start(self, *arguments):
        command = [self.chosen.neuncut, *arguments, "--json", "--quiet"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, child):
        """The outcome, or the error's line."""
        output, errors = child.communicate()
        try:
            # A line about the failure may follow what was found.
            return json.loads(output.splitlines()[0])
        except (ValueError, IndexError):
            return {"failed": errors.strip().splitlines()[-1:] or f"exit code {child.returncode}"}

    def run(self, *arguments):
        return self.finish(self.start(*arguments))

    def validate(self):
        """One process for each precision, side by side: most of the time goes into the reference, on one core each."""
        began = time.perf_counter()
        device = ("--device", self.chosen.device)
        seed = str(time.time_ns() % 1_000_000)
        children = {p: self.start("validate", *device, "--precision", p, "--seed", seed) for p in PRECISIONS}
        found = {}
        for precision, child in children.items():
            told = self.finish(child)
            rows = told.get("rows", [])
            failed = [row for row in rows if not row["passed"]]
            worst = max((row["error"] / row["allowed"] for row in rows if row["error"] and row["allowed"]), default=None)
            found[precision] = {"rows": len(rows), "failed": failed, "largest_share_of_allowed": worst}
            found[precision] |= {"error": told["failed"]} if "failed" in told else {}
            print("validate", precision, len(rows), "rows,", len(failed), "failed", told.get("failed", ""), flush=True)
        command = "neuncut validate --device cuda --precision P --seed S"
        self.keep("validate", {"command": command, "seed": int(seed), "seconds": time.perf_counter() - began, **found})

    def steps(self):
        rows = {}
        for shape in SHAPES:
            for precision in PRECISIONS:
                device = ("--device", self.chosen.device, "--precision", precision)
                rows[f"{shape} {precision}"] = row = self.run("bench", "--shape", shape, *device)
                print("step", shape, precision, row.get("median_us", row), flush=True)
        self.keep("steps", {"command": "neuncut bench --device cuda --shape S --precision P", "rows": rows})

    def tiles(self):
        """Steps in bf16 in every choice of tiles; those of `steps` are in the fastest of each product."""
        rows = {}
        for shape in SHAPES:
            for tiles in TILES:
                device = ("--device", self.chosen.device, "--precision", "bf16")
                rows[f"{shape} {tiles}"] = row = self.run("bench", "--shape", shape, "--tiles", tiles, *device)
                print("tiles", shape, tiles, row.get("median_us", row), flush=True)
        self.keep("tiles", {"command": "neuncut bench --device cuda --shape S --precision bf16 --tiles T", "rows": rows})

    def labels(self):
        rows = {}
        for work, most in LABELS.items():
            for shape in SHAPES:
                for precision in FAST:
                    device = ("--device", self.chosen.device, "--precision", precision)
                    rows[f"{work} {shape} {precision}"] = row = self.run("bench", "--work", work, "--shape", shape, *device)
                    print(work, shape, precision, row.get("rows_per_second", row), f"{row.get(f'percent_of_{most}')} %", flush=True)
        self.keep("labels", {"command": "neuncut bench --work W --device cuda --shape S --precision P", "rows": rows})

    def peers(self):
        peers = self.folder / "peers.json"
        peers.unlink(missing_ok=True)
        command = [sys.executable, str(pathlib.Path(__file__).parent / "peers/gpu_step.py"), "--neuncut", self.chosen.neuncut, "-o", peers]
        try:
            subprocess.run(command, timeout=self.chosen.peer_seconds, check=False)
        except subprocess.TimeoutExpired:
            print("PyTorch's steps were given up", flush=True)
        told = json.loads(peers.read_text()) if peers.exists() else {"failed": "see what it printed"}
        self.keep("peers", {"command": "python3 benches/peers/gpu_step.py --neuncut BINARY", **told})

    def fit(self, data, name, *more):
        run = self.folder / f"run-{name}"
        device = ("--device", self.chosen.device)
        return self.run("fit", str(data), "-k", "10", "--features", FEATURES, *device, *more, "--out", str(run), "--overwrite")

    def mnist(self):
        """From IDX files to 70,000 labels, in a process that starts cold."""
        command = f"neuncut fit MNIST -k 10 --features {FEATURES} --device cuda"
        row = self.fit(self.chosen.mnist, "mnist")
        print("mnist", {key: row.get(key) for key in ("acc", "nmi", "seconds", "stages")}, row.get("failed", ""), flush=True)
        self.keep("mnist", {"command": command, "outcome": row})

    def make(self):
        rows = str(self.chosen.rows)
        command = f"neuncut generate mnist8m --rows {rows} --from MNIST -o mnist8m.npy --device cuda"
        output = str(self.folder / "mnist8m.npy")
        device = ("--device", self.chosen.device)
        made = self.run("generate", "mnist8m", "--rows", rows, "--from", self.chosen.mnist, "-o", output, *device)
        print("made", made.get("seconds", made), flush=True)
        self.keep("make", {"command": command, "outcome": made})

    def mnist8m(self):
        """What `make` has made, clustered from its pixels."""
        command = f"neuncut fit mnist8m.npy -k 10 --features {FEATURES} --device cuda"
        row = self.fit(self.folder / "mnist8m.npy", "mnist8m", "--labels", str(self.folder / "mnist8m-labels.npy"))
        print("mnist8m", {key: row.get(key) for key in ("acc", "nmi", "seconds", "stages")}, row.get("failed", ""), flush=True)
        self.keep("mnist8m", {"command": command, "outcome": row})


def show(document):
    """The tables, as they stand in the README."""
    steps = document.get("steps", {}).get("rows", {})
    print("| one training step, microseconds (median) |" + "".join(f" {p} |" for p in PRECISIONS))
    print("|---|" + "---|" * len(PRECISIONS))
    for shape in SHAPES:
        rows = [steps.get(f"{shape} {p}", {}) for p in PRECISIONS]
        print(f"| neuncut, {shape} |" + "".join(f" {row['median_us']:.0f} |" if "median_us" in row else " |" for row in rows))
    found = {}
    for result in document.get("peers", {}).get("results", []):
        for row in result["rows"]:
            found[result["shape"], row["who"], result["precision"]] = row
    for shape, who in dict.fromkeys(key[:2] for key in found if key[1] != "neuncut"):
        cells = [found.get((shape, who, p), {}) for p in PRECISIONS]
        texts = [f"{c['median_us']:.0f}" if "median_us" in c else c.get("failed", "") for c in cells]
        print(f"| {who}, {shape} |" + "".join(f" {text} |" for text in texts))
    labels = document.get("labels", {}).get("rows", {})
    if labels:
        print("\n| rows labelled in a second, millions |" + "".join(f" {p} |" for p in FAST) + "\n|---|" + "---|" * len(FAST))
    for work, most in LABELS.items() if labels else ():
        for shape in SHAPES:
            rows = [labels.get(f"{work} {shape} {p}", {}) for p in FAST]
            texts = [label(row, most) if "rows_per_second" in row else "" for row in rows]
            print(f"| {work}, {shape} |" + "".join(f" {text} |" for text in texts))
    for part in ("mnist", "mnist8m"):
        row = document.get(part, {}).get("outcome", {})
        if "acc" in row:
            stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in row["stages"].items() if seconds >= 0.05)
            print(f"\n{part}: {row['rows']} rows, ACC {row['acc']:.4f}, NMI {row['nmi']:.3f}, {row['seconds']:.1f} s ({stages})")
    made = document.get("make", {}).get("outcome", {})
    if "seconds" in made:
        print(f"made in {made['seconds']:.1f} s")
    for precision in PRECISIONS:
        row = document.get("validate", {}).get(precision)
        if row:
            print(f"validate {precision}: {row['rows']} rows, {len(row['failed'])} failed")


def label(row, most):
    """Millions of rows per second, and the share of what the device does at most, which the reference does not measure."""
    percent = row[f"percent_of_{most}"]
    return f"{row['rows_per_second'] / 1e6:.2f}" + (f", {percent:.0f} % of {most.replace('_', ' ')}" if percent else "")


def main():
    chosen = options()
    if chosen.show:
        show(json.loads(pathlib.Path(chosen.show).read_text()))
        return
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(chosen, chosen.folder or folder)
        bench.keep("date", datetime.date.today().isoformat())
        bench.keep("cores", os.cpu_count())
        bench.keep("info", bench.run("info"))
        for part in chosen.only:
            getattr(bench, part)()
    show(bench.document)


if __name__ == "__main__":
    main()
