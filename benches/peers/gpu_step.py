#!/usr/bin/env python3
"""One full NeuNcut training step on a GPU, in neuncut and in PyTorch, in one run.

    gpu_step.py --neuncut BINARY [--shape mnist imagenet] [--precision tf32 bf16] [--no-compile] [-o steps.json]

A machine with a GPU may have PyTorch but no Rust: BINARY is a built `neuncut`. Both sides get the same rows and parameters
(unit rows around as many directions as there are clusters), and must find the same loss before anything is timed. A step is the heat kernel of the
batch, forward, contraction, loss, backward and Adam; our time has the drawing of the batch in it as well, PyTorch's has not.

The variants of PyTorch:

  authors        squared distances from an m x m x d tensor of differences, as the paper's code forms them; eager
  eager          squared distances from one matrix product; eager; fused Adam
  graph          the same, the whole step recorded as one CUDA graph
  compiled       loss and gradient by torch.compile (`--mode`; the default tries many kernels, minutes for each shape), then the whole step recorded as one CUDA
                 graph with fused Adam in it: the strongest form we know of

Times are by CUDA events; medians of `--samples` samples of ten steps. Prints a table, and writes one JSON.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from pytorch_step import draw, network

SHAPES = {"mnist": (1000, 500, 10), "imagenet": (3000, 768, 1000)}
SIGMA, GAMMA, LR, DECAY = 0.7, 0.3, 1e-3, 1e-4
# Relative to the loss in fp32: roundings of the operands, to 2^-11 and 2^-9, of which sums keep a part.
TOLERANCE = {"fp32": 2e-5, "tf32": 1e-3, "bf16": 1e-2}
STEPS = 10


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neuncut", required=True, help="a built neuncut")
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--precision", nargs="+", choices=TOLERANCE, default=["tf32", "bf16"])
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which takes a minute or more")
    parser.add_argument("--mode", default="max-autotune-no-cudagraphs", help="torch.compile's")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("-o", "--output", help="write everything as JSON")
    return parser.parse_args()


def distances_of_authors(x):
    return (x[:, None, :] - x[None, :, :]).square().sum(2)


def distances_by_product(x):
    squared = x.square().sum(1)
    return torch.addmm(squared[:, None] + squared[None, :], x, x.T, alpha=-2)


def loss_of(net, x, distances, bf16):
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        with torch.no_grad():
            a = distances(x).float().clamp_(min=0).mul_(-1 / (2 * SIGMA**2)).exp_().fill_diagonal_(1)
            degrees = a.sum(1, keepdim=True)
        y = torch.softmax(net(x).float(), 1)
        weighted = degrees * y
        v = weighted.sum(0) + 1e-6
        l_lap = ((y * (weighted - a @ y)).sum(0) / v).sum()
        root = v.sqrt()
        gap = (y.T @ weighted).float() / (root[:, None] * root) - torch.eye(len(v), device=x.device)
        return l_lap.float() + GAMMA / 2 * gap.square().sum()


class Peer:
    """A network, its optimiser, and one way to make a step."""

    def __init__(self, arrays, precision, distances, mode=None):
        self.x = torch.tensor(arrays["x"], device="cuda")
        self.net = network(arrays, torch.float32).cuda()
        self.adam = torch.optim.Adam(
            self.net.parameters(), lr=torch.tensor(LR), weight_decay=DECAY, fused=True, capturable=True
        )
        bf16 = precision == "bf16"
        self.loss = lambda: loss_of(self.net, self.x, distances, bf16)
        if mode:
            self.loss = torch.compile(self.loss, mode=mode)

    def step(self):
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.adam.step()
        return loss

    def recorded(self):
        """The step as one CUDA graph."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay


def timed(step, samples):
    for _ in range(STEPS):
        step()
    times = []
    for _ in range(samples):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        for _ in range(STEPS):
            step()
        after.record()
        after.synchronize()
        times.append(1e3 * before.elapsed_time(after) / STEPS)
    low, middle, high = np.quantile(times, (0.1, 0.5, 0.9))
    return {"median_us": round(middle, 2), "p10_us": round(low, 2), "p90_us": round(high, 2)}


