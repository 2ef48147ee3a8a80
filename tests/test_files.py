"""Files are whole or not there, also where two processes write one."""

import json
import subprocess
import sys

import numpy as np
import pytest

from siam import files, runs


def test_two_writers_of_one_file_leave_one_of_theirs(tmp_path):
    """And whoever reads meanwhile never finds a half."""
    path = tmp_path / "x.json"
    program = "import sys; from siam import runs\nfor i in range(150): runs.write_json(sys.argv[1], [sys.argv[2]] * 3000)"
    writers = [subprocess.Popen([sys.executable, "-c", program, path, name]) for name in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            found = json.loads(path.read_text())
            assert len(found) == 3000 and len(set(found)) == 1
            seen.add(found[0])
    assert [writer.wait() for writer in writers] == [0, 0] and seen <= {"a", "b"}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
    runs.write_json(path, 1)
    assert json.loads(path.read_text()) == 1


def test_what_a_killed_writer_left_is_removed_by_the_next_who_is_alone_there(tmp_path):
    path = tmp_path / "x.json"
    kill = f"import os; from siam.files import alone, writing\nwith alone({str(path)!r}), writing({str(path)!r}) as part:\n"
    subprocess.run([sys.executable, "-c", f"{kill}    part.write_text('half'); os.kill(os.getpid(), 9)"])
    (left,) = tmp_path.glob(".x.json.*.part")
    others = tmp_path / ".y.json.1.part", tmp_path / ".x.json.1.mine"
    for other in others:
        other.write_text("of another")
    with files.alone(path), files.writing(path) as part:
        assert not left.exists() and all(other.exists() for other in others)
        part.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("next_one", [False, True])
def test_a_lock_that_was_opened_before_its_holder_left_keeps_others_out_or_is_none(tmp_path, monkeypatch, next_one):
    """Between opening and locking the file its holder leaves and removes it; `next_one`: and somebody else comes in."""
    path, flock = tmp_path / "x.json", files.fcntl.flock
    first, other = files.alone(path), files.alone(path)
    first.__enter__()

    def meanwhile(file, how):
        monkeypatch.setattr(files.fcntl, "flock", flock)
        first.__exit__(None, None, None)
        if next_one:
            other.__enter__()
        flock(file, how)

    monkeypatch.setattr(files.fcntl, "flock", meanwhile)
    refused = pytest.raises(ValueError, match=f"{path}: another process is working on it")
    if next_one:
        with refused, files.alone(path):
            pass
        other.__exit__(None, None, None)
    else:
        with files.alone(path), refused, files.alone(path):
            pass
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_measure_one_record_nor_the_same_parts(tmp_path):
    path = tmp_path / "record.json"
    with files.alone(path), pytest.raises(SystemExit, match=f"error: {path}: another process is working on it"):
        files.command("siam.studies.x", "", path, lambda path: pytest.fail("both measure"), [])
    def measuring(what):
        return runs.in_parts(tmp_path, what, runs.provenance("cpu: 1 threads"))

    with measuring(["settings", 1]) as (_, file_of):
        file_of("arm", 0).touch()
        with pytest.raises(ValueError, match=r"[0-9a-f]{12}\.json: another process is working on it"):
            with measuring(["settings", 1]):
                pytest.fail("the parts of both are in one place")
        with measuring(["settings", 2]) as (_, other):
            other("arm", 0).touch()
        assert file_of("arm", 0).exists() and not other("arm", 0).exists()
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), measuring(["settings", 1]) as (_, file_of):
        file_of("arm", 0).touch()
        raise KeyboardInterrupt
    (begun,) = tmp_path.glob("*.json")
    with pytest.raises(KeyboardInterrupt), measuring(["settings", 1]) as (_, file_of):
        assert file_of("arm", 0).exists()
        raise KeyboardInterrupt
    half = begun.with_name(f".{file_of('arm', 1).name}.4711.part")  # as a process leaves it that is killed while it writes
    half.touch()
    begun.unlink()
    with measuring(["settings", 1]) as (_, file_of):
        assert not file_of("arm", 0).exists()  # nobody knows any more what made it
        assert not half.exists()
    assert not list(tmp_path.iterdir())


def test_an_npz_is_read_whole_or_refused_by_name(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, one=np.arange(3), two="text")
    assert files.read_npz(path, "that").keys() == {"one", "two"}
    whole = path.read_bytes()
    np.save(tmp_path / "x.npy", np.arange(3))
    for content in (b"", b"no zip", whole[:-30], whole.replace(b"\2\0\0\0", b"\3\0\0\0", 1), (tmp_path / "x.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path}: not that: .+") as caught:
            files.read_npz(path, "that")
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        files.read_npz(tmp_path / "y.npz", "that")
