"""What a run measured, in numbers and in sentences: a column and a title for every metric, a sentence above each curve.

Nothing is left out: where a metric has no number its sentence says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer import alarms

Z_95 = 1.96
DRAWN_NAMES = 6  # curves in a chart by domain or grader; the table has all of them


@dataclass(frozen=True, slots=True)
class Metric:
    column: str  # of the JSON that the curves are drawn from
    field: str  # of trainer.contract.StepMetrics
    title: str
    unit: str = ""
    when: str = "step"  # step | measurement | validation
    estimate: bool = False  # a mean with its standard error


METRICS = (
    Metric("reward", "reward_mean", "Training reward"),
    Metric("validation", "validation_reward", "Validation reward", when="validation", estimate=True),
    Metric("change", "validation_change", "Validation against the start", when="validation", estimate=True),
    Metric("kl", "kl", "KL to the start", "nats a sequence", when="measurement", estimate=True),
    Metric("entropy", "entropy", "Entropy of training answers", "nats a token"),
    Metric("probe_entropy", "probe_entropy", "Entropy on the probe set", "nats a token", when="measurement"),
    Metric("sampler_gap", "sampler_gap", "Sampler against trainer", "nats a token"),
    Metric("groups_drawn", "groups_drawn", "Groups drawn", "groups"),
    Metric("groups_flat", "groups_without_spread", "Groups without spread", "groups"),
    Metric("groups_learned", "groups_learned", "Groups learned from", "groups"),
    Metric("zero_spread", "zero_spread_share", "Groups without spread at first draw", "share"),
    Metric("passed_over", "prompts_passed_over", "Prompts passed over", "prompts"),
    Metric("resting", "prompts_resting", "Prompts resting", "prompts"),
    Metric("tokens", "completion_tokens_mean", "Length of answers", "tokens"),
    Metric("truncated", "truncated_share", "Answers cut off", "share"),
    Metric("clipped", "clip_share", "Ratios clipped", "share"),
    Metric("grader_errors", "grader_error_share", "Grader errors", "share"),
    Metric("loss", "loss", "Loss"),
    Metric("gradient_norm", "gradient_norm", "Gradient norm"),
    Metric("learning_rate", "learning_rate", "Learning rate"),
    Metric("tokens_seen", "tokens_seen", "Tokens drawn so far", "tokens"),
    Metric("speed", "tokens_per_second", "Speed", "tokens a second"),
    Metric("seconds", "seconds_step", "Seconds a step", "s"),
    Metric("sampling", "seconds_sampling", "of these, sampling", "s"),
    Metric("grading", "seconds_grading", "of these, grading", "s"),
    Metric("measuring", "seconds_measuring", "Seconds a measurement", "s", when="measurement"),
)
NAMED = (  # metrics that have a value for each of some names: column, field (within a field: a dot), title, when
    ("reward_domain", "reward_by_domain", "Training reward by domain", "step"),
    ("reward_grader", "reward_by_grader", "Training reward by grader", "step"),
    ("validation_domain", "validation_by_domain", "Validation by domain", "validation"),
    ("reward_part", "grading.parts", "Training score by part of the grader", "step"),
    ("validation_part", "validation_grading.parts", "Validation score by part of the grader", "validation"),
)
NO_METRIC = frozenset({"step", "total_steps", "at", "attempt"})  # fields of StepMetrics that say which line it is

NOT_RECORDED = "The engine of this run recorded none."
_NO_PARTS = "The graders of this run have no parts: those of type multi and json_match have."
NONE = {"reward_part": _NO_PARTS, "validation_part": _NO_PARTS}  # why else there may be no number

CHARTS = (  # name, title, curves, those with a 95 % band; curves "": one for each name of NAMED
    ("reward", "Training reward", "reward", ""),
    ("validation", "Validation reward", "validation", "validation"),
    ("change", "Validation against the start", "change", "change"),
    ("kl", "KL to the start, nats a sequence", "kl", "kl"),
    ("entropy", "Entropy, nats a token", "entropy,probe_entropy", ""),
    ("reward_domain", "Training reward by domain", "", ""),
    ("validation_domain", "Validation by domain", "", ""),
    ("reward_grader", "Training reward by grader", "", ""),
    ("reward_part", "Training score by part of the grader", "", ""),
    ("validation_part", "Validation score by part of the grader", "", ""),
    ("groups", "Groups a step", "groups_drawn,groups_learned,groups_flat", ""),
    ("zero_spread", "Groups without spread", "zero_spread", ""),
    ("resting", "Prompts that sit out", "resting,passed_over", ""),
    ("tokens", "Length of answers, tokens", "tokens", ""),
    ("shares", "Cut off, clipped, not gradable", "truncated,clipped,grader_errors", ""),
    ("gradient_norm", "Gradient norm", "gradient_norm", ""),
    ("learning_rate", "Learning rate", "learning_rate", ""),
    ("loss", "Loss", "loss", ""),
    ("sampler_gap", "Sampler against trainer, nats a token", "sampler_gap", ""),
    ("speed", "Tokens a second", "speed", ""),
    ("seconds", "Seconds a step", "seconds,sampling,grading,measuring", ""),
)

GROUPS = (  # title, the chart that it begins with, whether its curves are seen at once
    ("Learning", "reward", True),
    ("By domain and grader", "reward_domain", True),
    ("What is drawn and learned from", "groups", False),
    ("Optimiser", "gradient_norm", False),
    ("Speed", "speed", False),
)

Step = Mapping[str, Any]
Columns = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides why a metric has no number yet, or never will have one."""

    ended: bool = False
    measure_every: int = 0  # steps
    validation_prompts: int = 0  # asked for by the settings


