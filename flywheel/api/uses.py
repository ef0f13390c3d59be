"""What became of data, as replies: which mixtures, runs and versions saw it."""

from dataclasses import asdict
from typing import Any

from rest_framework import serializers

from trainer.services.uses import Mixed, Use, UsedIn


class UseOut(serializers.Serializer[Any]):
    version = serializers.CharField(help_text='line/vN; "": the run has made none.')
    version_id = serializers.IntegerField(allow_null=True)
    run = serializers.IntegerField()
    state = serializers.CharField(help_text="Of the run.")
    started_at = serializers.DateTimeField(allow_null=True)
    mixture = serializers.IntegerField(allow_null=True, help_text="null: trained on one dataset version.")
    recipe = serializers.CharField()
    rows = serializers.IntegerField(help_text="Of this data, among those that the run was given.")
    of = serializers.IntegerField()
    share = serializers.FloatField()
    aliases = serializers.ListField(child=serializers.CharField(), help_text="Of the version, now.")
    was = serializers.ListField(child=serializers.CharField(), help_text="Names that it had before.")


class MixedOut(serializers.Serializer[Any]):
    mixture = serializers.IntegerField()
    digest = serializers.CharField()
    line = serializers.CharField()
    recipe = serializers.CharField()
    built_at = serializers.DateTimeField()
    rows = serializers.IntegerField()
    of = serializers.IntegerField()
    share = serializers.FloatField()
    runs = serializers.IntegerField()


class DescendantOut(serializers.Serializer[Any]):
    version = serializers.CharField()
    version_id = serializers.IntegerField()
    through = serializers.CharField(help_text='The version that saw the data; "": one that you may not see.')
    aliases = serializers.ListField(child=serializers.CharField())


class UsedInOut(serializers.Serializer[Any]):
    uses = UseOut(many=True, help_text="Runs, newest first, with the version that came of each.")
    mixtures = MixedOut(many=True)
    descendants = DescendantOut(many=True, help_text="Versions that started from one that saw the data.")


def shown_uses(used: UsedIn) -> dict[str, Any]:
    return {
        "uses": [_shared(use) for use in used.uses],
        "mixtures": [_shared(one) for one in used.mixtures],
        "descendants": [asdict(one) for one in used.descendants],
    }


def _shared(one: Use | Mixed) -> dict[str, Any]:
    return {**asdict(one), "share": round(one.share, 6)}
