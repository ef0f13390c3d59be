"""Gate policies of lines: what is in force, and every change as a version.

A verdict belongs to the policy that it was made under. A candidate that is being evaluated when the policy changes
becomes INVALID, and one whose PROMOTE still waits for a person has to be evaluated again.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone

from tasks.errors import Invalid
from tasks.graders import registry
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role
from trainer.evaluation.policy import GatePolicy, as_evaluated, named, policy_from
from trainer.models import Evaluation, GateReport, Line, PolicyVersion
from trainer.services import suites

# A fifth of alpha is kept, so that one button may double the answers of what cannot be told; it costs the first look
# about 3 points of power (77 instead of 80 %).
OF_A_NEW_LINE: Mapping[str, Any] = {"looks": [1.0, 2.0], "spending": "early"}
LONGEST_REASON = 300


def of(line: Line) -> GatePolicy:
    return policy_from(line.policy)


def change(line: Line, body: Mapping[str, Any], *, actor: Any, reason: str = "") -> PolicyVersion:
    """Replace the policy. The same content again changes nothing; the version in force is returned."""
    require_role(actor, line.team, Role.OPERATOR)
    policy = named(policy_from(body))
    _check_datasets(line, policy)
    for grader in policy.second_graders.values():
        registry.parse(grader)
    if len(reason) > LONGEST_REASON:
        raise Invalid("reason_too_long", f"Say why in at most {LONGEST_REASON} characters.", "reason")
    with transaction.atomic():
        now = Line.objects.select_for_update().get(pk=line.pk)
        last = now.policies.first() or _first(now)
        if last.digest == policy.digest():
            return last
        version = _version(line, policy, last.number + 1, actor=actor, reason=reason.strip())
        Line.objects.filter(pk=line.pk).update(policy=version.body, policy_changed_at=timezone.now())
        line.policy = version.body
        record(
            "line.policy_changed",
            subject=Subject("line", str(line.pk)),
            team=line.team_id,
            actor=actor,
            data={"digest": version.digest, "number": version.number, "reason": version.reason},
        )
    return version


def _check_datasets(line: Line, policy: GatePolicy) -> None:
    """A misspelt domain may come to be one; a misspelt dataset would make every verdict INVALID."""
    for name in {policy.target, *(guard.suite for guard in policy.guards), *policy.invariants}:
        if name.startswith(suites.OF_DATASET) and suites.dataset_of(line, name) is None:
            words = f"There is no dataset {name.removeprefix(suites.OF_DATASET)[:80]} here: write dataset:TEAM/SLUG."
            raise Invalid("unknown_dataset", words, "policy")


def _first(line: Line) -> PolicyVersion:
    """What a line has been under before anybody changed it, so that no verdict loses its policy."""
    return _version(line, of(line), 1, actor=None, reason="As it was before the first change.")


def _version(line: Line, policy: GatePolicy, number: int, *, actor: Any, reason: str) -> PolicyVersion:
    return PolicyVersion.objects.create(
        line=line,
        number=number,
        body=msgspec.to_builtins(policy),
        digest=policy.digest(),
        reason=reason,
        set_by=actor,
    )


def still_holds(report: GateReport) -> bool:
    """Whether the policy of the verdict is the one in force; both are hashed by the same program."""
    return today(report.evaluation).digest() == evaluated_under(report.evaluation)


def evaluated_under(evaluation: Evaluation) -> str:
    """Digest of the policy that was in force when it was asked for, by the program of today: a release that adds a knob
    makes no other policy of it."""
    return policy_from(evaluation.policy).digest()


def today(evaluation: Evaluation) -> GatePolicy:
    """The line's policy as it is now, with the guards that the evaluation was given where it names none."""
    return as_evaluated(of(evaluation.line), policy_from(evaluation.policy))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(knob, before, after) of the knobs that two bodies set differently."""
    return [(name, old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
