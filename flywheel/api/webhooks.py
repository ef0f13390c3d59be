"""Webhooks: where a team's news go, what was sent, and sending it again. A secret is in the reply that makes it and
nowhere else."""

import json
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from flywheel.api.schema import DELIVERY_STATES, HOOK_STATES, NEWS, SENT
from tasks.errors import NotFound
from tasks.states import Scope
from trainer.models import Delivery, DeliveryTry, Line, Webhook
from trainer.services import webhooks
from trainer.states import DeliveryState


class WebhookOut(serializers.ModelSerializer[Webhook]):
    team = serializers.CharField(source="team.slug")
    line = serializers.IntegerField(source="line_id", allow_null=True, help_text="null: every line of the team.")
    types = serializers.ListField(child=serializers.ChoiceField(choices=NEWS))
    state = serializers.ChoiceField(choices=HOOK_STATES)

    class Meta:
        model = Webhook
        fields: tuple[str, ...] = (
            "id", "team", "name", "url", "email", "types", "line", "state", "off_because", "failing_since", "old_until",
            "created_at", "deleted_at",
        )  # fmt: skip


class NewWebhookOut(WebhookOut):
    secret = serializers.CharField(help_text="Shown once: keep it now. Empty for e-mail, which is not signed.")

    class Meta(WebhookOut.Meta):
        fields = (*WebhookOut.Meta.fields, "secret")


class WebhookIn(Given):
    team = serializers.SlugField(required=False, help_text="Slug; needed where you are in several teams.")
    name = serializers.CharField(max_length=80)
    url = serializers.CharField(max_length=500, required=False, default="", help_text="https; this or email.")
    email = serializers.CharField(max_length=254, required=False, default="")
    types = serializers.ListField(child=serializers.ChoiceField(choices=NEWS))
    line = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="Id; null: every line.")


class WebhookChange(Given):
    name = serializers.CharField(max_length=80, required=False)
    types = serializers.ListField(child=serializers.ChoiceField(choices=NEWS), required=False)
    line = serializers.IntegerField(required=False, allow_null=True)
    enabled = serializers.BooleanField(required=False, help_text="false switches it off and cancels what waits.")


class TryOut(serializers.ModelSerializer[DeliveryTry]):
    class Meta:
        model = DeliveryTry
        fields = ("number", "at", "milliseconds", "status", "reply", "fault")


class DeliveryOut(serializers.ModelSerializer[Delivery]):
    type = serializers.ChoiceField(choices=SENT)
    webhook_id = serializers.CharField(source="message", help_text="As in the header of that name, at every try.")
    next_try_at = serializers.SerializerMethodField(help_text="null where none is planned.")
    body = serializers.SerializerMethodField(help_text="As it was signed and sent.")
    log = TryOut(many=True, help_text="Every try, the oldest first.")

    class Meta:
        model = Delivery
        fields = (
            "id", "webhook_id", "type", "state", "tries", "next_try_at", "created_at", "finished_at", "event", "body",
            "log",
        )  # fmt: skip

    def get_next_try_at(self, delivery: Delivery) -> str | None:
        return delivery.due_at.isoformat() if delivery.state == DeliveryState.PENDING else None

    def get_body(self, delivery: Delivery) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(delivery.body)
        return found


class WebhookFilter(Asked):
    team = serializers.SlugField(required=False)
    deleted = serializers.BooleanField(required=False, default=False, help_text="Those instead of the living.")


class DeliveryFilter(Asked):
    state = serializers.ChoiceField(choices=DELIVERY_STATES, required=False)
    type = serializers.ChoiceField(choices=SENT, required=False)


class SecretOut(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="Shown once: keep it now.")
    old_until = serializers.DateTimeField(help_text="Until then the secret before signs as well.")


