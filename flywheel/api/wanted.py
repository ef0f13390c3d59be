"""What is wanted: the domains of a shared line that more tasks would help. Public, as its page is."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from flywheel.api.resource import Asked, Resource
from tasks.errors import NotFound
from tasks.views.listing import exported
from trainer.evaluation import wanted
from trainer.models import Line
from trainer.services import coverage, lines
from trainer.states import LinePurpose

FORMATS = ("json", "csv")


class DomainOut(serializers.Serializer[Any]):
    domain = serializers.CharField()
    wanted = serializers.BooleanField()
    reasons = serializers.ListField(child=serializers.CharField(), help_text="The first places it on the list.")
    sentences = serializers.ListField(child=serializers.CharField(), help_text="One for each reason.")
    rate = serializers.FloatField(allow_null=True, help_text="The champion's mean score there; null: not measured yet.")
    low = serializers.FloatField(allow_null=True, help_text="Of the interval, as the gate reports it.")
    high = serializers.FloatField(allow_null=True)
    items = serializers.IntegerField(help_text="Held-out items that the rate is of.")
    rows = serializers.IntegerField(help_text="Approved training rows.")
    untaught = serializers.IntegerField(help_text="Of these: not known to be solved too often to teach.")
    measured = serializers.IntegerField(help_text="Of the training rows: the champion was asked them.")
    teaching = serializers.IntegerField(help_text="Of the measured ones: in the zone that teaches.")
    solved = serializers.IntegerField(help_text="Of the measured ones: above it.")
    sealed = serializers.IntegerField(help_text="Approved held-out rows, each prompt once.")
    needed = serializers.IntegerField(allow_null=True, help_text="Of these, for the guard; null: no number is enough.")
    more = serializers.IntegerField(help_text="Rows that would end its thinness, about; 0: it is not thin.")


class WantedOut(serializers.Serializer[Any]):
    line = serializers.CharField()
    champion = serializers.CharField(allow_null=True)
    measured_at = serializers.DateTimeField(allow_null=True, help_text="Of the gate report that the rates are of.")
    counted_at = serializers.DateTimeField()
    finding = serializers.CharField()
    rule = serializers.CharField(help_text="Of the order.")
    domains = DomainOut(many=True)


class WantedFilter(Asked):
    line = serializers.SlugField(required=False, help_text="A shared line; left out: the first.")
    format = serializers.ChoiceField(choices=FORMATS, required=False, default="json", help_text="csv: the domains.")


class WantedList(Resource):
    model = Line
    permission_classes = [AllowAny]

    @extend_schema(parameters=[WantedFilter], responses=WantedOut, operation_id="wanted", auth=[])
    def retrieve(self, request: Request) -> Any:
        """Domains of the shared line by how much tasks of them are wanted, with the reasons. Readable without a key."""
        asked = self.asked(WantedFilter)
        shared = Line.objects.filter(purpose=LinePurpose.SHARED, slug=asked.get("line", ""))
        line = shared.first() if "line" in asked else lines.shared_line()
        if line is None:
            raise NotFound("not_found", "There is no such shared line.", "line")
        listed = coverage.listed(line)
        if asked["format"] == "csv":
            return exported(request._request, map(wanted.facts, listed.rows), name="wanted")
        told = {
            "line": line.slug,
            "champion": listed.champion.name if listed.champion else None,
            "measured_at": listed.measured_at,
            "counted_at": listed.counted_at,
            "finding": wanted.finding(listed.rows),
            "rule": wanted.RULE,
            "domains": [wanted.facts(row) for row in listed.rows],
        }
        return self.shown(told, WantedOut)
