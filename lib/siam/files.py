"""Reading what lies in data/results: JSON, or one line that says why it is none. And the command that measures such a file."""

import argparse
import json
import sys
from pathlib import Path


def read_json(path):
    """The JSON at `path`. Raises ValueError, one line that names the file, where it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a record: not valid JSON ({error})") from None


def read_other(path, kind, fields):
    """The record at `path` of a measurement that is no run, a dict with `kind` and `fields`.

    Raises ValueError, one line that names the file, where it is none.
    """
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
        raise ValueError(f"{path}: measured with another {', '.join(unlike)}: move it away to measure again")


def command(module, description, record, measure, arguments=None):
    """`python -m module [--record PATH]`: `measure(path)`; what it refuses (OSError, ValueError) is said in one line."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--record", type=Path, default=record, help="where to write (default: where the book reads)")
    try:
        measure(parser.parse_args(arguments).record)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
