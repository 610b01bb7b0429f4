#!/usr/bin/env python3
"""Makes the numbers of README.md and benches/README.md: one run, one JSON, one table.

    cargo build --release
    python3 benches/measure.py --mnist DIR [--torch PYTHON] [-o benches/results/NAME.json]

DIR is a folder with the four MNIST files; PYTHON an interpreter that has benches/peers/requirements.txt. Needs nothing beyond Python
itself for the rest. Each command is in the JSON beside its result.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time

SEEDS = (0, 1, 2)
DOUBLE_C = "-k 2"


def run(neuncut, arguments):
    """Runs neuncut with --json; returns its result, the command, and its peak resident memory in MiB."""
    command = [neuncut, *shlex.split(arguments), "--json", "--quiet"]
    # A file, not a pipe, which would fill up while nobody reads it.
    with tempfile.TemporaryFile("w+", encoding="utf8") as output:
        child = subprocess.Popen(command, stdout=output)
        peak = 0
        # Not what wait4 tells, which counts this process, too, that the child begins as.
        while child.poll() is None:
            with open(f"/proc/{child.pid}/status", encoding="utf8") as status:
                lines = [line for line in status if line.startswith("VmHWM")]
            peak = int(lines[0].split()[1]) if lines else peak
            time.sleep(0.01)
        if child.returncode != 0:
            sys.exit(f"failed: {' '.join(command)}")
        output.seek(0)
        return json.load(output), "neuncut " + arguments, peak / 1024


def quality(neuncut, name, fit, folder):
    """ACC, NMI, ARI, Ncut and seconds of a fit over the seeds."""
    rows = []
    for seed in SEEDS:
        out = os.path.join(folder, f"{name.replace(' ', '-')}-{seed}")
        result, _, memory = run(neuncut, f"fit {fit} --seed {seed} --out {shlex.quote(out)}")
        keys = ("acc", "nmi", "ari", "ncut", "seconds", "sigma", "gamma", "sizes")
        rows.append({"seed": seed, **{key: result.get(key) for key in keys}, "peak_mib": round(memory)})
        print(name, json.dumps(rows[-1]), flush=True)
    return {"name": name, "command": f"neuncut fit {fit} --seed 0|1|2", "runs": rows}


def double_c(neuncut, folder):
    """Trains on 10,000 points, labels 1,000,000 and 10,000,000, and watches predict's memory."""
    rows = []
    for rows_predicted in (1_000_000, 10_000_000):
        run(neuncut, f"generate double-c --rows {rows_predicted} --seed 99 -o {folder}/points-{rows_predicted}.npy")
    for seed in SEEDS:
        train = f"{folder}/double-c-{seed}.safetensors"
        run(neuncut, f"generate double-c --rows 10000 --seed {seed} -o {train}")
        fit, _, _ = run(neuncut, f"fit {train} {DOUBLE_C} --seed {seed} --out {folder}/dc-{seed}")
        row = {"seed": seed, "fit_acc": fit["acc"], "fit_seconds": fit["seconds"]}
        for count in (1_000_000, 10_000_000):
            points = f"{folder}/points-{count}"
            labels = f"{folder}/labels.npy"
            result, _, memory = run(neuncut, f"predict {folder}/dc-{seed} {points}.npy -o {labels}")
            scores, _, _ = run(neuncut, f"evaluate --predictions {labels} --labels {points}-labels.npy")
            row[f"acc_{count}"] = scores["acc"]
            row[f"seconds_{count}"] = result["seconds"]
            row[f"peak_mib_{count}"] = round(memory, 1)
        rows.append(row)
        print("double-c", json.dumps(row), flush=True)
    command = (
        f"neuncut fit double-c-SEED.safetensors {DOUBLE_C} --seed SEED; "
        "neuncut predict RUN points-10000000.npy -o labels.npy"
    )
    return {"name": "double-c, 10,000,000 points", "command": command, "runs": rows}


def criterion_step():
    """Milliseconds of a step by `cargo bench --bench step`: lower bound, median and upper bound of the estimate."""
    command = ["cargo", "bench", "--bench", "step", "--", "mnist"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    pattern = r"^step/(.+?)\s*\n?\s*time:\s+\[([\d.]+) (\S+) ([\d.]+) (\S+) ([\d.]+) (\S+)\]"
    to_ms = {"ns": 1e-6, "µs": 1e-3, "us": 1e-3, "ms": 1.0, "s": 1e3}
    for match in re.finditer(pattern, output, re.MULTILINE):
        low, unit, middle, _, high, _ = match.groups()[1:]
        found[match.group(1).strip()] = [round(float(v) * to_ms[unit], 3) for v in (low, middle, high)]
    return found


def torch_step(python, threads):
    """Milliseconds of the same step in PyTorch, all variants."""
    command = [python, "benches/peers/pytorch_step.py", "--threads", str(threads), "--repeats", "100"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def processor():
    with open("/proc/cpuinfo", encoding="utf8") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neuncut", default="target/release/neuncut")
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--torch", help="a python with PyTorch, to time its step in the same run")
    parser.add_argument("--only", choices=("quality", "scale", "step"))
    parser.add_argument("-o", "--output")
    arguments = parser.parse_args()
    neuncut = os.path.abspath(arguments.neuncut)

    document = {
        "device": "cpu",
        "processor": processor(),
        "date": datetime.date.today().isoformat(),
        "command": "python3 benches/measure.py --mnist DIR --torch PYTHON",
        "info": run(neuncut, "info")[0],
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only in (None, "step"):
            step = {"name": "step m1000 d500 k10 512-512 dense", "load_before": os.getloadavg()}
            step["ours_ms_low_middle_high"] = criterion_step()
            if arguments.torch:
                for threads in (1, 2):
                    step[f"torch_threads{threads}"] = torch_step(arguments.torch, threads)
            step["load_after"] = os.getloadavg()
            document["rows"].append(step)
            print(json.dumps(step), flush=True)
        if arguments.only in (None, "quality"):
            mnist = shlex.quote(arguments.mnist)
            document["rows"].append(quality(neuncut, "mnist-t10k", "-k 10", folder))
            full = quality(neuncut, "mnist 70000", f"{mnist} -k 10 --train-rows 20000", folder)
            full["command"] = full["command"].replace(arguments.mnist, "MNIST")
            document["rows"].append(full)
        if arguments.only in (None, "scale"):
            scale = double_c(neuncut, folder)
            scale["command"] = scale["command"].replace(folder + "/", "")
            document["rows"].append(scale)
    text = json.dumps(document, indent=1)
    if arguments.output:
        with open(arguments.output, "w", encoding="utf8") as out:
            out.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
