import tempfile
from pathlib import Path

import pytest

from tasks.sandbox import worker
from tasks.sandbox.protocol import Level
from tests.tasks.sandbox.conftest import offered, opened

SOURCE = """
import os, tempfile
def grade(sample, item):
    with open(item["library"]) as library:
        assert library.read() == "a module"
    with tempfile.TemporaryFile() as own:
        own.write(b"mine")
    try:
        open("/tmp/elsewhere", "x")
    except OSError:
        return 1.0
    return 0.0
"""


@pytest.mark.skipif(Level.NAMESPACES not in offered(), reason="this machine allows no user namespaces")
def test_python_may_lie_in_tmp_and_sessions_still_have_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as installed:
        Path(installed).chmod(0o755)
        library = Path(installed) / "module.py"
        library.write_text("a module")
        usual = worker.readable()
        monkeypatch.setattr(worker, "readable", lambda: [*usual, installed])

        with opened(Level.NAMESPACES) as pool:
            call = {"sample": {}, "item": {"library": str(library)}}
            with pool.session("grade", {"source": SOURCE, "calls": [call]}) as session:
                answer = session.receive(20)

    assert answer == {"ok": 1.0}
