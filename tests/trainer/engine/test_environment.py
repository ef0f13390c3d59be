"""What a result says of the engine that made it."""

import subprocess
import sys
from importlib import metadata

from tests.trainer.engine.conftest import REPOSITORY
from trainer.engine import environment


def test_the_versions_of_torch_transformers_and_trl_are_named():
    described = environment.describe()

    assert {name: described[name] for name in ("torch", "transformers", "trl")} == {
        name: metadata.version(name) for name in ("torch", "transformers", "trl")
    }


def test_the_processor_has_a_name():
    assert environment.processor()


def test_every_value_is_text():
    assert {type(value) for value in environment.describe().values()} == {str}


def test_the_threads_are_those_that_torch_uses():
    import torch

    assert environment.describe()["threads"] == str(torch.get_num_threads())


def test_it_does_not_load_torch_for_itself():
    code = "import sys; from trainer.engine import environment; environment.describe(); print('torch' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"


def test_the_digest_of_the_sources_changes_with_the_engine(tmp_path, monkeypatch):
    (tmp_path / "engine").mkdir()
    for beside in ("rewards.py", "constraint.py"):
        (tmp_path / beside).write_text("")
    monkeypatch.setattr(environment, "SOURCES", tmp_path)
    before = environment.sources_digest()

    (tmp_path / "engine" / "grpo.py").write_text("x = 1\n")

    assert environment.sources_digest() != before
