"""manage.py gate: a team's own scores and policy in, a verdict and an exit code out; no database."""

import json
import random
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

from trainer.evaluation import standalone

POLICY = {"target": "style", "guards": [{"suite": "arithmetic", "margin": 0.1}]}
Gate = Callable[..., tuple[int, str]]


def table(*, style: float, arithmetic: float, errors: float = 0.0, items: int = 400) -> str:
    """Answers of a champion that is right half of the time, and of a candidate that gains so much on either suite."""
    rng = random.Random(5)
    rows = ["suite,item,cluster,side,sample,score,error"]
    for suite, gain in (("style", style), ("arithmetic", arithmetic)):
        for item in range(items):
            for side, chance in (("champion", 0.5), ("candidate", 0.5 + gain)):
                for sample in range(4):
                    wrong = side == "candidate" and rng.random() < errors
                    rows.append(f"{suite},{item},,{side},{sample},{int(rng.random() < chance)},{int(wrong)}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    def run(text: str, policy: object = POLICY, *options: str) -> tuple[int, str]:
        (tmp_path / "scores.csv").write_text(text)
        (tmp_path / "policy.yaml").write_text(policy if isinstance(policy, str) else yaml.safe_dump(policy))
        said = StringIO()
        files = ["--scores", str(tmp_path / "scores.csv"), "--policy", str(tmp_path / "policy.yaml")]
        with pytest.raises(SystemExit) as ended:
            call_command("gate", *files, *options, stdout=said)
        return int(ended.value.code or 0), said.getvalue()

    return run


@pytest.mark.parametrize(
    ("gains", "code", "verdict"),
    [
        ({"style": 0.2, "arithmetic": 0.0}, 0, "PROMOTE"),
        ({"style": 0.2, "arithmetic": -0.3}, 1, "HOLD"),
        ({"style": -0.2, "arithmetic": 0.0}, 1, "HOLD"),
        ({"style": 0.01, "arithmetic": 0.0}, 2, "INCONCLUSIVE"),
        ({"style": 0.2, "arithmetic": 0.0, "errors": 0.03}, 3, "INVALID"),
    ],
)
def test_the_exit_code_says_the_verdict(gate: Gate, gains: dict[str, float], code: int, verdict: str):
    ended, said = gate(table(**gains))

    assert (ended, said.splitlines()[0]) == (code, f"# {verdict}")


def test_a_suite_that_the_policy_names_and_the_table_lacks_makes_it_invalid(gate: Gate):
    ended, said = gate(table(style=0.2, arithmetic=0.0), {**POLICY, "guards": [{"suite": "safety"}]})

    assert (ended, "Suite “safety” has no answers." in said) == (3, True)


def test_an_anchor_in_the_table_is_compared_with_too(gate: Gate):
    text = table(style=0.2, arithmetic=0.0)
    better = [line.replace("champion", "anchor") for line in text.splitlines() if "champion" in line]
    ones = [f"{line.rsplit(',', 2)[0]},1,0" if line.startswith("arithmetic") else line for line in better]

    ended, said = gate(text + "\n".join(ones) + "\n")

    assert (ended, "| arithmetic | against the anchor |" in said) == (1, True)


def test_as_json_it_holds_every_number_of_the_decision(gate: Gate):
    _, said = gate(table(style=0.2, arithmetic=0.0), POLICY, "--json")

    decision = json.loads(said)
    assert decision["verdict"] == "PROMOTE"
    assert [(row["suite"], row["role"], row["n"]) for row in decision["rows"]] == [
        ("arithmetic", "guard", 400),
        ("style", "target", 400),
    ]


def test_fewer_answers_than_the_policy_asks_for_are_told(gate: Gate):
    ended, said = gate(table(style=0.2, arithmetic=0.0), {**POLICY, "answers_per_item": 8})

    assert (ended, "4 answers per item; the policy asks for 8" in said) == (3, True)


def refused(*arguments: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as refusal:
        call_command("gate", *arguments)
    return refusal.value.returncode, str(refusal.value)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("guards: [{suite: a, margin: 3}]", "A margin lies between 0 and 1"),
        ("targets: style", "unknown field `targets`"),
        ("- style", "must hold settings by name"),
        ("target: [", "is no YAML"),
        ('second_graders: {"*": {type: number}}', "holds no answers that second_graders could grade"),
    ],
)
def test_a_policy_that_cannot_be_right_is_told_in_a_sentence(tmp_path: Path, policy: str, sentence: str):
    (tmp_path / "scores.csv").write_text(table(style=0.2, arithmetic=0.0, items=1))
    (tmp_path / "policy.yaml").write_text(policy)

    code, said = refused("--scores", str(tmp_path / "scores.csv"), "--policy", str(tmp_path / "policy.yaml"))

    assert (code, sentence in said) == (3, True), said


def test_where_no_guard_is_named_every_suite_is_one(tmp_path: Path):
    (tmp_path / "scores.csv").write_text(table(style=0.2, arithmetic=-0.2, items=800))
    (tmp_path / "policy.yaml").write_text("target: style\nanswers_per_item: 1\ncost_limit: 0")

    decision = standalone.judge(tmp_path / "scores.csv", standalone.read_policy(tmp_path / "policy.yaml"))

    assert decision.verdict == "HOLD"
    assert {row.suite for row in decision.rows if row.role == "guard"} == {"style", "arithmetic"}


def test_files_that_are_missing_are_told(tmp_path: Path):
    (tmp_path / "policy.yaml").write_text("target: overall")

    assert refused("--scores", "none.csv", "--policy", str(tmp_path / "policy.yaml"))[1] == "There is no file none.csv."
    assert refused("--scores", "none.csv", "--policy", "none.yaml")[1] == "There is no file none.yaml."
    assert "--example prints a policy" in refused("--scores", "none.csv")[1]


def test_the_example_is_a_policy(tmp_path: Path):
    said = StringIO()
    call_command("gate", "--example", stdout=said)
    (tmp_path / "policy.yaml").write_text(said.getvalue())

    policy = standalone.read_policy(tmp_path / "policy.yaml")

    assert [guard.allowed for guard in policy.guards] == [0.01, 0.03]


def test_a_second_look_has_what_the_first_left_of_alpha(gate: Gate):
    twice = {**POLICY, "looks": [1, 2], "spending": "early"}
    same = table(style=0.0, arithmetic=0.0)

    levels = [json.loads(gate(same, twice, "--look", look, "--json")[1])["look"] for look in ("1", "2")]

    assert levels[0]["spent"] < levels[1]["spent"] == pytest.approx(0.025)


def test_a_look_that_the_policy_does_not_declare_is_one_sentence(tmp_path: Path):
    (tmp_path / "scores.csv").write_text(table(style=0.0, arithmetic=0.0, items=30))
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))

    with pytest.raises(CommandError, match="looks 1 times"):
        call_command("gate", scores=tmp_path / "scores.csv", policy=tmp_path / "policy.yaml", look=2)
