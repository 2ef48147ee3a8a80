"""engine.c to engine.wasm with a compiler that pip installs (ziglang, of the tests' environment).

    python -m siam.live.build
"""

import argparse
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("engine.c")
# No relaxed SIMD: Firefox has none. No fast-math: it would buy nothing, the sums being written out as vectors.
FLAGS = ("--target=wasm32-freestanding", "-O3", "-msimd128", "-mbulk-memory", "-nostdlib", "-Wl,--no-entry",
         "-Wl,--strip-all", "-Wall", "-Wextra", "-Werror")


def build(path=SOURCE.with_suffix(".wasm")):
    """Compile the engine to `path`. Raises subprocess.CalledProcessError where the compiler refuses it."""
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", path, SOURCE], check=True)
    Path(path).chmod(0o644)  # the linker makes programs


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m siam.live.build", description="Compile engine.c to engine.wasm, beside it.").parse_args()
    build()
