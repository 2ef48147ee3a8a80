"""Where things lie, relative to the repository root (the package is installed in editable mode).

`SIAM_DATA` moves what a campaign reads and writes (checkpoints, records, the CIFAR-10 cache) to another
folder; what ships and is only read, the sample and the paper's printed numbers, stays beside the code. So does
CIFAR-10 where it has been fetched there, and not into the other folder. A relative path begins at the root as well, since notebooks
and a shell work in different folders.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
PAPER = ROOT / "data" / "paper"
SHIPPED = ROOT / "data" / "results"  # the book's own records

DATA = ROOT / Path(os.environ.get("SIAM_DATA") or "data").expanduser()
RESULTS = DATA / "results"
CHECKPOINTS = DATA / "checkpoints"
CACHE = next((folder / "cifar10" for folder in (DATA, ROOT / "data") if (folder / "cifar10").exists()), DATA / "cifar10")
