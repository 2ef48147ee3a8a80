"""The classifier: pixels in [0, 1] -> normalise -> Gaussian input noise -> ResNet-20 -> logits.

There is one ResNet-20. Its convolution and its linear layer are parameters, and that is all in which the
paper's variants differ. The authors' network: widths 16-32-64, three basic blocks each, projection shortcuts.
"""

import json
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import nn
from torch.nn.functional import relu

from siam.cifar10 import CLASSES, MEAN, STD
from siam.devices import available
from siam.files import writing
from siam.noise import ColouredNoise, GaussianInput, NoisyConv2d, NoisyLinear, WhiteNoise
from siam.paths import CHECKPOINTS, RESULTS
from siam.runs import NOT_HERE, TIERS, checkpoints_in, digest, missing, recorded, trained_as, whole


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; `size` is the side of the input in pixels."""

    def __init__(self, conv, inputs, outputs, stride, size):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride, size), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs, 3, 1, size // stride), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride, size), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = relu(self.norm1(self.conv1(x)))
        return relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """CIFAR ResNet-20 (He et al., 2016): normalised images [N, 3, 32, 32] -> logits [N, 10].

    `stem` and `conv` build a convolution from (inputs, outputs, kernel size, stride, side of the input in pixels),
    `linear` the last layer from (inputs, outputs).
    """

    def __init__(self, stem, conv, linear):
        super().__init__()
        self.conv, self.norm = stem(3, 16, 3, 1, 32), nn.BatchNorm2d(16)
        sizes = [(16, 16, 1, 32)] * 3 + [(16, 32, 2, 32)] + [(32, 32, 1, 16)] * 2
        sizes += [(32, 64, 2, 16)] + [(64, 64, 1, 8)] * 2
        self.blocks = nn.Sequential(*(BasicBlock(conv, *size) for size in sizes))
        self.linear = linear(64, len(CLASSES))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        x = self.blocks(relu(self.norm(self.conv(x))))
        return self.linear(x.mean((2, 3)))


class Classifier(nn.Module):
    """Pixels [N, 3, 32, 32] in [0, 1] -> logits [N, 10]; `input_noise` acts in normalised units."""

    def __init__(self, network, input_noise):
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.input_noise = input_noise
        self.network = network

    def forward(self, x):
        x = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.network(self.input_noise(x))


def variants(rank):
    """The paper's base models: name -> (weight noise, activation noise) of the convolutions, None where absent."""
    coloured = partial(ColouredNoise, rank=rank)
    return {
        "plain": (None, None),
        "PNI-W": (WhiteNoise, None),
        "CPNI-W": (coloured, None),
        "CPNI-A-a": (None, coloured),
        "CPNI-W+A-a": (coloured, coloured),
    }


def classifier(variant, rank=5, sigma=0.0, learnt_sigma=False):
    """A freshly initialised classifier of one of `variants`, with input noise σ in normalised units.

    As in the authors' code the first convolution carries weight noise in every noisy variant, coloured in the
    CPNI ones, and the last layer carries white noise element by element. Raises ValueError, one line, for another variant,
    and for a σ or a rank that no noise has.
    """
    kinds = variants(rank)
    if variant not in kinds:
        raise ValueError(f"variant {variant!r} is not one of {', '.join(kinds)}")
    weight, activation = kinds[variant]
    conv = partial(NoisyConv2d, weight=weight, activation=activation)
    stem = partial(NoisyConv2d, weight=weight or activation)
    linear = nn.Linear if variant == "plain" else partial(NoisyLinear, weight_noise=WhiteNoise)
    return Classifier(ResNet20(stem, conv, linear), GaussianInput(sigma, learnt_sigma))


def refuse_unfit(weights, model, name):
    """Raise ValueError, one line that begins with `name`, unless `weights` (a state dict) are finite and shaped as those of `model`."""
    found, wanted = ({key: list(value.shape) for key, value in of.items()} for of in (weights, model.state_dict()))
    for key in wanted | found:
        if found.get(key) != wanted.get(key):
            raise ValueError(f"{name}: {key} must be {wanted.get(key, 'absent')} and is {found.get(key, 'absent')}")
    if unsound := [key for key, value in weights.items() if not value.isfinite().all()]:
        raise ValueError(f"{name}: {unsound[0]} holds numbers that are not finite")


