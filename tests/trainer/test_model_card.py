"""The card of a version: values in, text out; what people wrote stays a value."""

import re
from typing import Any

import msgspec
import pytest
import yaml

from trainer import model_card
from trainer.contract import Artifact, Estimate
from trainer.model_card import Ancestor, Credit, Facts, Source, Training, Verdict
from trainer.runspec import RunSpec

HOSTILE = [
    'a" \n---\nlicense: mit',
    "x\n# Heading",
    "| a | b |\n|---|---|",
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![](https://evil.example/pixel.png)",
    "```\nrm -rf /\n```",
    "`code` **bold** ~~gone~~ $x$",
    "- item\n1. item\n> quote",
    "\u202egnp.exe \u2066isolated",
    "null: {a: &b [1, *b]} # comment",
    "{{ 7 * 7 }} {% raw %}",
    "nul\x00 bell\x07 delete\x7f nel\x85 line\u2028 paragraph\u2029 bom\ufeff",
    "&lt;b&gt; &#x3c;",
    "@everyone",
    "a" * 5000,
]


def facts(**more: Any) -> Facts:
    spec = msgspec.to_builtins(RunSpec(preset="expert", seed=4, beta=0.01))
    given: dict[str, Any] = {
        "name": "lab/v1",
        "line": "Lab",
        "digest": "d" * 64,
        "date": "2026-01-02",
        "parameters": 468_224,
        "bytes": 1_912_384,
        "shared": False,
        "lineage": [Ancestor("shared/v0", "a" * 64, "built here")],
        "made": "run 3, 100 steps",
        "built_here": True,
        "training": Training(3, spec, 100, 417_000, 36, 92.0, domains=["sums"]),
        "sources": [Source("Lab", "c" * 64, 36, "CC-BY-4.0", "lab/sums", 2, ["lab/v1"])],
        "credits": [Credit("lab/v1", "Lab", 36, 1.0)],
        "kl": Estimate(1.93, 0.06, 128),
        "files": [Artifact("model.safetensors", 12, "e" * 64)],
    }
    return Facts(**given | more)


def header(found: Facts) -> dict[str, Any]:
    _, text, _ = model_card.write(found).split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def body(found: Facts) -> str:
    return model_card.write(found).split("---\n", 2)[2]


def table_under(heading: str, text: str) -> list[str]:
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("|")]


def test_the_header_is_yaml_and_says_what_the_hub_asks_for():
    assert header(facts()) == {
        "license": "cc-by-4.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "shared/v0",
        "tags": ["reinforcement-learning", "verifiable-rewards", "grpo"],
        "datasets": ["lab/sums"],
    }


def test_a_base_of_the_hub_is_named_by_its_hub_id():
    assert header(facts(hub_base="owner/model"))["base_model"] == "owner/model"


@pytest.mark.parametrize("licences", [("CC-BY-4.0", "MIT"), ("",), ()])
def test_no_single_licence_is_claimed_where_the_data_has_none_or_several(licences: tuple[str, ...]):
    sources = [Source("Lab", "c" * 64, 36, licence) for licence in licences]

    assert header(facts(sources=sources))["license"] == "other"


def test_no_licence_is_claimed_for_the_weights_of_somebody_elses_base():
    assert header(facts(hub_base="owner/model", built_here=False))["license"] == "other"


