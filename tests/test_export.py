"""The parts of the live page say what the checkpoint does, folded, within the rounding they promise."""

import base64
import re
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from conftest import restless
from parts import read

from siam import cifar10, export, models
from siam.folding import Folded, folded_factors
from siam.paths import CHECKPOINTS, ROOT

SAID = dict(rank=2, sigma=0.0, label="test", tier="smoke")


def saved(folder, variant, rank=2):
    """The path of a checkpoint of a network that has seen something, some of whose BatchNorm scales are negative."""
    model = restless(models.classifier(variant, rank=rank))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("noise.F"):
                parameter.normal_(0, 0.02)
            if ".norm1.weight" in name:
                parameter *= torch.randn_like(parameter).sign()
    path = folder / f"{variant}.safetensors"
    models.save(model, path, variant=variant, **SAID | dict(rank=rank))
    return path


def test_noise_of_more_columns_than_the_engine_has_room_for_is_refused(tmp_path):
    room = int(re.search(r"MAX_RANK = (\d+)", (ROOT / "lib" / "siam" / "live" / "engine.c").read_text())[1])
    export.parts(saved(tmp_path, "CPNI-W", room))
    with pytest.raises(ValueError, match=f"CPNI-W.safetensors: its noise has rank {room + 1}, and the page draws no more than {room}"):
        export.parts(saved(tmp_path, "CPNI-W", room + 1))


@pytest.mark.parametrize("variant", ["plain", "PNI-W", "CPNI-W"])
def test_the_parts_are_what_torch_folds(tmp_path, variant):
    path = saved(tmp_path, variant)
    found = read(*export.parts(path))
    first = channel = 0
    for layer, norm in Folded(models.load(path)).layers:
        W, D, F, bias = (None if t is None else t.detach().numpy() for t in folded_factors(layer, norm))
        n, (outputs, inputs, *_) = W.size, layer.weight.shape

        def held(t):
            """t [n] as the parts hold it -> [outputs, n / outputs] in the order of siam.folding"""
            padded = -(-outputs // 16) * 16
            t = t[..., first : first + n // outputs * padded].reshape(*t.shape[:-1], -1, inputs, padded)
            return np.moveaxis(t[..., :outputs], -1, -3).reshape(*t.shape[:-3], outputs, -1)

        def close(ours, theirs, most):
            """Within half a step of rounding, and what float32 loses."""
            theirs = theirs.reshape(*theirs.shape[:-1], outputs, -1)
            each_channel = tuple(i for i in range(theirs.ndim) if i != theirs.ndim - 2)
            step = np.abs(theirs).max(each_channel)[:, None] / most
            assert (np.abs(ours - theirs) <= step * 0.51).all()

        close(held(found["W"]), W, 127 * 256 + 127)
        close(held(found["D"]), np.zeros_like(W) if D is None else np.abs(D), 255)
        if F is not None:
            close(held(found["F"]), F, 127)
        np.testing.assert_allclose(found["bias"][channel : channel + outputs], bias, rtol=1e-5, atol=1e-6)
        padded = -(-outputs // 16) * 16
        first, channel = first + n // outputs * padded, channel + padded
    assert first == found["W"].size
    assert found["rank"] == (2 if variant == "CPNI-W" else 0)
    assert found["digest"] == models.about(path)["digest"]


def test_the_coarse_part_alone_is_the_weights_in_eight_bits(tmp_path):
    coarse, fine = export.parts(saved(tmp_path, "CPNI-W"))
    rough, whole = read(coarse)["W"], read(coarse, fine)["W"]
    assert 0 < np.abs(rough - whole).max() <= 0.51 / 127 * np.abs(whole).max()
    assert len(coarse) < 300_000


def test_the_same_checkpoint_gives_the_same_scripts_and_without_torch(tmp_path):
    code = "import sys; from siam.export import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    for folder in ("a", "b"):  # each in a process of its own
        subprocess.run([sys.executable, "-c", code, "cpni-w-cpu-0", tmp_path / folder], check=True)
    written = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("a", "b")]
    assert written[0] == written[1]
    assert sorted(written[0]) == ["coarse.js", "engine.js", "fine.js", "images.js"]
    coarse, fine = export.parts(CHECKPOINTS / "cpni-w-cpu-0.safetensors")
    assert content(written[0]["coarse.js"]) == coarse and content(written[0]["fine.js"]) == fine
    assert content(written[0]["engine.js"]) == export.ENGINE.read_bytes()
    # what is loaded before the first vote stays well below a megabyte
    assert len(written[0]["engine.js"]) + len(written[0]["coarse.js"]) < 500_000


def content(script):
    call, text, _ = script.decode().split('"')[0], *script.decode().split('"')[3:]
    assert call == "siamLive.part("
    return zlib.decompress(base64.b64decode(text))


def test_images_are_those_of_the_sample():
    shipped = cifar10.sample()
    some = export.sample([7, 3])
    assert list(some[:2]) == [shipped["test_labels"][7], shipped["test_labels"][3]]
    pixels = np.frombuffer(some[2:], np.uint8).reshape(2, 3, 32, 32)
    assert (pixels[1, 2] == shipped["test_images"][3, :, :, 2]).all()


def test_what_the_page_cannot_do_is_refused_in_one_line(tmp_path, capsys):
    def refusal(name):
        with pytest.raises(SystemExit) as error:
            export.main([str(name), str(tmp_path / "out")])
        assert "\n" not in str(error.value)
        return str(error.value)

    activations = saved(tmp_path, "CPNI-W+A-a")
    assert "CPNI-W+A-a" in refusal(activations) and "only plain, PNI-W, CPNI-W" in refusal(activations)
    assert "no checkpoint 'nothing' in the folder" in refusal("nothing") and "; there are: cpni-w-cpu-0, " in refusal("nothing")
    assert "no checkpoint 'cpni-w-cpu-1' in the folder" in refusal("cpni-w-cpu-1") and "recorded, but not here" in refusal("cpni-w-cpu-1")
    (tmp_path / "text.safetensors").write_text("no checkpoint")
    assert "text.safetensors is not a checkpoint" in refusal(tmp_path / "text.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2, 2)}, other)
    assert "its variant is None" in refusal(other)
    save_file({"weight": torch.zeros(2, 2)}, other, {"variant": "plain"})
    assert "no network.conv.weight" in refusal(other)
    save_file({"weight": torch.zeros(2, 2, dtype=torch.bfloat16)}, other, {"variant": "plain"})
    assert "other.safetensors is not a checkpoint" in refusal(other)
    assert not (tmp_path / "out").exists()
