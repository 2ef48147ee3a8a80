"""A checkpoint for the live page: BatchNorm folded, in two parts of bytes, the first of which is enough to vote.

    python -m siam.export CHECKPOINT FOLDER

writes the network, the engine and images into FOLDER, as scripts, since a page opened as a file can load nothing else.
`siam.assets` does so for the book's page. No torch.

A part is little-endian: a header of 48 bytes (8: magic; 16: the checkpoint's digest; three int32: the rank of the
noise, the numbers n of weights and c of output channels; zeros), and then, with W ≈ scale · (256 · high + low),

| part   | magic      | what follows                                                                           |
|--------|------------|----------------------------------------------------------------------------------------|
| coarse | `siamCRS1` | high int8 [n], scale float32 [c], bias float32 [c]                                     |
| fine   | `siamFIN1` | low int8 [n], D uint8 [n], F int8 [rank, n], scale of D float32 [c], of F float32 [c]  |

n runs over the layers in the order of `LAYERS`, in each over [kernel, kernel, inputs, outputs]; scales belong to output
channels. The last layer's ten outputs are padded to sixteen. `lib/siam/live/engine.c` reads them, and so do the tests (`tests/parts.py`).
"""

import argparse
import base64
import math
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from siam import cifar10
from siam.files import write_text
from siam.paths import CHECKPOINTS
from siam.runs import VARIANTS, checkpoints_in, digest, missing

ENGINE = Path(__file__).parent / "live" / "engine.wasm"
IMAGES = 100
HEADER = struct.Struct("<8s16s3i12x")
COARSE, FINE = b"siamCRS1", b"siamFIN1"
RANK_MOST = 10  # of the noise, as the engine has room for (siam/live/engine.c)
EPS = 1e-5  # of BatchNorm, torch's default


def _layers():
    yield "conv", "norm"
    for block in range(9):
        name = f"blocks.{block}"
        yield f"{name}.conv1", f"{name}.norm1"
        if block in (3, 6):
            yield f"{name}.shortcut.0", f"{name}.shortcut.1"
        yield f"{name}.conv2", f"{name}.norm2"
    yield "linear", None


LAYERS = tuple(_layers())  # as in siam.folding: each with the BatchNorm that follows it


