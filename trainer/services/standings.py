"""The suites of a line as they stand: what they hold, how often they were looked at, where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.evaluation.exposure import is_spent
from trainer.models import ImportedSuite, Line, SuiteRotation, SuiteVersion
from trainer.services import contamination, imported_suites, policies, rotation, suites
from trainer.states import AliasName


@dataclass(frozen=True, slots=True)
class Standing:
    """One suite name of a line."""

    name: str
    sealed: int  # prompts that the next version may be made of
    version: SuiteVersion | None  # the newest; None: never frozen
    used: int  # candidates that looked at it since its last rotation
    budget: int  # 0: no limit
    imported: ImportedSuite | None  # None: frozen from sealed tasks of its domain
    last: SuiteRotation | None
    notes: Sequence[str]

    @property
    def looks(self) -> str:
        return f"{self.used} of {self.budget}" if self.budget else f"{self.used}, no limit"

    @property
    def is_spent(self) -> bool:
        """Whether the next candidate's look rotates it."""
        return is_spent(self.used, self.budget)

    @property
    def source(self) -> str:
        if self.imported is None:
            return f"sealed tasks of the domain {self.name}"
        return f"{self.imported.source}, revision {self.imported.revision}, {self.imported.licence}"


def of(line: Line) -> list[Standing]:
    """Every suite that the line has, had, or is about to have; by name."""
    available = suites.available(line)
    newest = SuiteVersion.objects.filter(line=line).order_by("name", "-number").distinct("name")
    versions = {suite.name: suite for suite in newest}
    imported = {suite.name: suite for suite in line.imported_suites.select_related("line__team", "dataset__team")}
    last: dict[str, SuiteRotation] = {}
    for done in line.rotations.select_related("actor"):
        last.setdefault(done.name, done)
    budget = policies.of(line).look_budget
    known = _left_out(line) if imported else {}
    return [
        Standing(
            name=name,
            sealed=available.get(name, 0),
            version=versions.get(name),
            used=rotation.used(line, name),
            budget=budget,
            imported=imported.get(name),
            last=last.get(name),
            notes=_notes(imported.get(name), known.get(name, ())),
        )
        for name in sorted({*available, *versions, *imported})
    ]


def _left_out(line: Line) -> dict[str, Sequence[str]]:
    """What today's champion and anchor were trained on; a candidate is looked at when it is evaluated."""
    versions = {version.pk: version for name in (AliasName.CHAMPION, AliasName.ANCHOR) if (version := line.alias(name))}
    return {name: found.sentences for name, found in contamination.imported(line, versions.values()).items()}


def _notes(imported: ImportedSuite | None, left_out: Sequence[str]) -> list[str]:
    if imported is None:
        return []
    waits = imported_suites.waits_for(imported)
    return [*([waits] if waits else []), *left_out]


def finding(standings: Sequence[Standing]) -> str:
    """The list in one sentence."""
    ready = [one for one in standings if one.sealed]
    if not ready:
        return f"No suite has the {suites.FEWEST} sealed items that the next evaluation needs."
    spent = [one.name for one in ready if one.is_spent]
    told = f"{sum(one.sealed for one in ready):,} sealed items in {len(ready)} suites"
    if not spent:
        return f"{told}; none has spent its looks."
    return f"{told}; the looks of {', '.join(spent)} are spent, and the next candidate rotates what can be replaced."
