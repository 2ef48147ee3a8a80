"""Files are whole or not there, also where two processes write one."""

import json
import subprocess
import sys

from siam import runs


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