def checkpoint(path):
    """The tensors of a checkpoint by name, and what it says of itself with its digest.

    Raises FileNotFoundError, and ValueError where the file is no checkpoint of ours or has noise the page cannot draw.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(missing(path))
    try:
        with safe_open(path, "numpy") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, TypeError) as error:  # the last of numbers that NumPy does not have, as bfloat16
        raise ValueError(f"{path.name} is not a checkpoint: {str(error).splitlines()[0]}") from None
    if said.get("variant") not in VARIANTS:
        raise ValueError(f"{path.name} is not a checkpoint of this package: its variant is {said.get('variant')!r}")
    if said["variant"].endswith("A-a"):
        able = ", ".join(name for name in VARIANTS if not name.endswith("A-a"))
        raise ValueError(f"{path.name} is a {said['variant']}: the live page draws no activation noise; it runs only {able}")
    return tensors, said | {"digest": digest(path)}


def factors(tensors, layer):
    """W, D [outputs, inputs, kernel, kernel] and F [outputs, …, rank] of a layer, as `siam.noise` has them."""
    weight, noise = tensors[f"network.{layer}.weight"], f"network.{layer}.weight_noise"
    D, F = np.zeros_like(weight), np.zeros((*weight.shape, 0), np.float32)
    if f"{noise}.alpha" in tensors:
        D = D + tensors[f"{noise}.alpha"] * weight.std(ddof=1)
    elif f"{noise}.d" in tensors:
        D, F = np.sqrt(np.abs(weight.std(ddof=1) * tensors[f"{noise}.d"])), tensors[f"{noise}.F"]
    return weight, D, F


def noise(tensors):
    """Of each convolution with noise in its weights (strength, shared): the noise's root mean square, over the layer's weights, as a
    multiple of their std; and what share of its variance the low-rank part F has."""
    found = []
    for weight, D, F in (factors(tensors, layer) for layer, norm in LAYERS if norm):
        white, coloured = float(np.mean(D**2)), float(np.mean((F**2).sum(-1)))
        if white + coloured > 0:
            found.append((float(np.sqrt(white + coloured) / weight.std(ddof=1)), coloured / (white + coloured)))
    return found


def folded(tensors):
    """W, D, F and bias of each of `LAYERS`, four lists: W, D [kernel, kernel, inputs, outputs], F [rank, …], bias.

    BatchNorm's scale multiplies the weights and their noise alike (see siam.folding). D is zero where there is no
    noise, and the rank of F then 0. Raises ValueError where a tensor of the network is missing.
    """
    found = []
    try:
        for layer, norm in LAYERS:
            weight, D, F = factors(tensors, layer)
            if norm is None:
                scale, bias = np.ones(len(weight), np.float32), tensors[f"network.{layer}.bias"]
            else:
                mean, variance, gain, shift = (
                    tensors[f"network.{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
                )
                scale = gain / np.sqrt(variance + np.float32(EPS))
                bias = shift - mean * scale
            scale = scale.reshape(-1, *[1] * (weight.ndim - 1))
            found.append([_ordered(weight * scale), _ordered(np.abs(D * scale)), _ordered(F * scale[..., None]), bias])
    except KeyError as error:
        raise ValueError(f"the checkpoint has no {error.args[0]}: it is not one of our ResNet-20") from None
    W, D, F, bias = map(list, zip(*found))
    rank = max(len(f) for f in F)
    F = [f if len(f) else np.zeros((rank, *w.shape), np.float32) for w, f in zip(W, F)]
    spare = -len(bias[-1]) % 16  # the last layer's outputs come in whole vectors
    for tensor in (W, D, F, bias):
        tensor[-1] = np.pad(tensor[-1], [(0, 0)] * (tensor[-1].ndim - 1) + [(0, spare)])
    return W, D, F, bias


def _ordered(t):
    """t [outputs, inputs(, kernel, kernel)(, rank)] -> [(rank, )kernel, kernel, inputs, outputs]; W, D have no rank."""
    if t.ndim in (2, 3):  # the linear layer, as a 1 × 1 convolution
        t = t[:, :, None, None]
    return t.transpose(4, 2, 3, 1, 0) if t.ndim == 5 else t.transpose(2, 3, 1, 0)


def quantised(layers, most):
    """Whole numbers of size `most` at the most and the scale of each output channel: int32 [..., n], float32 [c]."""
    scales = [np.abs(t).reshape(-1, t.shape[-1]).max(0, initial=0) / np.float32(most) for t in layers]
    whole = [np.rint(t / np.where(scale > 0, scale, 1)).astype(np.int32) for t, scale in zip(layers, scales)]
    flat = [t.reshape(*t.shape[:-4], math.prod(t.shape[-4:])) for t in whole]
    return np.concatenate(flat, -1), np.concatenate(scales)


def parts(path):
    """The two parts, as bytes, of the checkpoint at `path`; raises as `checkpoint` and `folded` do."""
    tensors, said = checkpoint(path)
    W, D, F, bias = folded(tensors)
    if len(F[0]) > RANK_MOST:
        raise ValueError(f"{Path(path).name}: its noise has rank {len(F[0])}, and the page draws no more than {RANK_MOST}")
    whole, scale = quantised(W, 127 * 256 + 127)
    high = (whole + 128) >> 8
    D, D_scale = quantised(D, 255)
    F, F_scale = quantised(F, 127)
    said = said["digest"].encode(), len(F), len(whole), len(scale)
    coarse = [HEADER.pack(COARSE, *said), high.astype(np.int8), scale, np.concatenate(bias)]
    fine = [HEADER.pack(FINE, *said), (whole - 256 * high).astype(np.int8), D.astype(np.uint8), F.astype(np.int8),
            D_scale, F_scale]
    return tuple(b"".join(p if isinstance(p, bytes) else p.tobytes() for p in part) for part in (coarse, fine))


def sample(indices):
    """Test images of the shipped sample: a label each as uint8 [n], then pixels 0 to 255 as uint8 [n, 3, 32, 32]."""
    shipped, indices = cifar10.sample(), list(indices)
    labels, images = (shipped[f"test_{name}"][indices] for name in ("labels", "images"))
    return labels.astype(np.uint8).tobytes() + np.ascontiguousarray(images.transpose(0, 3, 1, 2)).tobytes()


def script(name, content):
    """A script that hands `content`, deflated (zlib) and in base64, to the page as its part `name`."""
    return f'siamLive.part("{name}", "{base64.b64encode(zlib.compress(content, 9)).decode()}");\n'


def write(path, folder):
    """Write the parts of the checkpoint at `path`, the engine and the first images of the sample into `folder`."""
    coarse, fine = parts(path)
    contents = {"engine": ENGINE.read_bytes(), "coarse": coarse, "fine": fine, "images": sample(range(IMAGES))}
    for name, content in contents.items():
        write_text(Path(folder) / f"{name}.js", script(name, content))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m siam.export", description="Write what the live page loads.")
    parser.add_argument("checkpoint", help=f"a file, or one of {', '.join(checkpoints_in(CHECKPOINTS))}")
    parser.add_argument("folder", type=Path, help="where the scripts go")
    chosen = parser.parse_args(arguments)
    path = Path(chosen.checkpoint)
    try:
        write(path if path.is_file() else CHECKPOINTS / f"{path.name}.safetensors", chosen.folder)
        print(f"complete: the scripts in {chosen.folder} (to look at a network: siam.live.Live, in JupyterLab)")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