def columns(steps: Sequence[Step]) -> dict[str, list[float | None]]:
    """Curves by name, one value a step; estimates bring the bounds of their 95 % interval."""
    found: dict[str, list[float | None]] = {}
    for metric in METRICS:
        values = [step.get(metric.field) for step in steps]
        if not metric.estimate:
            found[metric.column] = values
            continue
        found[metric.column] = [e and e["mean"] for e in values]
        found[f"{metric.column}_low"] = [e and e["mean"] - Z_95 * e["standard_error"] for e in values]
        found[f"{metric.column}_high"] = [e and e["mean"] + Z_95 * e["standard_error"] for e in values]
    for column, field, _, _ in NAMED:
        for at, name in enumerate(names(steps, field)):
            found[f"{column}_{at}"] = [_by(step, field).get(name) for step in steps]
    return found


def _by(step: Step, field: str) -> Mapping[str, float]:
    """A metric's values by name."""
    value: Any = step
    for part in field.split("."):
        value = value.get(part) or {}
    return dict(value)


def names(steps: Sequence[Step], field: str) -> list[str]:
    """Of domains, graders or their parts, those that have most numbers first."""
    counts: dict[str, int] = {}
    for step in steps:
        for name in _by(step, field):
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))


def labels(steps: Sequence[Step]) -> dict[str, str]:
    """What a curve is called in its chart."""
    found = {metric.column: metric.title[0].lower() + metric.title[1:] for metric in METRICS} | {
        "kl": "KL to the start"
    }
    for column, field, _, _ in NAMED:
        found |= {f"{column}_{at}": name or "no domain" for at, name in enumerate(names(steps, field))}
    return found


def groups(steps: Sequence[Step], situation: Situation) -> list[dict[str, Any]]:
    """The charts under a title each; what is rarely looked at is folded, with its first finding to be read."""
    found: list[dict[str, Any]] = []
    begins = {first: (title, unfolded) for title, first, unfolded in GROUPS}
    for chart in charts(steps, situation):
        if chart["name"] in begins:
            title, unfolded = begins[chart["name"]]
            found.append({"title": title, "open": unfolded, "finding": chart["finding"], "charts": []})
        found[-1]["charts"].append(chart)
    return found


def charts(steps: Sequence[Step], situation: Situation) -> list[dict[str, str]]:
    told, drawn = sentences(steps, situation), columns(steps)
    fields = {column: field for column, field, _, _ in NAMED}
    found = []
    for name, title, curves, bands in CHARTS:
        if name in fields:
            count = min(len(names(steps, fields[name])), DRAWN_NAMES)
            curves = ",".join(f"{name}_{at}" for at in range(count))
        if situation.ended and not any(_known(drawn[curve]) for curve in curves.split(",") if curve):
            curves = ""  # its sentence says why; nothing will come
        found.append({"name": name, "title": title, "curves": curves, "bands": bands, "finding": told[name]})
    return found


def rows(steps: Sequence[Step], situation: Situation) -> list[dict[str, Any]]:
    """Every metric with its first and its newest value, or with the reason why it has none."""
    drawn, found = columns(steps), []
    for metric in METRICS:
        known = _known(drawn[metric.column])
        found.append(_row(metric.title, metric.unit, known, missing(metric.when, drawn, situation)))
    for column, field, title, when in NAMED:
        named = names(steps, field)
        if not named:
            found.append(_row(title, "", [], missing(when, drawn, situation, NONE.get(column, NOT_RECORDED))))
        for at, name in enumerate(named):
            found.append(_row(f"{title}: {name or 'no domain'}", "", _known(drawn[f"{column}_{at}"]), ""))
    return found


