"""The scattering transform of the built-in digits in neuncut and in Kymatio, on one thread each: times, and how far they are apart.

    python3 -m venv scatnet && scatnet/bin/pip install -r benches/peers/requirements-scatnet.txt
    cargo build --release
    scatnet/bin/python benches/peers/scattering.py [--rows 2000] [--neuncut target/release/neuncut]

Kymatio takes the first ROWS digits, enlarged to 32 x 32 by Pillow and divided by 255, in f32, 250 at a time; its time is that of the
transform alone. neuncut takes all 10,000 from their bytes to a finished file, which is what its time is that of. J = 3, L = 8, order 2.
"""

import argparse
import gzip
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.special
from PIL import Image
from safetensors.numpy import load_file

# Kymatio 0.3.0 imports it for 3-D scattering, and SciPy has renamed it since.
scipy.special.sph_harm = getattr(scipy.special, "sph_harm", None)

from kymatio.numpy import Scattering2D  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def kymatio(images):
    """Normalised paths, and the milliseconds that each image took."""
    resized = [Image.fromarray(image).resize((32, 32), Image.BILINEAR) for image in images]
    x = np.stack([np.asarray(image) for image in resized]).astype(np.float32) / 255
    scattering = Scattering2D(J=3, shape=(32, 32), L=8, max_order=2)
    scattering(x[:2])
    begun = time.perf_counter()
    paths = np.concatenate([scattering(x[first : first + 250]) for first in range(0, len(x), 250)])
    each = (time.perf_counter() - begun) / len(x) * 1e3
    largest = np.abs(paths).max(axis=(2, 3), keepdims=True)
    return (paths / largest).reshape(len(x), -1), each


def neuncut(program):
    """The same of all digits."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "paths.safetensors"
        line = [program, "features", "scatnet", "mnist-t10k", "--threads", "1", "--json", "-o", output]
        told = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
        return load_file(output)["x"], told["seconds"] / told["rows"] * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--neuncut", default=ROOT / "target/release/neuncut")
    chosen = parser.parse_args()
    content = gzip.decompress((ROOT / "src/data/builtin/t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)[: chosen.rows]
    theirs, their_time = kymatio(images)
    ours, our_time = neuncut(chosen.neuncut)
    apart = np.abs(ours[: len(theirs)] - theirs).max()
    print(f"Kymatio {their_time:.2f} ms, neuncut {our_time:.3f} ms an image; {apart:.1e} apart at most, of numbers up to 1")


if __name__ == "__main__":
    main()
