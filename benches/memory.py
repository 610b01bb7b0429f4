#!/usr/bin/env python3
"""Peak resident memory of `predict` on 1,000,000 and on 10,000,000 rows of 500 numbers in f16: it must not grow with the rows.

    cargo build --release
    python3 benches/memory.py [--threads 2] [-o benches/results/NAME.json]

Trains on the first 5,000 of the rows (ten clouds) and labels files of 1 and 10 GB, which it makes in --folder, a temporary one unless
given. Needs nothing beyond Python itself.
"""

import argparse
import datetime
import json
import os
import random
import struct
import tempfile

from measure import processor, run

COLUMNS = 500
BLOCK = 20_000


def block(seed):
    """Rows of ten clouds, as bytes."""
    draw = random.Random(seed)
    centres = [[draw.gauss(0, 1) for _ in range(COLUMNS)] for _ in range(10)]
    noise = [draw.gauss(0, 1) for _ in range(1_000_003)]
    rows = []
    for row in range(BLOCK):
        first = draw.randrange(len(noise) - COLUMNS)
        values = [c + n for c, n in zip(centres[row % 10], noise[first : first + COLUMNS])]
        rows.append(struct.pack(f"<{COLUMNS}e", *values))
    return b"".join(rows)


def write(path, content, rows):
    """`rows` rows, those of `content` again and again."""
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, {COLUMNS}), }}"
    header = header.ljust(117).encode() + b"\n"
    of_block = len(content) // (2 * COLUMNS)
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        for first in range(0, rows, of_block):
            file.write(content[: 2 * COLUMNS * min(of_block, rows - first)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--neuncut", default=os.path.join(os.path.dirname(__file__), "../target/release/neuncut"))
    parser.add_argument("--folder")
    parser.add_argument("-o", "--output")
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        content = block(0)
        write(f"{folder}/train.npy", content, 5000)
        run(chosen.neuncut, f"fit {folder}/train.npy -k 10 --threads {chosen.threads} --out {folder}/run")
        for count in (1_000_000, 10_000_000):
            write(f"{folder}/x.npy", content, count)
            line = f"predict {folder}/run {folder}/x.npy -o {folder}/labels.npy --threads {chosen.threads}"
            for more in ("", f" --probabilities {folder}/p.npy"):
                told, command, mebibytes = run(chosen.neuncut, line + more)
                rows.append({"rows": count, "command": command.replace(folder + "/", ""), "seconds": told["seconds"]})
                rows[-1]["peak_mib"] = round(mebibytes, 1)
                print(json.dumps(rows[-1]), flush=True)
    if chosen.output:
        told = {"date": datetime.date.today().isoformat(), "cpu": processor(), "columns": COLUMNS, "rows": rows}
        with open(chosen.output, "w") as file:
            json.dump(told, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
