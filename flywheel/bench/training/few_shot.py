"""36 training prompts, with and without a validation file of 36 more: what is won on items nobody trained on."""

from statistics import fmean

from flywheel.bench.table import FAST, Measure, at_least, told
from flywheel.bench.training import arms, intervals, jobs, subject
from flywheel.bench.training.arms import SEEDS
from flywheel.bench.training.jobs import Scored

PROMPTS = 36  # six of each family
ANSWERS = 8
GAIN = 12.0  # percentage points, sampled
BOTH = {"without validation": 0, f"with {PROMPTS} to validate": PROMPTS}
ARMS = dict(list(BOTH.items())[: 1 if FAST else 2])


def few_shot() -> list[Measure]:
    models = arms.bases(SEEDS)
    asked = [_run(seed, models[seed], validation) for seed in SEEDS for validation in ARMS.values()]
    runs = dict(zip([(s, arm) for s in SEEDS for arm in ARMS], jobs.perform(asked, at_once=2), strict=True))
    scores = jobs.perform(
        [
            _scores(seed, {"base": models[seed], **{arm: str(runs[seed, arm] / "model") for arm in ARMS}})
            for seed in SEEDS
        ],
        at_once=2,
    )
    found = {seed: jobs.scores(directory) for seed, directory in zip(SEEDS, scores, strict=True)}
    _record(found)
    ends = {arm: fmean(jobs.result_of(runs[seed, arm]).step for seed in SEEDS) for arm in ARMS}
    return [
        *(measure for arm in ARMS for measure in _measures(arm, found)),
        *(told(f"few-shot {arm}: steps until the end", steps, "steps") for arm, steps in ends.items()),
    ]


def _run(seed: int, model: str, validation: int) -> jobs.Job:
    steps = {"steps": 3} if FAST else {}
    recipe = subject.recipe("few-shot", seed, rows=PROMPTS, validation=validation, **steps)
    rows = subject.items(seed, PROMPTS, subject.TRAINING)
    return jobs.engine_job(
        f"few-shot/{validation}-{seed}", subject.training(recipe, model, rows=rows, validation=validation)
    )


def _scores(seed: int, models: dict[str, str]) -> jobs.Job:
    return jobs.engine_job(f"scores/few-shot-{seed}", subject.scoring(models, answers=ANSWERS))


def _measures(arm: str, found: dict[int, dict[str, Scored]]) -> list[Measure]:
    gains = [100 * (scored[arm].pass_rate - scored["base"].pass_rate) for scored in found.values()]
    wider = [100 * (scored[arm].pass_any - scored["base"].pass_any) for scored in found.values()]
    gain, width = intervals.mean(gains), intervals.mean(wider)
    start = fmean(100 * scored["base"].pass_rate for scored in found.values())
    items = f"{subject.SCORED_ITEMS} unseen items × {ANSWERS}"
    return [
        at_least(f"few-shot {arm}: gain, sampled", gain.value, "pp", GAIN, f"from {start:.0f} %, {items}; {gain}"),
        at_least(f"few-shot {arm}: change of pass@{ANSWERS}", width.value, "pp", 0, str(width)),
    ]


def _record(found: dict[int, dict[str, Scored]]) -> None:
    jobs.record(
        "few-shot",
        [
            {"seed": seed, "arm": arm, "pass_rate": scored.pass_rate, f"pass@{ANSWERS}": scored.pass_any}
            for seed, by_arm in found.items()
            for arm, scored in by_arm.items()
        ],
    )
