"""Items of held-out suites. The model side registers a frozen suite here (tasks.services.heldout), so that import can
check contamination without knowing the model side."""

from django.db import models

from tasks.models.accounts import Team
from tasks.models.columns import HexColumn


class HeldOutSuite(models.Model):
    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64)
    name = models.CharField(max_length=120)
    registered_at = models.DateTimeField(auto_now_add=True)
    released = models.PositiveIntegerField(default=0)  # items that it has let go (tasks.services.sealing)
    scanned = models.BigIntegerField(default=0)  # id of the last stored task that was compared with it
    scanned_at = models.DateTimeField(null=True, blank=True)  # when all were; null: under way

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "digest"], name="one_suite_per_digest")]

    def __str__(self) -> str:
        return self.name


class HeldOutItem(models.Model):
    """One prompt of a suite, as tasks are compared with it."""

    suite = models.ForeignKey(HeldOutSuite, on_delete=models.CASCADE, related_name="items", db_index=False)
    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_index=False)
    exact_key = HexColumn(max_length=32)
    folded = models.TextField()  # tasks.text.folded of its messages

    class Meta:
        constraints = [models.UniqueConstraint(fields=["suite", "exact_key"], name="one_item_per_suite")]
        indexes = [models.Index(fields=["space", "exact_key"], name="held_out_lookup")]

    def __str__(self) -> str:
        return self.exact_key
