"""One sentence above each curve: what it shows, read off the same numbers that are drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

CHARTS = (  # name, title, curves, those with a 95 % band
    ("reward", "Training reward", "reward", ""),
    ("validation", "Validation reward", "validation", "validation"),
    ("kl", "KL to the start, nats a sequence", "kl", "kl"),
    ("entropy", "Entropy, nats a token", "entropy", ""),
    ("zero_spread", "Groups without spread", "zero_spread", ""),
    ("tokens", "Length of answers, tokens", "tokens", ""),
)
_SINGLE = {
    "reward": "reward_mean",
    "entropy": "entropy",
    "zero_spread": "zero_spread_share",
    "truncated": "truncated_share",
    "tokens": "completion_tokens_mean",
    "grader_errors": "grader_error_share",
}
_ESTIMATES = {"validation": "validation_reward", "kl": "kl"}
Z_95 = 1.96


def columns(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Curves by name, one value a step; estimates bring the bounds of their 95 % interval."""
    found: dict[str, list[float | None]] = {
        name: [step.get(field) for step in steps] for name, field in _SINGLE.items()
    }
    for name, field in _ESTIMATES.items():
        estimates = [step.get(field) for step in steps]
        found[name] = [e and e["mean"] for e in estimates]
        found[f"{name}_low"] = [e and e["mean"] - Z_95 * e["standard_error"] for e in estimates]
        found[f"{name}_high"] = [e and e["mean"] + Z_95 * e["standard_error"] for e in estimates]
    return found


def sentences(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Finding by chart; a chart without numbers says what it waits for."""
    drawn = columns(steps)
    return {
        "reward": _reward(drawn["reward"]),
        "validation": _validation(drawn),
        "kl": _kl(drawn),
        "entropy": _entropy(drawn["entropy"]),
        "zero_spread": _zero_spread(drawn["zero_spread"]),
        "tokens": _length(drawn["tokens"], drawn["truncated"]),
    }


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Means of the first and last tenth: single steps are noise."""
    share = max(len(values) // 10, 1)
    return sum(values[:share]) / share, sum(values[-share:]) / share


def _reward(values: Sequence[float | None]) -> str:
    known = _known(values)
    if not known:
        return "No step has finished yet."
    first, last = _ends(known)
    return f"Training reward {_moved(first, last)} over {len(known)} steps. The gate never looks at it."


def _moved(first: float, last: float) -> str:
    verb = "rose" if last > first + 0.005 else "fell" if last < first - 0.005 else "stayed"
    return f"{verb} at {last:.2f}" if verb == "stayed" else f"{verb} from {first:.2f} to {last:.2f}"


def _validation(drawn: Mapping[str, Sequence[float | None]]) -> str:
    known = _known(drawn["validation"])
    if len(known) < 2:
        return "Validation reward has been measured once." if known else "Validation has not been measured yet."
    first_high, last_low = _known(drawn["validation_high"])[0], _known(drawn["validation_low"])[-1]
    first_low, last_high = _known(drawn["validation_low"])[0], _known(drawn["validation_high"])[-1]
    clear = last_low > first_high or last_high < first_low
    ending = "the intervals do not overlap" if clear else "the intervals overlap"
    return f"Validation reward {_moved(known[0], known[-1])}; {ending}."


def _kl(drawn: Mapping[str, Sequence[float | None]]) -> str:
    known = _known(drawn["kl"])
    if not known:
        return "KL to the start has not been measured yet."
    half = (_known(drawn["kl_high"])[-1] - known[-1]) if known else 0
    return f"The policy has moved {known[-1]:.2f} ± {half:.2f} nats a sequence away from its start."


def _entropy(values: Sequence[float | None]) -> str:
    known = _known(values)
    if not known:
        return "Entropy has not been measured yet."
    first, last = _ends(known)
    share = last / first if first else 1.0
    if share < 0.3:
        return f"Entropy is down to {100 * share:.0f} % of where it began: look at the samples for repetition."
    return f"Entropy {_moved(first, last)} nats a token: the model still explores."


def _zero_spread(values: Sequence[float | None]) -> str:
    known = _known(values)
    if not known:
        return "Not measured yet."
    _, last = _ends(known)
    judgement = "more than is good: most groups teach nothing" if last > 0.6 else "enough groups still teach something"
    return f"{100 * last:.0f} % of groups have equal rewards, {judgement}."


def _length(tokens: Sequence[float | None], truncated: Sequence[float | None]) -> str:
    known = _known(tokens)
    if not known:
        return "Not measured yet."
    _, last = _ends(known)
    cut = _known(truncated)
    return f"Answers are {last:.1f} tokens long; {100 * cut[-1] if cut else 0:.1f} % are cut off at the limit."