def test_a_run_with_lora_is_tagged():
    spec = {**facts().training.spec, "lora_rank": 8}

    assert "lora" in header(facts(training=Training(3, spec, 1, 1, 1, 1.0)))["tags"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_value_of_the_header(name: str):
    source = Source(name, "c", 1, name, name, 1, [name])
    hostile = facts(name=name, line=name, lineage=[Ancestor(name, "a" * 64, "x")], sources=[source])

    found = header(hostile)

    assert set(found) - {"license_name", "license_link"} == set(header(facts()))
    assert found["datasets"] == [model_card.clean(name)]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_adds_no_line_and_no_markup(name: str):
    def with_name(text: str) -> Facts:
        return facts(
            name=text,
            line=text,
            lineage=[Ancestor(text, "a" * 64, "x")],
            training=Training(3, {"preset": text, "seed": 1}, 1, 1, 1, 1.0, grader=text, domains=[text]),
            sources=[Source(text, "c" * 64, 1, text, text, 1, [text])],
            credits=[Credit(text, text, 1, 1.0)],
            verdicts=[Verdict(text, text, text, "2026-01-02")],
            not_evaluated=text,
            environment={text: text},
            files=[Artifact(text, 1, "e" * 64)],
        )

    hostile, plain = body(with_name(name)), body(with_name("plain"))

    assert [line[:2] for line in hostile.splitlines()] == [line[:2] for line in plain.splitlines()]
    assert hostile.count("```") == plain.count("```")
    assert "<script" not in hostile
    assert not re.search(r"(?<!\\)\]\(", hostile)  # a link


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_reason_for_no_evaluation_begins_no_list_and_no_heading(name: str):
    assert f"\nNot evaluated: {model_card.said(name)}\n" in body(facts(not_evaluated=name))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_adds_no_cell(name: str):
    def cells(text: str) -> int:
        found = body(facts(credits=[Credit(text, text, 1, 1.0)], files=[Artifact(text, 1, "e" * 64)]))
        return found.replace("\\|", "").count("|")

    assert cells(name) == cells("plain")


def test_letters_of_every_script_are_kept():
    assert model_card.said("Größe 数学 العربية 👩‍🔬") == "Größe 数学 العربية 👩‍🔬"


def test_every_knob_of_the_run_is_listed():
    listed = {line.split(" | ")[0].strip("| `") for line in table_under("How it was trained", body(facts()))}

    assert set(RunSpec.__struct_fields__) <= listed


def test_each_part_of_the_method_has_a_reason():
    assert all(what and why.endswith(".") for what, why in model_card.method_of(facts().training.spec))


def test_the_method_says_whether_there_was_a_penalty():
    told = [what for what, _ in model_card.method_of({"beta": 0.01})]

    assert ("a KL penalty of weight 0.01" in told, "no KL penalty" in told) == (True, False)


def test_a_version_without_a_run_says_that_training_starts_there():
    assert "where training starts" in body(facts(training=None))


def test_the_distance_comes_with_its_standard_error_and_count():
    assert "1.930 ± 0.060 nats a sequence (mean and standard error), exact over the vocabulary, on 128" in body(facts())


def test_a_nameless_dataset_is_not_named_and_still_counted():
    (_, _, row, *_) = table_under("What it was trained on", body(facts(sources=[Source("Lab", "c" * 64, 1234, "MIT")])))

    assert row == f"| Lab | not named | `{'c' * 64}` | 1,234 | MIT |  |"


def test_a_gain_that_no_gate_has_measured_is_told_among_the_limits():
    assert "36 tasks trained it, and no gate has measured its gain" in body(facts())


def test_no_licence_is_claimed_where_a_version_of_another_team_is_in_the_weights():
    assert header(facts(lineage=[Ancestor("", "a" * 64, "x")]))["license"] == "other"


def test_no_licence_is_claimed_where_the_base_came_from_a_directory():
    assert header(facts(built_here=False))["license"] == "other"


def test_the_mixture_and_its_recipe_are_named():
    training = Training(3, {}, 1, 1, 1, 1.0, mixture="b" * 64, recipe="everything")

    assert f"the mixture `{'b' * 64}` of the recipe everything, in its order" in body(facts(training=training))


def test_a_knob_that_is_none_today_is_still_listed():
    assert "| warp | 9 |  |" in body(facts(training=Training(3, {"warp": 9}, 1, 1, 1, 1.0)))


def test_every_file_has_its_checksum():
    assert f"| model.safetensors | 12 | `{'e' * 64}` |" in body(facts())
