"""Replies to POSTs that carried an Idempotency-Key, kept so that a repetition answers the same."""

from django.db import models

from tasks.models.accounts import Team, User


class IdempotencyRecord(models.Model):
    """Written in the transaction of the verb that it remembers: a refused or crashed request leaves none."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    team = models.ForeignKey(Team, null=True, on_delete=models.CASCADE, related_name="+")  # of the API key
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)  # sha-256 of method, path, query and body
    status = models.PositiveSmallIntegerField(default=0)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "team", "key"], nulls_distinct=False, name="one_reply_per_key")
        ]

    def __str__(self) -> str:
        return self.key
