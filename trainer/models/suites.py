"""What becomes of a line's suites besides their versions: rotations, and suites that an operator brought as a file."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team, User
from tasks.models.datasets import Dataset
from trainer.models.evaluations import SuiteVersion
from trainer.models.lines import Line


class SuiteRotationQuerySet(models.QuerySet["SuiteRotation"]):
    def for_user(self, user: Any, team: Team | None = None) -> "SuiteRotationQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class SuiteRotation(models.Model):
    """Items that were looked at longest became validation, and others took their place."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="rotations")
    name = models.CharField(max_length=80)  # of the suite
    suite = models.ForeignKey(SuiteVersion, on_delete=models.PROTECT, related_name="rotations")  # as it was before
    looks = models.PositiveIntegerField()  # that were used by then
    carried = models.PositiveIntegerField(default=0)  # of these, looks that stay counted: too few could be replaced
    wanted = models.PositiveIntegerField()  # items to replace: a quarter
    retired = models.PositiveIntegerField()  # items that became validation
    reserve = models.PositiveIntegerField()  # of their successors, those that were sealed before and never asked
    sealed = (
        models.PositiveIntegerField()
    )  # of their successors, those that were training tasks which nobody trained on
    after = models.PositiveBigIntegerField(default=0)  # id of the line's last evaluation before it
    reason = models.CharField(max_length=300)
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # None: the spent budget
    at = models.DateTimeField(auto_now_add=True)

    objects = SuiteRotationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name}: {self.retired} of {self.wanted}"

    @property
    def sentence(self) -> str:
        """What it did, for pages, notes and events."""
        told = f"{self.retired:,} items that were asked longest became validation; others take their place"
        told = f"{told} ({self.reserve:,} sealed before, {self.sealed:,} sealed now)."
        if self.retired == self.wanted:
            return told
        return f"{told} {self.wanted:,} were to go: {self.carried} of {self.looks} looks stay counted."


class ImportedSuiteQuerySet(models.QuerySet["ImportedSuite"]):
    def for_user(self, user: Any, team: Team | None = None) -> "ImportedSuiteQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class ImportedSuite(models.Model):
    """A held-out dataset whose rows form the suite of this name. Where it came from is what makes its numbers mean
    something elsewhere."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="imported_suites")
    name = models.CharField(max_length=64)
    dataset = models.OneToOneField(Dataset, on_delete=models.PROTECT, related_name="suite")
    source = models.CharField(max_length=200)  # an address, a hub id, or whoever made it
    revision = models.CharField(max_length=64)
    licence = models.CharField(max_length=60)
    catalogue = models.CharField(max_length=64, blank=True)  # its name in trainer.catalogue; "": described by hand
    # Its prompts that are held out and compared with what is stored. 0: it is not ready, and in no evaluation
    registered = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ImportedSuiteQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["line", "name"], name="one_imported_suite_per_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.line}"
