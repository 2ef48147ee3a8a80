"""The benchmark runs, counts right and refuses in one line; the page shows what its record says, and no more."""

import copy
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from html import escape

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from siam import models
from siam.devices import slow_bf16
from siam.paths import RESULTS, ROOT
from siam.pages import speed
from siam.report import NOT_YET
from siam.training import schedule

spec = importlib.util.spec_from_file_location("throughput", ROOT / "benchmarks" / "throughput.py")
throughput = importlib.util.module_from_spec(spec)
spec.loader.exec_module(throughput)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with the record of a quick run, and the record."""
    folder = tmp_path_factory.mktemp("results")
    throughput.main(["--quick", "--rounds", "1", "--results", str(folder)])
    (path,) = (folder / "throughput").glob("cpu-*.json")
    return folder, speed.read(path)


def test_the_record_holds_every_rung_and_its_ratios(measured):
    _, record = measured
    assert record["device"].startswith("cpu") and {"commit", "versions", "date", "load", "clock"} <= set(record)
    assert [work["key"] for work in record["works"]] == ["training", "step", "tally", "epgd"]
    for work in record["works"]:
        first = work["rungs"][0]
        assert first["name"] == "plain eager" and first["faster"]["median"] == 1 and first["differs"] == 0
        assert [rung["name"] for rung in work["rungs"]][-1] == "bf16"  # and no CUDA graph on a CPU
        products = dict(fp32=128**3, bf16=32**3 if slow_bf16() else 8 * 128**3)
        rates = {name: 2 * number / work["yardsticks"][name][0] for name, number in products.items()}
        assert work["floor"]["median"] == pytest.approx(throughput.floor(work, rates, record["multiply_adds"], 0))
        assert work["yardsticks"]["bf16"] != work["rungs"][-1]["rounds"]  # of one name, and not the same
        for rung in work["rungs"]:
            (took,) = rung["rounds"]
            assert rung["faster"]["median"] == pytest.approx(first["rounds"][0] / took)
            assert rung["share"]["median"] == pytest.approx(work["floor"]["median"] / took)
            assert rung["differs"] < 0.5


def test_a_record_is_overwritten_only_when_asked(measured, capsys, monkeypatch):
    folder, record = measured
    (path,) = (folder / "throughput").glob("*.json")
    with pytest.raises(SystemExit, match=rf"^error: {path.name} is there already: give --replace") as stopped:
        throughput.main(["--quick", "--results", str(folder)])
    assert "\n" not in stopped.value.code and json.loads(path.read_text()) == record
    monkeypatch.setattr(throughput, "measure", lambda *_: {**record, "rounds": 7})
    throughput.main(["--quick", "--replace", "--results", str(folder)])
    assert speed.read(path)["rounds"] == 7 and "7 rounds of " in capsys.readouterr().out
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(("arguments", "said"), [
    (["--rounds", "0"], "rounds = 0 is not allowed"),
    (["--quick"], "give --results another folder"),
    (["--device", "abacus"], "device 'abacus' is not available here"),
    (["--device", "meta"], "device 'meta' is not available here"),
])
def test_it_refuses_in_one_line(arguments, said):
    before = sorted((RESULTS / "throughput").glob("*"))
    with pytest.raises(SystemExit) as stopped:
        throughput.main(arguments)
    assert stopped.value.code.startswith("error: ") and said in stopped.value.code
    assert "\n" not in stopped.value.code and sorted((RESULTS / "throughput").glob("*")) == before


def test_multiply_adds_are_counted_from_the_layers():
    """About 41 million a pass, 82 MFLOP, and what torch counts from the operations it carries out."""
    model = models.classifier("CPNI-W")
    multiply_adds, moved = throughput.cost(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() == 2 * multiply_adds == pytest.approx(82e6, rel=0.01)
    assert 4 * 32 * 32 * 16 * 6 < moved < 6e5  # more than the first stage alone


def test_passes_are_what_a_step_carries_out():
    """A forward pass and each of its two gradients: torch's count, which leaves out the first layer's to its input."""
    model = models.classifier("plain")
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert counter.get_total_flops() / 2 == pytest.approx(3 * 2 * throughput.cost(model)[0], rel=0.02)
    assert throughput.passes_of(schedule("paper", "adversarial")) == 7 * 2 + 2 * 3
    assert throughput.passes_of(schedule("cpu", "adversarial")) == 0.5 * 2 + 3


def test_a_floor_is_arithmetic_or_traffic():
    work, rates = dict(units=10, passes=20), dict(fp32=1e9, bf16=4e9)
    assert throughput.floor(work, rates, 41e6, 4e5) == pytest.approx(200 * 2 * 41e6 / 4e9)
    assert throughput.floor(work, rates | {"copy": 1e6}, 41e6, 4e5) == pytest.approx(200 * 2 * 4e5 / 1e6)  # 2 bytes
    assert throughput.floor(work, dict(fp32=1e9, bf16=1e8), 41e6, 4e5) == pytest.approx(200 * 2 * 41e6 / 1e9)


def test_a_rung_that_does_other_work_is_refused():
    prototype = models.classifier("plain")
    rungs = {name: (copy.deepcopy(prototype), lambda value=value: torch.tensor([value]))
             for name, value in (("plain eager", 1.0), ("shortcut", 1.2))}
    with pytest.raises(ValueError, match="training: the rung 'shortcut' is 20.0% away from plain eager code"):
        throughput.differences(prototype, "training", rungs, torch.device("cpu"))


def test_one_thread_is_timed_by_the_processor_time_it_had(monkeypatch):
    cpu, idle = torch.device("cpu"), lambda: time.sleep(0.3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert throughput.clock_of(cpu) == "process" and throughput.timed(idle, cpu) < 0.2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert throughput.clock_of(cpu) == "wall" and throughput.timed(idle, cpu) >= 0.3
    assert throughput.clock_of(torch.device("cuda")) == "wall"


def test_help_reads_well(capsys):
    with pytest.raises(SystemExit):
        throughput.main(["--help"])
    said = capsys.readouterr().out
    assert "--device cuda" in said and "--replace" in said and max(map(len, said.splitlines())) <= 120


def on_gpu(record):
    """A made-up record of a GPU: every rung ten times as fast as the one before, an epoch in 1.5 s."""
    record = copy.deepcopy(record) | dict(device="cuda: Made Up 9000", rounds=5)
    record["rates"]["copy"] = dict(median=4e12, low=4e12, high=4e12)
    for work in record["works"]:
        work["units"] = 49_000 if work["key"] == "training" else 5120
        for i, rung in enumerate(work["rungs"]):
            rung["faster"] = dict(median=10.0**i, low=0.9 * 10.0**i, high=1.1 * 10.0**i)
            rung["seconds"]["median"] = 1.5 * 10.0 ** (len(work["rungs"]) - 1 - i)
            rung["share"]["median"] = 0.123
    return record


def test_the_page_of_a_cpu_has_no_seconds_and_says_what_is_missing(measured):
    table = speed.throughput(measured[0])
    assert list(table.frame.columns) == ["Rows", "Rung", "Times as fast", "Quartiles", speed.LIMIT, "Result differs by", "Records"]
    last = table.frame.iloc[-1]
    assert last["Rows"] == "a GPU" and last["Times as fast"] == NOT_YET
    assert "load average" in table.caption and "mean little" in table.caption
    assert speed.aims(measured[0]).count(NOT_YET) == 2


def test_the_page_of_a_gpu_has_seconds_beside_the_aims(measured, tmp_path):
    folder = tmp_path / "throughput"
    folder.mkdir()
    for name, record in (("cpu", measured[1]), ("cuda", on_gpu(measured[1]))):
        (folder / f"{name}.json").write_text(json.dumps(record))
    table = speed.throughput(tmp_path)
    assert NOT_YET not in repr(table) and "copies 4,000 GB/s" in table.caption
    rows = table.frame[table.frame["Rows"].str.contains("Made Up")]
    assert len(rows) == len(table.frame) / 2 and rows.index[0] == 0  # GPUs first
    step = rows[rows["Rung"] == "bf16"].iloc[0]
    assert (step["Times as fast"], step["Quartiles"], step[speed.LIMIT], step["Milliseconds"]) == (
        "10000.00", "9000.00–11000.00", "12.3", "1500.00")
    assert set(table.frame["Milliseconds"][len(rows):]) == {""}
    epoch, votes = speed.aims(tmp_path).splitlines()
    assert epoch.endswith("aim 1.0 s, on a GPU 1.50 s on cuda: Made Up 9000 (bf16).") and "1500.00 s" in votes


def test_the_picture_has_a_panel_for_each_work_and_a_colour_for_each_device(measured, tmp_path):
    (tmp_path / "throughput").mkdir()
    for name, record in (("cpu", measured[1]), ("cuda", on_gpu(measured[1]))):
        (tmp_path / "throughput" / f"{name}.json").write_text(json.dumps(record))
    figure = speed.picture(tmp_path)
    assert len(figure.panels) == 4 and list(figure.legend) == ["cuda: Made Up 9000", speed.named(measured[1])]
    for panel, work in zip(figure.panels, measured[1]["works"]):
        assert speed.WORKS[work["key"]] in panel and "bf16 10" in panel  # as words, for who does not see it
        assert all(colour.lower() in panel.lower() for colour, _ in figure.legend.values())
        assert all(escape(speed.SHORT.get(rung["name"], rung["name"]), quote=False) in panel for rung in work["rungs"])
    assert NOT_YET in repr(speed.picture(tmp_path / "nothing")) and speed.picture(tmp_path).panels == figure.panels


@pytest.mark.parametrize(("device", "name"), [
    ("cpu: 1 threads, AVX2", "CPU, 1 thread, AVX2"), ("cpu: 1 threads", "CPU, 1 thread, 796 GFLOP/s in bf16"),
    ("cpu: 4 threads, AMX", "CPU, 4 threads, AMX"), ("cuda: Made Up 9000", "cuda: Made Up 9000"),
])
def test_machines_are_told_apart_by_what_their_records_say(device, name):
    assert speed.named({"device": device, "rates": {"bf16": {"median": 796e9}}}) == name


def test_the_machines_of_the_committed_records_have_names_of_their_own():
    names = [speed.named(record) for record in speed.records()]
    assert len(names) == len(set(names)) and all("threads" not in name or " 1 " not in name for name in names)


def test_every_short_name_is_a_rung(measured):
    assert set(speed.SHORT) - {throughput.STRICT} <= {rung["name"] for work in measured[1]["works"] for rung in work["rungs"]}


def test_the_page_of_nothing_says_so(tmp_path):
    assert NOT_YET in repr(speed.throughput(tmp_path)) and "<table>" in speed.throughput(tmp_path)._repr_html_()


@pytest.mark.parametrize(("text", "said"), [
    ("{", "not valid JSON"), ("[]", "its kind must be throughput"),
    ('{"kind": "throughput"}', "it has no device, versions"),
])
def test_what_is_no_record_is_refused_in_one_line(tmp_path, text, said):
    (tmp_path / "throughput").mkdir()
    (tmp_path / "throughput" / "x.json").write_text(text)
    with pytest.raises(ValueError, match=f"x.json: not a record: {said}") as refused:
        speed.throughput(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_tally_does_not_ask_for_its_memory_again_in_every_pass():
    program = """
import resource
import torch
from siam import models
from siam.folding import Folded
from siam.smoothing import tally
model, x = Folded(models.classifier("CPNI-W").eval()), torch.rand(500, 3, 32, 32)
def faults(M):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tally(model, x, M, (0,))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(4)  # what it needs at all
print(faults(4), resource.getpagesize())
"""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "LD_PRELOAD"))}
    said = subprocess.run([sys.executable, "-c", program], env=ours, capture_output=True, text=True, check=True).stdout
    faults, page = map(int, said.split())
    layer = 500 * 16 * 32 * 32 * 4  # bytes of one output of the first layers, of which a pass writes eight
    assert faults * page < 4 * layer, f"4 passes faulted {faults} times, {faults * page / layer:.1f} times a layer's output"
