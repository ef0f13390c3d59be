"""What every resource of /api/v1 shares: rows through for_user, one scope a verb, strict input, replayed POSTs."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db import models
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.schema import ApiSchema
from flywheel.http import idempotency
from flywheel.http.auth import Caller, caller
from flywheel.http.json_bodies import ObjectParser
from flywheel.http.negotiation import AlwaysFirst
from tasks.errors import Invalid, NotFound, TooLarge
from tasks.models import Dataset, Team, User
from tasks.states import Scope

M = TypeVar("M", bound=models.Model)


class Given(serializers.Serializer[Any]):
    """Input of a verb. A field that the verb does not know is refused, not ignored."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, Mapping) else []
        if unknown:
            known = ", ".join(self.fields) or "nothing"
            raise serializers.ValidationError(
                {unknown[0]: f"There is no such field here: this request takes {known}."}, "unknown_field"
            )
        return super().to_internal_value(data)


class Asked(serializers.Serializer[Any]):
    """Filters of a list, from the query string."""


class Nothing(Given):
    """A verb without input."""


class Resource(viewsets.GenericViewSet[Any]):
    """Rows of one model. A stranger's id is answered 404, whether the row exists or not."""

    model: ClassVar[type[models.Model]]
    content_negotiation_class = AlwaysFirst
    parser_classes = [ObjectParser]
    lookup_value_regex = r"\d+"
    schema = ApiSchema()
    scopes: ClassVar[Mapping[str, Scope]] = {}  # action → scope that an API key needs; write where none is named
    streams_body: ClassVar[frozenset[str]] = frozenset()  # actions that read their body as a stream
    remembers_replies = True  # False where a reply holds a secret: it is never stored

    @property
    def scope(self) -> Scope:
        return self.scopes.get(self.action, Scope.WRITE)

    @property
    def caller(self) -> Caller:
        return caller(self.request)

    @property
    def user(self) -> User:
        return self.caller.user

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action in self.streams_body:
            return
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
            raise TooLarge("body_too_large", f"The request is larger than {limit} MiB: send files to /api/v1/uploads.")
        if request.method == "POST" and idempotency.HEADER in request.headers and self.remembers_replies:
            self.post = idempotency.once(getattr(self, "post"))  # noqa: B009  set per request by as_view

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return self.model._default_manager.none()
        return self.rows(self.model)

    def rows(self, model: type[M]) -> Any:
        who = self.caller
        return model._default_manager.for_user(who.user, who.team)  # type: ignore[attr-defined]

    def find(self, rows: Any, pk: int, field: str) -> Any:
        """The row that a request names in a field, or 404: absent and another team's look the same."""
        found = rows.filter(pk=pk).first()
        if found is None:
            raise NotFound("not_found", f"There is no {field} {pk} that you may see: check the id.", field)
        return found

    def dataset(self, name: str) -> Any:
        """A dataset by id, or as team/slug."""
        rows = self.rows(Dataset)
        team, _, slug = name.partition("/")
        found = rows.filter(pk=name) if name.isdecimal() else rows.filter(team__slug=team, slug=slug)
        dataset = found.first()
        if dataset is None:
            raise NotFound(
                "not_found", f"There is no dataset {name[:80]} that you may see: give its id or team/slug.", "dataset"
            )
        return dataset

    def team(self, slug: str | None) -> Any:
        """A team of the caller: the one named, else the key's, else the only one there is."""
        who = self.caller
        teams = teams_of(who)
        if slug:
            found = teams.filter(slug=slug).first()
            if found is None:
                raise NotFound("not_found", f"You are in no team called {slug[:80]}: check the slug.", "team")
            return found
        only = list(teams[:2])
        if len(only) != 1:
            raise Invalid("team_missing", "Say for which team: give the slug of one of yours.", "team")
        return only[0]

    def given(self, kind: type[Given]) -> dict[str, Any]:
        """The validated body."""
        form = kind(data=self.request.data)
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def asked(self, kind: type[Asked]) -> dict[str, Any]:
        """The validated filters; those that were not given are absent."""
        form = kind(data=self.request.query_params)
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def page(self, rows: Any, kind: type[serializers.BaseSerializer[Any]]) -> Response:
        """A list reply, newest first."""
        context = self.get_serializer_context()
        return self.get_paginated_response(kind(self.paginate_queryset(rows), many=True, context=context).data)

    def shown(self, row: Any, kind: type[serializers.BaseSerializer[Any]], status: int = 200) -> Response:
        return Response(kind(row, context=self.get_serializer_context()).data, status=status)


def teams_of(who: Caller) -> Any:
    """The teams that the caller acts in: all of the user's, or the API key's alone."""
    teams = Team.objects.filter(memberships__user=who.user).distinct().order_by("-id")
    return teams if who.team is None else teams.filter(pk=who.team.pk)