def save(model, path, *, variant, rank, sigma, label, tier, **more):
    """Write a classifier's weights and what is needed to rebuild it as safetensors.

    label: its name in tables and figures. tier: how it was trained, one of `runs.TIERS`. more: what else it shall say of
    itself. Equal weights and words give equal bytes, and with them an equal digest. Raises ValueError, one line, for what
    `load` would refuse.
    """
    if tier not in TIERS:
        raise ValueError(f"tier {tier!r} is not one of {', '.join(TIERS)}")
    path, rank = Path(path), whole("rank", rank, 0)
    said = dict(variant=variant, rank=rank, sigma=sigma, label=label, tier=tier) | more
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with torch.device("meta"):  # only shapes: nothing is drawn
        described = classifier(variant, rank, sigma, "input_noise.log_sigma" in tensors)
    refuse_unfit(tensors, described, f"{path.name} ({variant} of rank {rank})")
    content = serialised(tensors, {key: str(value) for key, value in said.items()})
    # The library writes `said` in an order that differs from process to process. The header's length, eight bytes,
    # comes first; the header is JSON, padded with spaces.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    with writing(path) as part:
        part.write_bytes(content[:8] + text + content[8 + length :])


def place(name, folder):
    """Where the checkpoint of that name is in `folder`, or would be. Raises ValueError, one line, for a path or the name of a file."""
    if not isinstance(name, str) or "/" in name or name.endswith(".safetensors"):
        there = ", ".join(checkpoints_in(folder)) or "none"
        raise ValueError(f"checkpoint {name!r} is not allowed: give its name alone, without folder or .safetensors; there are: {there}")
    return Path(folder) / f"{name}.safetensors"


def about(path, results=RESULTS):
    """What a checkpoint says of itself: variant, rank, sigma, label, … as strings, and its digest.

    Raises FileNotFoundError naming the checkpoints there are, or saying that it is among the records of `results` alone, and
    ValueError for a file that is not one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(missing(path, results))
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata()
        lacking = {"variant", "rank", "sigma", "label", "tier"} - set(said or {})
    except Exception as error:
        raise ValueError(f"{path.name} is not a checkpoint: {str(error).splitlines()[0]}") from None
    if lacking:
        raise ValueError(f"{path.name} is not a checkpoint of this package: it does not say its {', '.join(sorted(lacking))}")
    if said["tier"] not in TIERS:
        raise ValueError(f"{path.name} says its tier is {said['tier']!r}, which is not one of {', '.join(TIERS)}")
    for name, number in {"rank": int, "sigma": float}.items():
        try:
            number(said[name])
        except ValueError:
            raise ValueError(f"{path.name} says its {name} is {said[name]!r}, which is no number") from None
    return said | {"digest": digest(path)}


def known(name, checkpoints=CHECKPOINTS, results=RESULTS):
    """What a checkpoint says of itself (`about`) or, where only its records are here, what that of its training says (`trained_as`).

    Raises as `place` and `about` do, and ValueError, one line, where its digest is not the one that was recorded.
    """
    path, on_record = place(name, checkpoints), trained_as(name, results)
    if on_record and not path.exists():
        return on_record[0]
    said, digests = about(path, results), [kept["digest"] for kept in on_record]
    if on_record and said["digest"] not in digests:
        raise ValueError(f"{path.name} has the digest {said['digest']}, but the record of its training has {' and '.join(digests)}:"
                         " it is damaged, or is another network, which needs another name")
    return said


def digest_of(name, checkpoints=CHECKPOINTS, results=RESULTS):
    """The digest of a checkpoint: of its file or, where only its records are here, as that of its training has it. Raises as `known`."""
    return known(name, checkpoints, results)["digest"]


def load(path, sigma=None, device="cpu"):
    """The classifier saved at `path`, in evaluation mode; `sigma` (normalised units) replaces the stored one.

    Raises as `about` does, and ValueError, one line, for a σ that is none, for weights that do not fit the network and for a device
    that is not to be had.
    """
    available(device)
    said = about(path)
    weights = load_file(path, device=str(device))
    learnt = "input_noise.log_sigma" in weights and sigma is None
    if not learnt:
        weights.pop("input_noise.log_sigma", None)
    start = float(said["sigma"]) if sigma is None else sigma
    model = classifier(said["variant"], int(said["rank"]), start, learnt)
    refuse_unfit(weights, model, f"{Path(path).name} ({said['variant']} of rank {said['rank']})")
    model.load_state_dict(weights)
    return model.to(device).eval()


def find(wanted, folder, results=RESULTS):
    """The path of the checkpoint in `folder` whose digest is `wanted`. Raises FileNotFoundError naming it, and saying whether it is
    among the records of `results`."""
    for path in sorted(Path(folder).glob("*.safetensors")):
        if digest(path) == wanted:
            return path
    names = [kept["name"] for kept in recorded(results) if kept["digest"] == wanted]
    known = f": {names[0]} is {NOT_HERE}" if names else ""
    raise FileNotFoundError(f"no checkpoint with digest {wanted} in the folder {folder}{known}")
