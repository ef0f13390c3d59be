"""Keys of held-out suites. The model side registers a frozen suite here (tasks.services.heldout), so that import can
check contamination without knowing the model side."""

from django.db import models

from tasks.models.accounts import Team


class HeldOutSuite(models.Model):
    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64)
    name = models.CharField(max_length=120)
    registered_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "digest"], name="one_suite_per_digest")]

    def __str__(self) -> str:
        return self.name


class HeldOutKey(models.Model):
    suite = models.ForeignKey(HeldOutSuite, on_delete=models.CASCADE, related_name="keys", db_index=False)
    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_index=False)
    exact_key = models.CharField(max_length=32)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["suite", "exact_key"], name="one_key_per_suite")]
        indexes = [models.Index(fields=["space", "exact_key"], name="held_out_lookup")]

    def __str__(self) -> str:
        return self.exact_key