def _row(title: str, unit: str, known: Sequence[float], why: str) -> dict[str, Any]:
    first, last = (known[0], known[-1]) if known else (None, None)
    return {"title": title, "unit": unit, "first": first, "last": last, "n": len(known), "why": "" if known else why}


def missing(when: str, drawn: Columns, situation: Situation, otherwise: str = NOT_RECORDED) -> str:
    """Why there is no number of a metric. `otherwise`: where it could be there."""
    begun = any(_known(drawn[name]) for name in ("loss", "reward", "seconds"))
    if not begun and (when == "step" or not drawn["kl"]):
        return "The run ended before its first step." if situation.ended else "No step has finished yet."
    if when == "validation" and not _known(drawn["validation"]):
        if not situation.validation_prompts:
            return "Not measured: no rows validate this run, so that the last healthy weights are kept."
        if _known(drawn["kl"]):
            return "Not measured: the data has no validation rows, so that the last healthy weights are kept."
    if when != "step" and not situation.ended and not _known(drawn["kl"]):
        return f"Not measured yet: it comes every {situation.measure_every} steps."
    if when != "step" and situation.ended and not _known(drawn["kl"]):
        return "Not measured: the run ended before its first measurement."
    return otherwise


def sentences(steps: Sequence[Step], situation: Situation = Situation()) -> dict[str, str]:
    """Finding by chart; a chart without numbers says what it waits for, or why it stays empty."""
    drawn = columns(steps)
    when = {metric.column: metric.when for metric in METRICS} | {name: late for name, _, _, late in NAMED}
    told = {name: _finding(name, steps, drawn) for name, *_ in CHARTS}
    first = {name: curves.split(",")[0] or name for name, _, curves, _ in CHARTS}
    return {
        name: said or missing(when[first[name]], drawn, situation, NONE.get(name, NOT_RECORDED))
        for name, said in told.items()
    }


