#!/usr/bin/env python3
"""Does PyTorch read our model file, and label the same rows the same way?

    load_model.py RUN_FOLDER ROWS [LABELS.npy]

ROWS are the raw rows that the run was given: .npy (any numbers, first axis rows) or an IDX file of bytes (MNIST's, plain or
.gz). RUN_FOLDER/features.safetensors turns them into the network's input. RUN_FOLDER/model.safetensors goes into Linear,
ReLU, ..., Linear of the shapes found in it by `load_state_dict(strict=True)`, and the largest output of each row is
compared with LABELS, which are RUN_FOLDER/labels.npy unless given. Exit code 1 if a name, a shape or a label does not fit.

A label may differ where two outputs are as close to each other as float32 can tell them apart: both sides are then
right, and such rows are counted apart.
"""

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn


def raw_rows(path):
    """The rows as a float32 matrix."""
    if path.suffix == ".npy":
        array = np.load(path)
    else:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if data[:3] != b"\0\0\x08":
            sys.exit(f"{path} is neither .npy nor an IDX file of bytes")
        axes = data[3]
        shape = np.frombuffer(data, ">u4", axes, 4)
        array = np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
    return torch.from_numpy(array.reshape(len(array), -1).astype(np.float32))


def features(path, x):
    """What the file at `path` makes of the raw rows `x`, in the type of `x`."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        means = {name: file.get_tensor(name).to(x.dtype) for name in file.keys()}
    if x.shape[1] != int(metadata["columns"]):
        sys.exit(f"the rows have {x.shape[1]} columns, {path} takes {metadata['columns']}")
    names = metadata["features"]
    for place, name in enumerate([] if names == "none" else names.split(",")):
        if name == "pixels":
            x = x / 255
        elif name == "center":
            x = x - means[f"{place}.mean"]
        elif name in ("unit", "rms"):
            length = x.shape[1] ** 0.5 if name == "rms" else 1
            x = x * (length / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-6))
        else:
            sys.exit(f"{path}: unknown transform {name}")
    return x


def network(tensors):
    """An untrained network of the shapes in `tensors`: linear layers at 0, 2, 4, ..., ReLU between."""
    layers = []
    for place in range(0, len(tensors), 2):
        weight = tensors.get(f"{place}.weight")
        if weight is None or weight.ndim != 2:
            sys.exit(f"no matrix {place}.weight among {sorted(tensors)}")
        layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("labels", type=Path, nargs="?")
    chosen = parser.parse_args()

    tensors = load_file(chosen.run_folder / "model.safetensors")
    net = network(tensors)
    try:
        net.load_state_dict(tensors, strict=True)
    except RuntimeError as refusal:
        sys.exit(str(refusal))

    rows = raw_rows(chosen.rows)
    transforms = chosen.run_folder / "features.safetensors"
    labels_path = chosen.labels or chosen.run_folder / "labels.npy"
    labels = torch.tensor(np.load(labels_path).astype(np.int64))
    x = features(transforms, rows)
    inputs, outputs = net[0].in_features, net[-1].out_features
    if x.shape[1] != inputs:
        sys.exit(f"{transforms} makes rows of {x.shape[1]}, the network takes rows of {inputs}")
    if labels.shape != x.shape[:1]:
        sys.exit(f"{labels_path} is {tuple(labels.shape)}, there are {len(x)} rows")
    if not ((labels >= 0) & (labels < outputs)).all():
        sys.exit(f"{labels_path} has values outside 0 to {outputs - 1}, the network's outputs")

    with torch.no_grad():
        single = net(x).double()
        exact = net.double()(features(transforms, rows.double()))
    rounding = (single - exact).abs().max()
    behind = exact.max(1).values - exact.gather(1, labels[:, None])[:, 0]
    # The winner may be too high, and the runner-up too low, by one rounding each; ours may round twice as badly.
    wrong = int((behind > 4 * rounding).sum())
    ties = int((behind > 0).sum()) - wrong
    print(f"{len(x)} rows, layers {[tuple(t.shape) for t in net.state_dict().values()][::2]}: {wrong} wrong, {ties} ties")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