class Webhooks(Resource):
    model = Webhook
    scopes = dict.fromkeys(
        ("create", "partial_update", "destroy", "test", "rotate", "again"), Scope.TRAIN
    )  # what steers runs also says who hears of them

    @property
    def remembers_replies(self) -> bool:  # type: ignore[override]
        return self.action not in ("create", "rotate")  # a secret is never stored

    def get_queryset(self) -> Any:
        """Of teams that one operates."""
        return super().get_queryset().select_related("team", "line")

    @extend_schema(parameters=[WebhookFilter], responses=WebhookOut(many=True))
    def list(self, request: Request) -> Response:
        """Webhooks of the teams that you operate."""
        asked = self.asked(WebhookFilter)
        rows = self.get_queryset().filter(deleted_at__isnull=not asked.get("deleted", False))
        return self.page(rows.filter(team__slug=asked["team"]) if "team" in asked else rows, WebhookOut)

    @extend_schema(responses=WebhookOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One webhook; never its secret."""
        return self.shown(self.get_object(), WebhookOut)

    @extend_schema(request=WebhookIn, responses={201: NewWebhookOut})
    def create(self, request: Request) -> Response:
        """Tell an address, or somebody by e-mail, of a team's news."""
        given = self.given(WebhookIn)
        team = self.team(given.pop("team", None))
        hook, secret = webhooks.create(team, actor=self.user, **given | {"line": self._line(given["line"])})
        return Response({**WebhookOut(hook).data, "secret": secret}, status=201)

    @extend_schema(request=WebhookChange, responses=WebhookOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change name, kinds of news or line, or switch it off and on."""
        hook, given = self.get_object(), self.given(WebhookChange)
        enabled = given.pop("enabled", None)
        if "line" in given:
            given["line"] = self._line(given["line"])
        if given:
            webhooks.change(hook, actor=self.user, **given)
        if enabled is not None:
            webhooks.switch(hook, enabled, actor=self.user)
        return self.shown(self.get_object(), WebhookOut)

    def _line(self, pk: int | None) -> Line | None:
        found: Line | None = None if pk is None else self.find(self.rows(Line), pk, "line")
        return found

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete it for good. What was sent stays in its log."""
        webhooks.delete(self.get_object(), actor=self.user)
        return Response(status=204)

    @extend_schema(request=Nothing, responses={201: DeliveryOut})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Send a message of the type webhook.test."""
        self.given(Nothing)
        return self.shown(webhooks.send_test(self.get_object(), actor=self.user), DeliveryOut, 201)

    @extend_schema(request=Nothing, responses=SecretOut)
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        """Make a new secret. For 24 hours the one before signs as well."""
        self.given(Nothing)
        hook = self.get_object()
        secret = webhooks.rotate(hook, actor=self.user)
        return Response(SecretOut({"secret": secret, "old_until": self.get_object().old_until}).data)

    @extend_schema(parameters=[DeliveryFilter], responses=DeliveryOut(many=True))
    @action(detail=True)
    def deliveries(self, request: Request, pk: str) -> Response:
        """What was sent, with every try and what was answered."""
        rows = self.get_object().deliveries.prefetch_related("log").filter(**self.asked(DeliveryFilter))
        return self.page(rows, DeliveryOut)

    @extend_schema(responses=DeliveryOut)
    @action(detail=True, url_path=r"deliveries/(?P<delivery>\d+)")
    def delivery(self, request: Request, pk: str, delivery: str) -> Response:
        """One delivery."""
        return self.shown(self._delivery(delivery), DeliveryOut)

    @extend_schema(request=Nothing, responses=DeliveryOut)
    @action(detail=True, methods=["post"], url_path=r"deliveries/(?P<delivery>\d+)/again")
    def again(self, request: Request, pk: str, delivery: str) -> Response:
        """Send the same message once more, under the same id."""
        found = self._delivery(delivery)
        self.given(Nothing)
        return self.shown(webhooks.send_again(found, actor=self.user), DeliveryOut)

    def _delivery(self, pk: str) -> Delivery:
        rows = self.get_object().deliveries.select_related("hook__team")
        found: Delivery | None = rows.filter(pk=pk).first() if len(pk) < 19 else None
        if found is None:
            raise NotFound("not_found", f"There is no delivery {pk} of this webhook: check the id.", "delivery")
        return found
