"""Withdrawals: a contributor takes a task, or a whole dataset, out of everything that is built from now on."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Given, Resource
from tasks.errors import Invalid
from tasks.models import Task
from tasks.services import withdrawals


class WithdrawalIn(Given):
    task = serializers.IntegerField(required=False, help_text="Id. Give this or dataset.")
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug. Give this or task.")
    reason = serializers.CharField(max_length=300)


class WithdrawalOut(serializers.Serializer[Any]):
    withdrawn = serializers.IntegerField(help_text="How many tasks.")


class Withdrawals(Resource):
    model = Task

    @extend_schema(request=WithdrawalIn, responses={201: WithdrawalOut})
    def create(self, request: Request) -> Response:
        """Withdraw. Final: models that were trained on the rows stay, the next mixture is built without them."""
        given = self.given(WithdrawalIn)
        if ("task" in given) == ("dataset" in given):
            raise Invalid("one_of_two", "Say what to withdraw: give either task or dataset.", "task")
        if "task" in given:
            subject = self.find(self.rows(Task), given["task"], "task")
        else:
            subject = self.dataset(given["dataset"])
        count = withdrawals.withdraw(subject, actor=self.user, reason=given["reason"])
        return Response({"withdrawn": count}, status=201)
