"""Credit: what versions did on their contributors' own held-out rows, and the leaderboard of it."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource, teams_of
from tasks.errors import NotFound
from tasks.states import Scope
from trainer.evaluation.claim import Claim
from trainer.models import CreditEntry, CreditName, Line
from trainer.services import credit, leaderboard, lines
from trainer.states import LinePurpose

CLAIMS = [(claim.value, claim.value) for claim in Claim]


class EffectOut(serializers.Serializer[Any]):
    items = serializers.IntegerField(help_text="Held-out rows that were asked.")
    clusters = serializers.IntegerField(help_text="Independent ones: near-duplicates count once.")
    before = serializers.FloatField(help_text="Mean score of the champion that was replaced, in [0, 1].")
    after = serializers.FloatField()
    difference = serializers.FloatField(help_text="after − before; of several promotions their sum.")
    low = serializers.FloatField(help_text="Of the 95 % interval, clustered and paired.")
    high = serializers.FloatField()
    p_value = serializers.FloatField(help_text="Two-sided, not adjusted.")


class CreditOut(serializers.ModelSerializer[CreditEntry]):
    version = serializers.CharField(source="report.evaluation.candidate.name")
    champion = serializers.CharField(source="report.evaluation.champion.name")
    verdict = serializers.CharField(source="report.verdict")
    team = serializers.CharField(source="team.slug")
    dataset = serializers.CharField(allow_null=True, help_text="team/slug; null: all that the team brought, together.")
    effect = EffectOut(allow_null=True, help_text="null: none of its rows is held out.")
    sentence = serializers.SerializerMethodField(help_text="The same in words.")

    class Meta:
        model = CreditEntry
        fields = (
            "id", "report", "version", "champion", "verdict", "team", "dataset", "rows", "effect", "claim",
            "adjusted_p", "fewest", "sentence",
        )  # fmt: skip

    def get_sentence(self, entry: CreditEntry) -> str:
        return credit.sentence(entry, whose="its")


class CreditFilter(Asked):
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug.")
    report = serializers.IntegerField(required=False)
    claim = serializers.ChoiceField(choices=CLAIMS, required=False)


class StandingOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    mine = serializers.BooleanField()
    effect = EffectOut()
    claim = serializers.CharField(help_text="Adjusted for all contributors of the board.")
    adjusted_p = serializers.FloatField()
    versions = serializers.ListField(child=serializers.CharField(), help_text="Promotions that count, oldest first.")
    rows = serializers.IntegerField(help_text="Of the training of the newest of them.")


class NotYetOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    mine = serializers.BooleanField()
    effect = EffectOut(allow_null=True, help_text="Of the newest promotion; nothing is claimed of it.")
    version = serializers.CharField(allow_blank=True)
    rows = serializers.IntegerField()
    missing = serializers.IntegerField(help_text="Held-out rows, near-duplicates once.")
    sentence = serializers.CharField()


class BoardOut(serializers.Serializer[Any]):
    line = serializers.CharField(source="line.slug")
    versions = serializers.ListField(child=serializers.CharField(), help_text="Promotions that lead to the champion.")
    standings = StandingOut(many=True, help_text="By the lower end of the interval.")
    waiting = NotYetOut(many=True, help_text="Too few rows to tell yet.")


class BoardFilter(Asked):
    line = serializers.SlugField(required=False, help_text="A shared line; left out: the first.")


class NameIn(Given):
    team = serializers.SlugField(required=False, help_text="Slug; needed where you are in several teams.")
    name = serializers.CharField(required=False, default="", allow_blank=True, help_text='"": the team\'s own.')
    anonymous = serializers.BooleanField(required=False, default=False)


class NameOut(serializers.ModelSerializer[CreditName]):
    team = serializers.CharField(source="team.slug")

    class Meta:
        model = CreditName
        fields = ("team", "name", "anonymous")


class Credits(Resource):
    model = CreditEntry

    @extend_schema(parameters=[CreditFilter], responses=CreditOut(many=True))
    def list(self, request: Request) -> Response:
        """What evaluated versions did on the held-out rows of your datasets and teams, newest first."""
        asked = self.asked(CreditFilter)
        if "dataset" in asked:
            asked["dataset"] = self.dataset(asked["dataset"])
        return self.page(credit.of_reports(self.get_queryset().filter(**asked)), CreditOut)


class Leaderboard(Resource):
    model = Line
    scopes = {"rename": Scope.ADMIN}

    @extend_schema(parameters=[BoardFilter], responses=BoardOut, operation_id="leaderboard")
    def retrieve(self, request: Request) -> Response:
        """Contributors by what the promotions of the shared line did on their own held-out rows."""
        slug = self.asked(BoardFilter).get("line")
        shared = Line.objects.filter(purpose=LinePurpose.SHARED, slug=slug)
        line = shared.first() if slug else lines.shared_line()
        if line is None:
            raise NotFound("not_found", "There is no such shared line: see /api/v1/lines.", "line")
        own = teams_of(self.caller).values_list("pk", flat=True)
        return Response(BoardOut(leaderboard.board(line, own=list(own))).data)

    @extend_schema(request=NameIn, responses=NameOut, operation_id="leaderboard_name")
    def rename(self, request: Request) -> Response:
        """How your team is named on the leaderboard, or that it is not."""
        given = self.given(NameIn)
        team = self.team(given.get("team"))
        chosen = leaderboard.set_name(team, given["name"], anonymous=given["anonymous"], actor=self.user)
        return self.shown(chosen, NameOut)
