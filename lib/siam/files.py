"""Files that are whole or not there; JSON and npz, or one line that says why it is none; and the command that measures a record."""

import argparse
import json
import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # on Windows: there nothing keeps two processes apart
    fcntl = None


@contextmanager
def writing(path):
    """A path to write to, which takes the place of `path` when the block ends: a crash leaves the old file or the new one.

    Its folder is made where it is missing. Where the block raises, `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, as a file is renamed at once only within a file system; of this process, so that no two write into one.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with open(part, "r+b") as file:  # Windows does not sync what is open to be read alone
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def alone(path):
    """While the block lasts no other process may be in one for the same `path`, which need not be there: two that do one run would
    each lose the other's work.

    What one that was killed while `writing` there left is removed. Raises ValueError, one line that names the file, where another
    process is; one that was killed no longer is.
    """
    if not fcntl:
        yield
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        file = _locked(lock)
    except BlockingIOError:
        raise ValueError(f"{path}: another process is working on it: wait for it to end, or end it") from None
    with file:
        try:
            for left in path.parent.glob(f".{escape(path.name)}.*.part"):  # by one that was killed as it wrote
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.unlink(missing_ok=True)  # while it is still locked: later it might be another's


def _locked(path):
    """The file at `path`, made where it is missing, open and locked. Raises BlockingIOError where another process has locked it."""
    while True:
        with ExitStack() as unless_returned:
            file = unless_returned.enter_context(open(path, "w"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                # Whoever had it removed it as he left: opened before that, it is a file that nobody else finds any more.
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    unless_returned.pop_all()
                    return file


def write_text(path, text):
    """Write `text` as UTF-8 at `path`: the old file or the new one, no half."""
    with writing(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path):
    """The JSON at `path`. Raises ValueError, one line that names the file, where it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a record: not valid JSON ({error})") from None


def write_npz(path, arrays):
    """Write {name: array} as a compressed npz file at `path`: the old file or the new one, no half."""
    with writing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path, what):
    """The arrays of the npz file at `path`, {name: array}. Raises ValueError, one line that names the file and `what` it should have
    been, where it is none or a byte of it is wrong; OSError where it cannot be opened."""
    with open(path, "rb") as file:
        try:
            with np.load(file) as arrays:
                return dict(arrays)
        except Exception as error:  # of a wrong byte zip, each of its compressions and NumPy say so in errors of many kinds
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(f"{path}: not {what}: {why}") from None


def read_other(path, kind, fields):
    """The record at `path` of a measurement that is no run, a dict with `kind` and `fields`; None where there is no file.

    Raises ValueError, one line that names the file, for one that is no such record.
    """
    if not Path(path).exists():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or record.get("kind") != kind:
        raise ValueError(f"{path}: not a record: its kind must be {kind}")
    missing = [name for name in fields if name not in record]
    if missing:
        raise ValueError(f"{path}: not a record: it has no {', '.join(missing)}")
    return record


def refuse_unlike(path, record, settings):
    """Raise ValueError, one line that names the file, where the record at `path` was measured with other settings."""
    if unlike := [key for key, value in json.loads(json.dumps(settings)).items() if record.get(key) != value]:
        raise ValueError(f"{path}: measured with different {', '.join(unlike)}: move it away to measure again")


def added_to(path, kind, rows, settings):
    """The record at `path` to whose list `rows` a measurement adds, or an empty one. Raises as `read_other` and, where it has any rows,
    as `refuse_unlike`."""
    record = read_other(path, kind, (rows,)) or {"kind": kind, rows: []}
    if record[rows]:
        refuse_unlike(path, record, settings)
    return record


def refuse_to_replace(path):
    """Raise FileExistsError, one line, where there is a record at `path` that a measurement would write anew."""
    if Path(path).exists():
        raise FileExistsError(f"{path} is there: move it away to measure again")


def command(module, description, record, measure, arguments=None):
    """`python -m module [--record PATH]`: `measure(path)`, by no other process meanwhile, and where its record is; what is refused
    (OSError, ValueError) is said in one line."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--record", type=Path, default=record, help="where to write the record (default: where the book reads it)")
    try:
        path = parser.parse_args(arguments).record
        with alone(path):
            measure(path)
        print(f"complete: {path}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
