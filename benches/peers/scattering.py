"""The scattering transform of digits in neuncut and in Kymatio, with NumPy and with PyTorch: times on the same images and threads, one
after the other in one run, how far they are apart, and the memory that neuncut takes.

    python3 -m venv scatnet && scatnet/bin/pip install -r benches/peers/requirements-scatnet.txt
    cargo build --release
    scatnet/bin/python benches/peers/scattering.py [--rows 2000] [--threads 1 2] [-o benches/results/NAME.json]

Kymatio takes the first ROWS of the built-in digits, enlarged to 32 x 32 by Pillow and divided by 255, in f32, 250 at a time; its time is
that of the transform alone. neuncut takes them from a file of bytes to a finished file, all of which is in its time. J = 3, L = 8,
order 2. Of three times each the median is told, in milliseconds an image.
"""

import argparse
import datetime
import gzip
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.special
import torch
from PIL import Image
from safetensors.numpy import load_file

# Kymatio 0.3.0 imports it for 3-D scattering, and SciPy has renamed it since.
scipy.special.sph_harm = getattr(scipy.special, "sph_harm", None)

import kymatio.numpy  # noqa: E402
import kymatio.torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches"))

from measure import processor, run  # noqa: E402

RULE = {"J": 3, "shape": (32, 32), "L": 8, "max_order": 2}
TIMES = 3


def in_parts(transform, images):
    """All paths, and the milliseconds that each image took."""
    transform(images[:2])
    begun = time.perf_counter()
    paths = [np.asarray(transform(images[first : first + 250])) for first in range(0, len(images), 250)]
    each = (time.perf_counter() - begun) / len(images) * 1e3
    return np.concatenate(paths), each


def neuncut(program, rows, threads):
    """All paths, normalised, milliseconds an image, and the largest resident set in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "paths.safetensors"
        line = f"features scatnet {rows} --threads {threads} -o {output}"
        told, _, mebibytes = run(str(program), line)
        return load_file(output)["x"], told["seconds"] / told["rows"] * 1e3, mebibytes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--neuncut", default=ROOT / "target/release/neuncut")
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()
    content = gzip.decompress((ROOT / "src/data/builtin/t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)[: chosen.rows]
    enlarged = np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.BILINEAR)) for image in images])
    enlarged = enlarged.astype(np.float32) / 255
    of_numpy, of_torch = kymatio.numpy.Scattering2D(**RULE), kymatio.torch.Scattering2D(**RULE)

    def with_torch(part):
        with torch.inference_mode():
            return of_torch(torch.from_numpy(part)).numpy()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digits.npy"
        np.save(file, images)
        for threads in chosen.threads:
            torch.set_num_threads(threads)
            times = {"kymatio_torch_ms": [], "neuncut_ms": []}
            # With NumPy it knows one thread only.
            if threads == 1:
                times["kymatio_numpy_ms"] = []
            for _ in range(TIMES):
                theirs, each = in_parts(with_torch, enlarged)
                times["kymatio_torch_ms"].append(each)
                if threads == 1:
                    times["kymatio_numpy_ms"].append(in_parts(of_numpy, enlarged)[1])
                ours, each, mebibytes = neuncut(chosen.neuncut, file, threads)
                times["neuncut_ms"].append(each)
            theirs = theirs / np.abs(theirs).max(axis=(2, 3), keepdims=True)
            row = {"threads": threads, "images": len(images)}
            for name, values in times.items():
                row[name] = round(statistics.median(values), 4)
                row[name.replace("_ms", "_all_ms")] = [round(value, 4) for value in values]
            row["largest_difference"] = float(np.abs(ours - theirs.reshape(len(ours), -1)).max())
            row["neuncut_mebibytes"] = round(mebibytes, 1)
            rows.append(row)
            print(json.dumps(row))
    if chosen.output:
        told = {
            "date": datetime.date.today().isoformat(),
            "cpu": processor(),
            "versions": {"kymatio": "0.3.0", "torch": torch.__version__, "numpy": np.__version__},
            "rows": rows,
        }
        chosen.output.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
