"""What engines have spent, by team, month and kind of work; and the minutes that a team has in a month."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Given, Resource, teams_of
from tasks.errors import Forbidden, NotFound
from tasks.models import Team
from tasks.states import Scope
from trainer.models import Usage
from trainer.models.usage import seen_teams
from trainer.services import usage


class SpentOut(serializers.Serializer[Any]):
    month = serializers.CharField(help_text="Calendar month (UTC) in which the attempts began.")
    team = serializers.CharField()
    kind = serializers.CharField(help_text="run, difficulty, evaluation or base.")
    works = serializers.IntegerField(help_text="Runs, checks …")
    attempts = serializers.IntegerField()
    seconds = serializers.FloatField(help_text="Wall time of engines.")
    slot_seconds = serializers.FloatField(help_text="The same × accelerators that an engine held.")
    steps = serializers.IntegerField(help_text="Trained, those of a step that was trained again too.")
    tokens = serializers.IntegerField()


class BudgetOut(serializers.Serializer[Any]):
    team = serializers.CharField()
    minutes_per_month = serializers.FloatField(allow_null=True, help_text="null: no limit.")
    minutes_used = serializers.FloatField(help_text="In this month.")


class UsageOut(serializers.Serializer[Any]):
    spent = SpentOut(many=True, help_text="Newest month first.")
    budgets = BudgetOut(many=True, help_text="Of your teams.")


class BudgetIn(Given):
    team = serializers.SlugField()
    minutes_per_month = serializers.FloatField(allow_null=True, help_text="null takes the limit away.")


class UsageApi(Resource):
    model = Usage
    scopes = {"budget": Scope.ADMIN}

    @extend_schema(responses=UsageOut, operation_id="usage")
    def retrieve(self, request: Request) -> Response:
        """Seconds, steps and tokens of engines. You see your teams; operators of the pool see all."""
        budgets = [_budget(team) for team in teams_of(self.caller)]
        return Response(UsageOut({"spent": list(usage.by_month(self.get_queryset())), "budgets": budgets}).data)

    @extend_schema(request=BudgetIn, responses=BudgetOut, operation_id="usage_budget")
    def budget(self, request: Request) -> Response:
        """Give a team minutes of engines for each month. For operators of the pool."""
        given, key_of = self.given(BudgetIn), self.caller.team
        if key_of is not None and not key_of.is_system:
            raise Forbidden("key_is_for_one_team", "A key acts in its own team: take one of the pool for this.")
        team = seen_teams(self.user, key_of).filter(slug=given["team"]).first()
        if team is None:
            raise NotFound("not_found", f"There is no team {given['team']} that you may see.", "team")
        usage.set_budget(team, given["minutes_per_month"], actor=self.user)
        return Response(BudgetOut(_budget(team)).data)


def _budget(team: Team) -> dict[str, Any]:
    return {
        "team": team.slug,
        "minutes_per_month": usage.budget_of(team),
        "minutes_used": round(usage.minutes_this_month(team), 2),
    }
