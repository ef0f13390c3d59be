"""python: a function of your own, `grade(sample, item)`, run in a sandbox. OpenAI's grader of the same name."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import CheckMany, ModelFault, scored, ungradable, wrong
from tasks.sandbox import grading, pool, programs
from tasks.sandbox.protocol import Flavour, Limits, Unavailable
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {
        "type": "python",
        "source": (
            "def grade(sample, item):\n"
            "    said = sample['output_text'].split()\n"
            "    wanted = item['reference'].split()\n"
            "    return sum(word in said for word in wanted) / len(wanted)\n"
        ),
    },
    "item": {"reference": "red green blue"},
    "completion": "They are red , green and blue .",
}

MAX_SOURCE_BYTES = 256_000
MAX_SECONDS = 120.0
_SCIENCE = re.compile(r"\b(?:numpy|scipy|pandas|sklearn|sympy|nltk|rouge_score)\b")
_TRIAL = "a reply to try the grader with"
TRIAL_SECONDS = 5.0  # somebody waits for the answer


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="python", tag_field="type"):
    source: str
    image_tag: str = ""  # taken from OpenAI's configurations; there is one image here
    seconds: float = MAX_SECONDS  # for one grade
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if len(self.source.encode(errors="surrogatepass")) >= MAX_SOURCE_BYTES:
            raise ValueError(f"`source` must be smaller than {MAX_SOURCE_BYTES:,} bytes")
        if not self.source.strip():
            raise ValueError("`source` is empty: define `grade(sample, item)`")
        if not 0 < self.seconds <= MAX_SECONDS:
            raise ValueError(f"`seconds` must lie above 0 and be at most {MAX_SECONDS:g}")


def compile_many(config: Config) -> CheckMany:
    """Nothing is compiled in this process: the source is text until it is in the sandbox."""

    def check_many(answers: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Grade]:
        calls = [{"sample": _sample(completion), "item": dict(item)} for completion, item in answers]
        try:
            results = _results(config, calls)
            blameless = any(_died(result) for result in results) and not programs.sound()
        except Unavailable as refusal:
            return [ungradable(refusal.sentence, "sandbox_unavailable")] * len(answers)
        return [_grade(config, call["sample"], result, blameless) for call, result in zip(calls, results, strict=True)]

    return check_many


def _sample(completion: str) -> dict[str, Any]:
    """What OpenAI's graders are given. output_json is None where the text is not JSON: that never fails a grade."""
    try:
        parsed = templates.output_json(completion)
    except ModelFault:
        parsed = None
    message = {"role": "assistant", "content": completion}
    return {
        "output_text": completion,
        "output_json": parsed,
        "output_tools": [],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


def _results(config: Config, calls: Sequence[Mapping[str, Any]]) -> list[grading.Result]:
    flavour = Flavour.SCIENCE if _SCIENCE.search(config.source) else Flavour.BARE
    found = grading.grade_batch(
        config.source, calls, seconds_per_call=config.seconds, pool=pool.shared(flavour), limits=Limits()
    )
    return list(found)


def _died(result: grading.Result) -> bool:
    return isinstance(result, grading.Failed) and result.kind == "died"


def _grade(config: Config, sample: Mapping[str, Any], result: grading.Result, blameless: bool) -> Grade:
    if isinstance(result, grading.Returned):
        reason = f"The grader returned {result.score:.4g}."
        grade = scored(result.score, config.pass_threshold, sample["output_text"], reason)
    elif result.kind == "raised" and _lacks_json(config, sample):
        reason = f"The sample is not JSON, which the grader reads. {_reason(result)}"
        grade = wrong(sample["output_text"], reason, "sample_parse_error", "python_grader_runtime_error")
    elif result.kind == "died" and blameless:
        grade = ungradable(f"The sandbox does not work at the moment: {result.detail}", "python_grader_server_error")
    else:
        flags = ("order_dependent",) if result.kind == "order_dependent" else ()
        grade = ungradable(_reason(result), "python_grader_runtime_error", *flags)
    return msgspec.structs.replace(grade, seconds=result.seconds)


def _lacks_json(config: Config, sample: Mapping[str, Any]) -> bool:
    """The sample's own fault, as where a template asks for output_json: graders of OpenAI's read its fields unasked,
    and an answer that ran out of room would else stop a run that its author cannot repair."""
    return sample["output_json"] is None and "output_json" in config.source


_SAID: Mapping[str, str] = {
    "source": "The grader's source does not work",
    "raised": "The grader raised an exception",
    "bad_value": "The grader's value is no score",
    "timeout": "The grader did not answer in time",
    "memory": "The grader ran out of memory",
    "order_dependent": "The grader is no function of sample and item",
    "too_deep": "The item cannot be given to the grader",
}


def _reason(failed: grading.Failed) -> str:
    what = _SAID.get(failed.kind, "The grader's process came to an end")
    return f"{what}: {failed.detail.rstrip('.')}."


def unavailable(config: Config) -> str | None:
    sentence: str | None = pool.available()
    return sentence


def trial_problem(config: Config) -> str | None:
    """That the source compiles, runs, defines `grade` and lives. What it says of an invented call is not judged."""
    brief = msgspec.structs.replace(config, seconds=min(config.seconds, TRIAL_SECONDS))
    try:
        (result,) = _results(brief, [{"sample": _sample(_TRIAL), "item": {}}])
    except Unavailable as refusal:
        return refusal.sentence
    if isinstance(result, grading.Failed) and result.kind == "timeout" and config.seconds > TRIAL_SECONDS:
        return None  # it may take longer than somebody waits here: its proof shows
    if isinstance(result, grading.Failed) and result.kind not in ("raised", "bad_value"):
        return f"{_reason(result)} Correct `source`."
    return None


def template_sources(config: Config) -> Sequence[str]:
    """Source is no template: braces in it are Python's."""
    return ()


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """Nobody can tell what a function wants to read: rows bring their own."""
    return None
