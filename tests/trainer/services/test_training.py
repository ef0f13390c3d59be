"""The engine's side of a run: what a model says is stored whatever it says."""

from collections.abc import Callable

import pytest

from tasks.models import Dataset, User
from trainer.contract import Rollout, encode
from trainer.models import Line, RunSample
from trainer.services import runs
from trainer.services.launching import path_of
from trainer.services.training import TrainingKind


@pytest.mark.parametrize("field", ["prompt", "completion", "reason"])
def test_a_nul_in_what_a_model_says_does_not_hold_up_its_run(
    line: Line, fill: Callable[..., Dataset], contributor: User, field: str
):
    run = runs.train_expert(fill("letters", visibility="private"), actor=contributor)
    run.directory = "run-" + "0" * 32
    path_of(run.directory).mkdir(parents=True)
    texts = {"prompt": "Say 4", "completion": "4", "reason": "Matches.", field: "4\x00"}
    rollout = Rollout(step=1, key="1", domain="sums", reward=1.0, advantage=0.5, **texts)
    (path_of(run.directory) / "samples.jsonl").write_bytes(encode(rollout) + b"\n")

    TrainingKind().read_progress(run, path_of(run.directory))

    assert RunSample.objects.get(run=run).data[field] == "4\ufffd"
