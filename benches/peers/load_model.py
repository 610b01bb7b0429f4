#!/usr/bin/env python3
"""Does PyTorch read our model file, and label the same rows the same way?

    load_model.py RUN_FOLDER FEATURES.npy LABELS.npy

Loads RUN_FOLDER/model.safetensors with `load_state_dict(strict=True)` into Linear, ReLU, ..., Linear of the shapes found
in the file, and compares the largest output of each row of FEATURES (the network's input) with LABELS. Exit code 1 if a
name, a shape or a label does not fit.

A label may differ where two outputs are as close to each other as float32 can tell them apart: both sides are then
right, and such rows are counted apart.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn


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
    parser.add_argument("features", type=Path)
    parser.add_argument("labels", type=Path)
    chosen = parser.parse_args()

    tensors = load_file(chosen.run_folder / "model.safetensors")
    net = network(tensors)
    try:
        net.load_state_dict(tensors, strict=True)
    except RuntimeError as refusal:
        sys.exit(str(refusal))

    x = torch.tensor(np.load(chosen.features), dtype=torch.float32)
    labels = torch.tensor(np.load(chosen.labels).astype(np.int64))
    inputs, outputs = net[0].in_features, net[-1].out_features
    if x.ndim != 2 or x.shape[1] != inputs:
        sys.exit(f"{chosen.features} is {tuple(x.shape)}, the network takes rows of {inputs}")
    if labels.shape != x.shape[:1]:
        sys.exit(f"{chosen.labels} is {tuple(labels.shape)}, there are {len(x)} rows")
    if not ((labels >= 0) & (labels < outputs)).all():
        sys.exit(f"{chosen.labels} has values outside 0 to {outputs - 1}, the network's outputs")

    with torch.no_grad():
        single = net(x).double()
        exact = net.double()(x.double())
    rounding = (single - exact).abs().max()
    behind = exact.max(1).values - exact.gather(1, labels[:, None])[:, 0]
    # The winner may be too high, and the runner-up too low, by one rounding each; ours may round twice as badly.
    wrong = int((behind > 4 * rounding).sum())
    ties = int((behind > 0).sum()) - wrong
    print(f"{len(x)} rows, layers {[tuple(t.shape) for t in net.state_dict().values()][::2]}: {wrong} wrong, {ties} ties")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
