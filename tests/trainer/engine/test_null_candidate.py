"""The null candidate: the champion's own weights with fresh samples, through engine and gate. It is no better."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from flywheel.bench.training import subject
from tests.trainer.engine.conftest import run_engine
from trainer.contract import EvalItem, ModelRef, Sampling
from trainer.engine import answering, loading
from trainer.evaluation.decision import Digests
from trainer.evaluation.gates import decide
from trainer.evaluation.policy import GatePolicy
from trainer.evaluation.scoring import SideScores, SuiteScores, side_of, suite_of
from trainer.states import Verdict

EVALUATIONS = 200
ITEMS, ANSWERS = 300, 4
MOST = 11  # 2.5 % of 200 are 5; more than 11 happen by chance in one case of a hundred
POLICY = GatePolicy(answers_per_item=ANSWERS)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tour's base, which is right now and then: on a model that never is, nothing could be promoted by chance."""
    directory = tmp_path_factory.mktemp("base")
    for name, content in subject.base(1).items():
        (directory / name).write_bytes(content)
    assert run_engine(directory).status == "succeeded"
    return directory / "model"


@pytest.mark.proof
def test_the_same_weights_with_fresh_samples_are_promoted_no_more_often_than_the_policy_says(base: Path):
    model, tokenizer = loading.load(ModelRef(str(base), ""))
    asked = [
        msgspec.convert({**item, "suite": item["domain"], "cluster": ""}, EvalItem)
        for item in subject.items(subject.HELD_OUT_SEED, ITEMS, subject.HELD_OUT)
    ]

    def answered(seed: int) -> dict[str, list[float]]:
        drawn_as = Sampling(answers_per_item=ANSWERS, seed=seed)
        scores: dict[str, list[float]] = {}
        for chunk in answering.chunks(asked, drawn_as, answering.answers_at_once(model)):
            for item, _, _, grade in answering.answered(chunk, model, tokenizer, drawn_as):
                scores.setdefault(item.key, []).append(grade.score)
        return scores

    verdicts = [verdict(asked, answered(2 * number), answered(2 * number + 1)) for number in range(EVALUATIONS)]

    assert verdicts.count(Verdict.INVALID) == 0
    assert verdicts.count(Verdict.PROMOTE) <= MOST, {word: verdicts.count(word) for word in Verdict}


def verdict(asked: list[EvalItem], champion: dict[str, list[float]], candidate: dict[str, list[float]]) -> Verdict:
    suites = [suite(name, asked, champion, candidate) for name in sorted({item.suite for item in asked})]
    found = Digests(POLICY.digest(), "same", "same", "fresh", {one.suite: "" for one in suites})
    return decide(POLICY, suites, expected=found, found=found).verdict


def suite(
    name: str, asked: list[EvalItem], champion: dict[str, list[float]], candidate: dict[str, list[float]]
) -> SuiteScores:
    keys = [item.key for item in asked if item.suite == name]
    return suite_of(name, keys, {"champion": side(keys, champion), "candidate": side(keys, candidate)})


def side(keys: list[str], scores: dict[str, list[float]]) -> SideScores:
    return side_of(np.array([scores[key] for key in keys]))
