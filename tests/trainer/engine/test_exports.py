"""An export is all that somebody else needs: plain `from_pretrained`, in an interpreter that has never heard of us."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from tasks.services import accounts
from tests.trainer.engine.conftest import REPOSITORY, prepare_training, run_engine, train_spec
from trainer.contract import ModelRef
from trainer.engine.checkpoints import read_manifest
from trainer.models import Line, ModelVersion
from trainer.services import artifacts

KINDS = {"base": None, "full": {}, "lora": {"lora_rank": 4}}
LOOK = """
import json, sys, warnings
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model, told = AutoModelForCausalLM.from_pretrained(".", output_loading_info=True)
tokenizer = AutoTokenizer.from_pretrained(".")
ours = ("trainer", "tasks", "flywheel", "peft")
print(json.dumps({
    "finite": all(bool(torch.isfinite(weight).all()) for weight in model.parameters()),
    "adapters": [name for name, _ in model.named_parameters() if "lora" in name or "base_layer" in name],
    "unmatched": sorted([*told["missing_keys"], *told["unexpected_keys"], *told["mismatched_keys"]]),
    "class": type(model).__name__,
    "template": bool(tokenizer.chat_template),
    "ours": sorted(set(sys.modules) & set(ours)),
    "path": [path for path in sys.path if path.startswith(sys.argv[1]) and "site-packages" not in path],
}))
"""


def engine_run(tiny: ModelRef, directory: Path, recipe: dict[str, Any] | None) -> Path:
    """The directory of the model that the engine published; of the base itself where there is no recipe."""
    if recipe is None:
        return Path(tiny.path)
    result = run_engine(prepare_training(directory, train_spec(tiny, **recipe)))
    assert result.status == "succeeded", result.error
    return directory / "model"


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tiny: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine_run(tiny, tmp_path_factory.mktemp(request.param), KINDS[request.param])


@pytest.fixture
def export(model: Path, db: None, settings: Any, tmp_path: Path) -> Path:
    """As `manage.py export_version` writes it."""
    settings.DATA_DIR = tmp_path / "data"
    manifest = read_manifest(model)
    artifacts.adopt(model, manifest)
    line = Line.objects.create(team=accounts.pool(), slug="shared", name="Shared", purpose="shared")
    ModelVersion.objects.create(line=line, number=1, digest=manifest.digest, origin="test")
    call_command("export_version", "shared/v1", str(tmp_path / "export"))
    return tmp_path / "export"


def in_a_fresh_interpreter(code: str, directory: Path) -> str:
    """Isolated (-I): no PYTHONPATH, and neither the repository nor the directory is where modules come from."""
    command = [sys.executable, "-I", "-W", "error::FutureWarning", "-c", code, str(REPOSITORY)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_loads_without_our_code_whole_and_without_an_adapter(export: Path):
    said = json.loads(in_a_fresh_interpreter(LOOK, export).splitlines()[-1])

    assert said == {
        "finite": True,
        "adapters": [],
        "unmatched": [],
        "class": "LlamaForCausalLM",
        "template": True,
        "ours": [],
        "path": [],
    }


def test_the_block_of_its_card_answers_in_its_chat_template(export: Path):
    block = (export / "README.md").read_text().split("```python\n", 1)[1].split("```", 1)[0]

    said = in_a_fresh_interpreter(f"{block}\nprint('answered', answer.shape[1] > prompt['input_ids'].shape[1])", export)

    assert said.splitlines()[-1] == "answered True"


def test_no_file_of_a_trainer_is_left_in_it(export: Path):
    names = {path.name for path in export.iterdir()}

    assert [name for name in names if "adapter" in name or name.endswith((".bin", ".pt", ".pth", ".py"))] == []
