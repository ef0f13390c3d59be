"""Withdrawals: a contributor takes a task, or a whole dataset, out of everything that is built from now on."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource
from flywheel.api.uses import UsedInOut, shown_uses
from tasks.errors import Invalid
from tasks.models import Dataset, Task, WithdrawalReceipt, WithdrawnTask
from tasks.services import receipts, withdrawals
from trainer.models import Line
from trainer.services import consequences


class WithdrawalIn(Given):
    task = serializers.IntegerField(required=False, help_text="Id. Give this or dataset.")
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug. Give this or task.")
    reason = serializers.CharField(max_length=300)


class WithdrawalFilter(Asked):
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug.")
    task = serializers.IntegerField(required=False)


class LoggedOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    digest = serializers.CharField(help_text="SHA-256 of the event's canonical text.")
    link = serializers.CharField(allow_null=True, help_text="Of the hash chain; null for some seconds.")


class ReceiptOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    begun_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()
    team = serializers.CharField(help_text="Slug of the team that withdrew.")
    withdrawn_by = serializers.CharField(allow_null=True, help_text="User name; null: the platform.")
    dataset = serializers.CharField(allow_null=True, help_text="team/slug.")
    task = serializers.IntegerField(allow_null=True)
    upload = serializers.IntegerField(required=False, help_text="Of the dataset only this file, which was deleted.")
    reason = serializers.CharField()
    withdrawn = serializers.IntegerField(help_text="How many tasks went.")
    kept = serializers.IntegerField(help_text="How many stay, because other teams brought them too.")
    digest = serializers.CharField(help_text="Of the tasks that went; `digest_of` says over what.")
    digest_of = serializers.CharField()
    seen = serializers.JSONField(
        help_text="Versions, mixtures and runs that had seen them, suites that lose items, and the next mixtures."
    )
    receipt_digest = serializers.CharField(help_text="SHA-256 of the receipt: the event in the log holds the same.")
    event = LoggedOut()


class WithdrawnTaskOut(serializers.ModelSerializer[WithdrawnTask]):
    content_digest = serializers.CharField(source="task.content_digest")

    class Meta:
        model = WithdrawnTask
        fields = ("id", "task", "content_digest", "kept")


class NextOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="Of the recipe, or of the training on one dataset.")
    line = serializers.CharField()
    recipe = serializers.IntegerField(allow_null=True)
    now = serializers.IntegerField(allow_null=True, help_text="Tasks; null: too many to be mixed for a preview.")
    then = serializers.IntegerField(allow_null=True)
    sentence = serializers.CharField()


class RetiringOut(serializers.Serializer[Any]):
    suite = serializers.CharField()
    line = serializers.CharField()
    items = serializers.IntegerField(help_text="That are not in the next version of the suite.")
    of = serializers.IntegerField()
    left = serializers.IntegerField(help_text="Sealed tasks of the domain that are left.")
    under_way = serializers.IntegerField(help_text="Evaluations on it that have not ended.")


class ConsequencesOut(serializers.Serializer[Any]):
    goes = serializers.IntegerField(help_text="Tasks that would go.")
    stays = serializers.IntegerField(help_text="Tasks that stay, because other teams brought them too.")
    elsewhere = serializers.IntegerField(help_text="Of those that go: in other datasets of the same team as well.")
    arriving = serializers.IntegerField(help_text="Uploads whose rows are not all in: later rows are not withdrawn.")
    exports = serializers.IntegerField(help_text="Files that have left and cannot be called back.")
    offered_now = serializers.IntegerField(help_text="Training tasks that the next mixture may be made of.")
    offered_then = serializers.IntegerField()
    next = NextOut(many=True)
    recipes_left_out = serializers.IntegerField()
    suites = RetiringOut(many=True)
    used = UsedInOut()
    undo = serializers.BooleanField(help_text="Always false: a withdrawal is final.")


class Withdrawals(Resource):
    model = WithdrawalReceipt

    def get_queryset(self) -> Any:
        return super().get_queryset().finished().select_related("team", "dataset__team", "withdrawn_by", "event")

    @extend_schema(parameters=[WithdrawalFilter], responses=ReceiptOut(many=True))
    def list(self, request: Request) -> Response:
        """Receipts of what your teams have withdrawn, newest first."""
        asked, rows = self.asked(WithdrawalFilter), self.get_queryset()
        if "dataset" in asked:
            rows = rows.filter(dataset=self.dataset(asked["dataset"]))
        if "task" in asked:
            rows = rows.filter(task=asked["task"])
        found = self.paginate_queryset(rows) or []
        return self.get_paginated_response(ReceiptOut(map(receipts.shown, found), many=True).data)

    @extend_schema(responses=ReceiptOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One receipt, with its place in the log."""
        return self.shown(receipts.shown(self.get_object()), ReceiptOut)

    @extend_schema(responses=WithdrawnTaskOut(many=True))
    @action(detail=True)
    def tasks(self, request: Request, pk: str) -> Response:
        """The tasks under a receipt: from those that are not `kept` its digest can be computed again."""
        return self.page(self.get_object().tasks.select_related("task"), WithdrawnTaskOut)

    @extend_schema(request=WithdrawalIn, responses={201: ReceiptOut})
    def create(self, request: Request) -> Response:
        """Withdraw. Final: models that were trained on the rows stay, the next mixture is built without them. See
        what it would do first: GET /datasets/{id}/withdrawal, GET /tasks/{id}/withdrawal. Repeated, it goes on where
        it was broken off; where nothing is left to do, the receipt that there is."""
        given = self.given(WithdrawalIn)
        if ("task" in given) == ("dataset" in given):
            raise Invalid("one_of_two", "Say what to withdraw: give either task or dataset.", "task")
        if "task" in given:
            subject = self.find(self.rows(Task), given["task"], "task")
        else:
            subject = self.dataset(given["dataset"])
        receipt = withdrawals.withdraw(subject, actor=self.user, reason=given["reason"], told=consequences.told)
        return self.shown(receipts.shown(receipt), ReceiptOut, 201)


def previewed(resource: Resource, subject: Task | Dataset) -> Response:
    """What withdrawing would do: for the resources of datasets and of tasks."""
    who = resource.caller
    preview = withdrawals.preview(subject, actor=who.user)
    would = consequences.of(preview, Line.objects.for_user(who.user, who.team))
    told = {
        "goes": preview.goes,
        "stays": preview.stays,
        "elsewhere": preview.elsewhere,
        "arriving": preview.arriving,
        "exports": preview.exports,
        "offered_now": would.offered_now,
        "offered_then": would.offered_then,
        "next": [asdict(one) for one in would.next],
        "recipes_left_out": would.recipes_left_out,
        "suites": [asdict(one) for one in would.suites],
        "used": shown_uses(would.used),
        "undo": False,
    }
    return resource.shown(told, ConsequencesOut)