def _finding(name: str, steps: Sequence[Step], drawn: Columns) -> str:
    """Empty where there is nothing to say it of."""
    for column, field, _, _ in NAMED:
        if name == column:
            return _by_name(steps, field)
    said = {
        "reward": _reward,
        "validation": _validation,
        "change": _change,
        "kl": _kl,
        "entropy": _entropy,
        "groups": _groups,
        "zero_spread": _zero_spread,
        "resting": _resting,
        "tokens": _length,
        "shares": _shares,
        "gradient_norm": _gradient_norm,
        "learning_rate": _learning_rate,
        "loss": _loss,
        "sampler_gap": _sampler_gap,
        "speed": _speed,
        "seconds": _seconds,
    }
    return said[name](drawn)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Means of the first and last tenth: single steps are noise."""
    share = max(len(values) // 10, 1)
    return sum(values[:share]) / share, sum(values[-share:]) / share


def _reward(drawn: Columns) -> str:
    known = _known(drawn["reward"])
    if not known:
        return ""
    first, last = _ends(known)
    return f"Training reward {_moved(first, last)} over {len(known)} steps. The gate never looks at it."


def _moved(first: float, last: float) -> str:
    verb = "rose" if last > first + 0.005 else "fell" if last < first - 0.005 else "stayed"
    return f"{verb} at {last:.2f}" if verb == "stayed" else f"{verb} from {first:.2f} to {last:.2f}"


def _validation(drawn: Columns) -> str:
    known = _known(drawn["validation"])
    if len(known) < 2:
        return "Validation reward has been measured once." if known else ""
    first_high, last_low = _known(drawn["validation_high"])[0], _known(drawn["validation_low"])[-1]
    first_low, last_high = _known(drawn["validation_low"])[0], _known(drawn["validation_high"])[-1]
    clear = last_low > first_high or last_high < first_low
    ending = "the intervals do not overlap" if clear else "the intervals overlap"
    return f"Validation reward {_moved(known[0], known[-1])}; {ending}."


def _change(drawn: Columns) -> str:
    known = _known(drawn["change"])
    if not known:
        return ""
    low, high = _known(drawn["change_low"])[-1], _known(drawn["change_high"])[-1]
    clear = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
    return f"Prompt by prompt {known[-1]:+.3f} ({low:+.3f} to {high:+.3f}): {clear} the start.".replace("-", "−")


def _kl(drawn: Columns) -> str:
    known = _known(drawn["kl"])
    if not known:
        return ""
    half = _known(drawn["kl_high"])[-1] - known[-1]
    return f"The policy has moved {known[-1]:.2f} ± {half:.2f} nats a sequence away from its start."


def _entropy(drawn: Columns) -> str:
    known = _known(drawn["entropy"])
    if not known:
        return ""
    first, last = _ends(known)
    share = last / first if first else 1.0
    if share < alarms.ENTROPY_LOW:
        return f"Entropy is down to {100 * share:.0f} % of where it began: look at the samples for repetition."
    return f"Entropy {_moved(first, last)} nats a token: the model still explores."


def _groups(drawn: Columns) -> str:
    drawn_, learned, flat = (_known(drawn[name]) for name in ("groups_drawn", "groups_learned", "groups_flat"))
    if not (drawn_ and learned and flat):
        return ""
    last, kept, dull = (_ends(values)[1] for values in (drawn_, learned, flat))
    return f"Of {last:.0f} groups drawn a step {kept:.0f} are learned from; {dull:.0f} show no spread."


def _zero_spread(drawn: Columns) -> str:
    known = _known(drawn["zero_spread"])
    if not known:
        return ""
    _, last = _ends(known)
    much = last > alarms.ZERO_SPREAD
    judgement = "more than is good: most groups teach nothing" if much else "enough groups still teach something"
    return f"{100 * last:.0f} % of groups have equal rewards at first draw, {judgement}."


def _resting(drawn: Columns) -> str:
    resting, passed = _known(drawn["resting"]), _known(drawn["passed_over"])
    if not resting:
        return ""
    rest = f"{resting[-1]:.0f} prompts rest because nearly all of their answers were right"
    return f"{rest}; {passed[-1]:.0f} were passed over at the last step." if passed else f"{rest}."


def _length(drawn: Columns) -> str:
    known = _known(drawn["tokens"])
    if not known:
        return ""
    _, last = _ends(known)
    cut = _known(drawn["truncated"])
    return f"Answers are {last:.1f} tokens long; {100 * cut[-1] if cut else 0:.1f} % are cut off at the limit."


def _shares(drawn: Columns) -> str:
    parts = (("truncated", "cut off"), ("clipped", "of ratios clipped"), ("grader_errors", "not gradable"))
    told = [f"{100 * known[-1]:.1f} % {words}" for name, words in parts if (known := _known(drawn[name]))]
    return f"At the last step {', '.join(told)}." if told else ""


def _gradient_norm(drawn: Columns) -> str:
    known = _known(drawn["gradient_norm"])
    if not known:
        return ""
    first, last = _ends(known)
    return f"Gradient norm {_moved(first, last)}; its largest was {max(known):.2f}."


def _learning_rate(drawn: Columns) -> str:
    known = _known(drawn["learning_rate"])
    if not known:
        return ""
    lower = known[-1] < 0.75 * max(known)
    return f"Down from {max(known):.2g} to {known[-1]:.2g}: the run went back." if lower else f"{known[-1]:.2g} now."


def _loss(drawn: Columns) -> str:
    known = _known(drawn["loss"])
    return f"{known[-1]:.3g} at the last step; its size says little in this recipe.".replace("-", "−") if known else ""


def _sampler_gap(drawn: Columns) -> str:
    known = _known(drawn["sampler_gap"])
    if not known:
        return ""
    apart = "an alarm" if known[-1] > alarms.SAMPLER_GAP else "as good as one"
    return f"What draws and what learns are {known[-1]:.2g} nats a token apart: {apart}."


def _speed(drawn: Columns) -> str:
    known = _known(drawn["speed"])
    return f"About {_ends(known)[1]:,.0f} tokens a second, drawn and learned." if known else ""


def _seconds(drawn: Columns) -> str:
    known, sampling = _known(drawn["seconds"]), _known(drawn["sampling"])
    if not known:
        return ""
    share = f", {100 * _ends(sampling)[1] / _ends(known)[1]:.0f} % of it sampling" if sampling and known[-1] else ""
    return f"A step takes {_ends(known)[1]:.2g} s{share}."


def _by_name(steps: Sequence[Step], field: str) -> str:
    last: dict[str, float] = {}
    for step in steps:
        last |= _by(step, field)
    if not last:
        return ""
    best, worst = (choose(last, key=lambda name: last[name]) for choose in (max, min))
    if len(last) == 1:
        return f"Only {best or 'no domain'}: {last[best]:.2f}."
    if last[best] == last[worst]:
        return f"All {len(last)} are at {last[best]:.2f}."
    more = f" Of {len(last)} the first {DRAWN_NAMES} are drawn." if len(last) > DRAWN_NAMES else ""
    high, low = (f"{name or 'no domain'}, {last[name]:.2f}" for name in (best, worst))
    return f"Highest now: {high}; lowest: {low}.{more}"
