"""Writes scattering.npz: what Pillow and Kymatio make of some pictures.

    python make_scattering.py MNIST FASHION-MNIST      (Kymatio 0.3.0, NumPy 2.4, SciPy 1.17, Pillow 13)

The two are folders with the official t10k-images-idx3-ubyte.gz.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import scipy.special
from PIL import Image

# Kymatio 0.3.0 imports it for 3-D scattering, and SciPy has renamed it since.
scipy.special.sph_harm = getattr(scipy.special, "sph_harm", None)

from kymatio.numpy import Scattering2D  # noqa: E402

random = np.random.default_rng(20250102)


def images(folder):
    content = gzip.open(Path(folder) / "t10k-images-idx3-ubyte.gz").read()
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28, 1)


def noise(count, height, width, channels=1):
    return random.integers(256, size=(count, height, width, channels), dtype=np.uint8)


def shapes(height, width, channels=1):
    """A few soft-edged discs, different ones in each channel."""
    y, x = np.mgrid[:height, :width]
    picture = np.zeros((height, width, channels))
    for channel in range(channels):
        for _ in range(4):
            cy, cx, r = random.uniform(0, height), random.uniform(0, width), random.uniform(2, height / 2)
            disc = 1 / (1 + np.exp(np.hypot(y - cy, x - cx) - r))
            picture[..., channel] += random.uniform(20, 120) * disc
    return picture.clip(0, 255).astype(np.uint8)[None]


digits, clothes = images(sys.argv[1]), images(sys.argv[2])
cases = [
    (3, 8, 2, "digits", digits[:3]),
    (3, 8, 2, "clothes", clothes[:2]),
    (3, 8, 2, "colour", shapes(32, 32, 3)),
    (3, 8, 2, "least", noise(2, 8, 8)),
    (3, 8, 1, "noise", noise(2, 32, 32)),
    (1, 4, 2, "noise", noise(2, 12, 10)),
    (1, 1, 1, "small", noise(2, 2, 3)),
    (2, 6, 2, "digits", digits[3:5]),
    (2, 5, 2, "wide", shapes(20, 36)),
    (2, 16, 1, "noise", noise(1, 15, 30)),
    (4, 3, 2, "tall", shapes(71, 45)),
    (4, 16, 2, "least", noise(1, 16, 16)),
]
arrays = {}
for scales, angles, order, name, pictures in cases:
    count, height, width, channels = pictures.shape
    size = [-(-side // 2**scales) * 2**scales for side in (width, height)]
    each = pictures.transpose(0, 3, 1, 2).reshape(-1, height, width)
    enlarged = np.stack([np.asarray(Image.fromarray(picture).resize(size, Image.BILINEAR)) for picture in each])
    paths = Scattering2D(J=scales, shape=enlarged.shape[1:], L=angles, max_order=order)(enlarged / 255.0)
    key = f"{scales}-{angles}-{order}_{name}"
    arrays[f"{key}.pictures"] = pictures
    arrays[f"{key}.enlarged"] = enlarged.reshape(count, channels, *enlarged.shape[1:]).transpose(0, 2, 3, 1)
    arrays[f"{key}.paths"] = paths.reshape(count, channels, *paths.shape[1:]).astype(np.float32)
np.savez_compressed(Path(__file__).with_name("scattering.npz"), **arrays)
