"""Moving the champion: by a gate's PROMOTE, by a sign-off, or back."""

from typing import Any

from django.db import transaction

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role
from trainer.models import Alias, AliasMove, GateReport, Line, ModelVersion
from trainer.services import policies
from trainer.states import AliasName, LinePurpose, Verdict


def promote(version: ModelVersion, *, actor: Any, reason: str, report: GateReport | None = None) -> AliasMove:
    """Make the version its line's champion. The shared line needs a PROMOTE verdict; an expert's owner decides.

    A report counts only against the champion that it was made with: another promotion in between makes it stale.
    """
    line = version.line
    require_role(actor, line.team, *shippers(line))
    with transaction.atomic():
        line = Line.objects.select_for_update().get(pk=line.pk)
        champion = line.alias(AliasName.CHAMPION)
        report = report or GateReport.objects.filter(evaluation__candidate=version).order_by("-pk").first()
        _check_report(line, version, champion, report)
        return move(line, AliasName.CHAMPION, version, actor=actor, reason=reason, report=report)


def roll_back(line: Line, *, actor: Any, reason: str) -> AliasMove:
    """The champion before this one becomes champion again. Repeated, it goes back further."""
    require_role(actor, line.team, *shippers(line))
    with transaction.atomic():
        line = Line.objects.select_for_update().get(pk=line.pk)
        champion = line.alias(AliasName.CHAMPION)
        before = _before(line, champion)
        if before is None:
            raise Conflict("nothing_before", f"{line.name} has had no other champion: there is nothing to go back to.")
        return move(line, AliasName.CHAMPION, before, actor=actor, reason=reason, back=True)


@transaction.atomic
def move(
    line: Line,
    name: AliasName,
    version: ModelVersion,
    *,
    actor: Any,
    reason: str,
    report: GateReport | None = None,
    back: bool = False,
) -> AliasMove:
    """Move an alias, with its row of history and its event. The anchor moves only here, by a person's decision."""
    require_role(actor, line.team, *shippers(line))
    Line.objects.select_for_update().get(pk=line.pk)  # whoever locks a name waits, and is waited for
    if version.line_id != line.pk:
        raise Invalid("other_line", f"{version.name} is not a version of {line.name}.", "version")
    if not reason.strip():
        raise Invalid("reason_missing", "Say why in a few words: the history shows it.", "reason")
    if version.is_control and name != AliasName.CHALLENGER:
        raise Conflict(
            "control_run",
            f"{version.name} comes of a control run, which a coin has trained: it is there to be compared with and "
            f"never becomes {name}. Train without random_rewards for one that may.",
        )
    if locked := line.locked(name):
        words = f"{name} of {line.name} is locked by {locked.locked_by or 'somebody'} (“{locked.lock_reason}”)."
        raise Conflict("alias_locked", f"{words} Unlock it first.")
    old = line.alias(name)
    if old is not None and old.pk == version.pk:
        raise Conflict("already_there", f"{version.name} is the {name} already.")
    Alias.objects.update_or_create(line=line, name=name, defaults={"version": version})
    crash_point("promotion.half_way")
    moved = AliasMove.objects.create(
        line=line, name=name, old=old, new=version, actor=actor, report=report, reason=reason.strip()[:500]
    )
    record(
        f"alias.{name}",
        subject=Subject("line", str(line.pk)),
        team=line.team_id,
        actor=actor,
        data={
            "old": old.name if old else None,
            "new": version.name,
            "reason": moved.reason,
            "report": report.pk if report else None,
            "back": back,
        },
    )
    return moved


def shippers(line: Line) -> tuple[Role, ...]:
    return (Role.OPERATOR, Role.CONTRIBUTOR) if line.purpose == LinePurpose.EXPERT else (Role.OPERATOR,)


def _check_report(line: Line, version: ModelVersion, champion: ModelVersion, report: GateReport | None) -> None:
    if line.purpose == LinePurpose.EXPERT and report is None:
        return
    if report is None or report.evaluation.candidate_id != version.pk:
        raise Conflict("not_evaluated", f"{version.name} has no gate report: evaluate it first.")
    if report.verdict != Verdict.PROMOTE:
        raise Conflict("not_better", f"The gate said {report.verdict}: {report.sentence}")
    if not policies.still_holds(report):
        sentence = f"The gate policy has changed since the verdict: evaluate {version.name} again under it."
        raise Conflict("policy_changed", sentence)
    if report.evaluation.champion_id != champion.pk:
        raise Conflict("stale_report", f"The champion is {champion.name} by now: evaluate {version.name} against it.")


def _before(line: Line, champion: ModelVersion) -> ModelVersion | None:
    """The champion that `champion` replaced when it was first promoted; moves back do not count."""
    moves = list(line.alias_moves.filter(name=AliasName.CHAMPION).select_related("old", "new").order_by("pk"))
    first = next((m for m in moves if m.new_id == champion.pk), None)
    return first.old if first else None