def ours(neuncut, *arguments):
    done = subprocess.run([neuncut, *arguments, "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"neuncut {' '.join(arguments)}: {done.stderr}")
    return json.loads(done.stdout)


def rounded_to(precision):
    torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"


def compare(chosen, shape, precision, folder):
    """The rows of the table for a shape in a precision, as they are measured."""
    m, d, k = SHAPES[shape]
    arrays = draw(argparse.Namespace(rows=m, dims=d, clusters=k, hidden=[512, 512], seed=0))
    problem, out = folder / f"{shape}.npz", folder / f"{shape}-{precision}.npz"
    np.savez(problem, **arrays)
    device = ["--device", "cuda", "--precision", precision]
    ours(
        chosen.neuncut, "step", "--problem", str(problem), "-o", str(out), "--sigma", str(SIGMA), "--gamma", str(GAMMA),
        "--lr", str(LR), "--weight-decay", str(DECAY), *device,
    )
    our_loss = float(np.load(out)["loss"])
    rounded_to("fp32")
    exact = float(Peer(arrays, "fp32", distances_by_product).loss())
    if not abs(our_loss / exact - 1) <= TOLERANCE[precision]:
        sys.exit(f"neuncut's loss is {our_loss}, and should be {exact}")
    bench = ours(chosen.neuncut, "bench", "--shape", shape, *device)
    own = {"who": "neuncut", **{key: round(bench[key], 2) for key in ("median_us", "p10_us", "p90_us")}, "loss": our_loss}
    own |= {"apart": abs(our_loss / exact - 1), "launches": bench["launches"], "bench": bench}
    yield told(shape, precision, own, own)

    rounded_to(precision)
    variants = {
        "authors": (distances_of_authors, None, False),
        "eager": (distances_by_product, None, False),
        "graph": (distances_by_product, None, True),
    }
    if not chosen.no_compile:
        variants["compiled"] = (distances_by_product, chosen.mode, True)
    for name, (distances, mode, recorded) in variants.items():
        began = time.perf_counter()
        row = {"who": f"PyTorch {name}"}
        try:
            torch._dynamo.reset()
            peer = Peer(arrays, precision, distances, mode)
            row["loss"] = float(peer.loss())
            row["apart"] = abs(row["loss"] / exact - 1)
            if not row["apart"] <= TOLERANCE[precision]:
                sys.exit(f"{name}: its loss is {row['loss']}, and should be {exact}")
            row |= timed(peer.recorded() if recorded else peer.step, 5 if name == "authors" else chosen.samples)
        except torch.OutOfMemoryError:
            row["failed"] = "out of memory"
        row["seconds"] = round(time.perf_counter() - began, 1)
        peer = None
        torch.cuda.empty_cache()
        yield told(shape, precision, row, own)


def told(shape, precision, row, ours):
    """The row, with its ratio to ours, printed."""
    row["ratio"] = round(row["median_us"] / ours["median_us"], 2) if "median_us" in row else None
    print(f"{shape:9} {precision:5} {row['who']:17} {row.get('median_us', '-'):>10} us  {row['ratio'] or '-':>7} x  "
          f"{row.get('apart', float('nan')):.1e}  {row.get('failed', '')}", flush=True)
    return row


def main():
    chosen = options()
    document = {"peer": f"PyTorch {torch.__version__}", "gpu": torch.cuda.get_device_name(), "results": []}
    with tempfile.TemporaryDirectory() as folder:
        for shape in chosen.shape:
            for precision in chosen.precision:
                rows = []
                document["results"].append({"shape": shape, "precision": precision, "rows": rows})
                for row in compare(chosen, shape, precision, pathlib.Path(folder)):
                    rows.append(row)
                    if chosen.output:
                        pathlib.Path(chosen.output).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
