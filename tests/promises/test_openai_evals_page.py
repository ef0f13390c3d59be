"""docs/openai-evals.md against the code: its calls are those that are served, and its example runs as it stands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from django.urls import get_resolver

from flywheel.openai_compat.eval_bodies import SamplingParams
from tests import cast, world
from tests.fakes import model_server
from tests.promises.test_documents import blocks, named, sections, table_rows
from trainer.models import EvalItem, EvalRun
from trainer.services import eval_running

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openai-evals.md"
PARTS = sections(DOCUMENT.read_text(), 2)


def _served() -> Iterator[str]:
    """Paths below /openai/v1, parameters as {}."""
    for pattern in get_resolver().url_patterns:
        if str(pattern.pattern) == "openai/v1/":
            for one in pattern.url_patterns:
                yield "/" + re.sub(r"<[^>]+>", "{}", str(one.pattern))


def test_every_path_of_evals_is_on_the_page_and_no_other():
    told = {call.partition(" ")[2] for row in table_rows(PARTS["Calls"]) for call in named(row[0])}

    assert {re.sub(r"{\w+}", "{}", path) for path in told} == {path for path in _served() if path.startswith("/evals")}


def test_every_status_and_parameter_is_on_the_page():
    params = {field.name for field in msgspec.structs.fields(SamplingParams)} - {"tools", "max_completions_tokens"}

    assert params <= named(PARTS["Data"])
    assert set(EvalItem.Status.values) <= named(PARTS["Calls"])


@pytest.mark.django_db(transaction=True)
def test_the_example_runs_as_it_stands(live_server: Any, settings: Any, monkeypatch: pytest.MonkeyPatch):
    carla = cast.of_own_team("carla")
    world.line_of(carla, "carlas", purpose="shared")
    code = blocks(DOCUMENT, "python")[0].replace("http://127.0.0.1:8000", live_server.url).replace("fw_…", carla.secret)
    said: dict[str, Any] = {}
    with model_server.running() as fake:
        settings.MODEL_SERVER_URL = fake.url
        exec(code, said)
        eval_running.run_eval(EvalRun.objects.get().pk)

    client: openai.OpenAI = said["client"]
    found = client.evals.runs.retrieve(said["run"].id, eval_id=said["made"].id)
    assert (found.status, found.result_counts.total, found.result_counts.errored) == ("completed", 1, 0)
    assert fake.asked[0]["messages"] == [{"role": "user", "content": "Compute 47 + 38."}]
