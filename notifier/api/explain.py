"""What would become of a trigger, without recording it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier.api.docs import errors, example
from notifier.api.serializers import Body
from notifier.api.trigger import EVENT_ID, KEY_HEADER, ORDER_SHIPPED, TriggerBody, refusal
from notifier.explain import PLANNED, Explanation, explain
from notifier.models import ApiKey
from notifier.states import DeliveryStatus, HoldReason, SkipReason
from notifier.trigger import Trigger, TriggerError, parse

_OBSTACLES = [*SkipReason.values, PLANNED]


class TargetBody(Body):
    kind = serializers.CharField(help_text="email, phone, device or user")
    address = serializers.CharField(help_text="in part: a•••@mail.example; empty for a device and for the inbox")
    address_id = serializers.CharField(source="id", help_text="the device")


class OptionBody(Body):
    channel = serializers.CharField()
    obstacle = serializers.ChoiceField(
        _OBSTACLES, help_text="empty: it would be used; PLANNED: it has a delivery of its own; else a skip reason"
    )


class OutlookBody(Body):
    channel = serializers.CharField()
    status = serializers.ChoiceField(
        [DeliveryStatus.QUEUED, DeliveryStatus.SKIPPED, DeliveryStatus.FAILED],
        help_text="QUEUED: goes out at dueAt; FAILED: cannot be rendered",
    )
    skip_reason = serializers.ChoiceField(SkipReason.values)
    hold_reason = serializers.ChoiceField(HoldReason.values)
    fallback_of = serializers.CharField(help_text="the channel it stands in for")
    detail = serializers.CharField(help_text="why, for people")
    due_at = serializers.DateTimeField(allow_null=True)
    addresses = TargetBody(many=True, source="targets")
    fallbacks = OptionBody(many=True, help_text="its chain, in order")
    fallback_after_seconds = serializers.FloatField(allow_null=True, help_text="null: no channel could stand in")
    content = serializers.DictField(child=serializers.CharField(), help_text="the message's parts, as rendered")


class UnplannedBody(Body):
    channel = serializers.CharField()
    stands_in_for = serializers.ListField(child=serializers.CharField(), help_text="if these fail")
    obstacle = serializers.ChoiceField(_OBSTACLES)
    detail = serializers.CharField(help_text="why not, for people")


class SameBody(Body):
    event_id = serializers.UUIDField()
    status = serializers.CharField()


class ExplanationBody(Body):
    user_id = serializers.UUIDField(allow_null=True, source="recipient.user_id")
    locale = serializers.CharField(source="recipient.locale")
    time_zone = serializers.CharField(source="recipient.time_zone")
    expires_at = serializers.DateTimeField()
    same_as = SameBody(allow_null=True, help_text="the event as which this trigger came before: nothing new happens")
    deliveries = OutlookBody(many=True)
    unplanned = UnplannedBody(many=True, help_text="the other channels")


class ExplainQuery(Body):
    content = serializers.ChoiceField(["true", "false"], default="true", help_text="false leaves the messages out")


class ExplainAnswer(Body):
    event_type = serializers.CharField()
    priority = serializers.CharField(help_text="urgent, normal or bulk")
    recipients = ExplanationBody(many=True, help_text="one; of a staff type each active member of the group")


_SHIPPED = {
    "channel": "EMAIL", "status": "QUEUED", "skipReason": "", "holdReason": "QUIET_HOURS", "fallbackOf": "",
    "detail": "quiet hours from 22:00 until 07:00, Europe/Berlin", "dueAt": "2026-11-25T06:00:00Z",
    "addresses": [{"kind": "email", "address": "a•••@mail.example", "addressId": ""}],
    "fallbacks": [{"channel": "SMS", "obstacle": "OPTED_OUT"}], "fallbackAfterSeconds": None,
    "content": {"subject": "Your order ORD123 is on its way", "text": "Good news!", "html": "<p>Good news!</p>"},
}  # fmt: skip
_SMS = _SHIPPED | {
    "channel": "SMS", "status": "SKIPPED", "skipReason": "OPTED_OUT", "holdReason": "", "dueAt": None,
    "detail": "its recipient turned off everything by SMS", "addresses": [], "fallbacks": [], "content": {},
}  # fmt: skip


class ExplainView(APIView):
    required_scopes: ClassVar = {"POST": "read"}

    @extend_schema(
        tags=["Triggers"],
        summary="What would be sent, and why not elsewhere",
        request=TriggerBody,
        parameters=[ExplainQuery, KEY_HEADER],
        responses={200: ExplainAnswer, **errors(400, 404, 409, 413)},
        examples=[
            example("A customer's order", ORDER_SHIPPED),
            example("Held and skipped", {"eventType": "ORDER_SHIPPED", "priority": "normal", "recipients": [{
                "userId": ORDER_SHIPPED["userId"], "locale": "en", "timeZone": "Europe/Berlin",
                "expiresAt": "2026-11-26T01:30:00Z", "sameAs": None, "deliveries": [_SHIPPED, _SMS], "unplanned": [],
            }]}, answer=200),
            example("It came before", {"eventType": "ORDER_SHIPPED", "priority": "normal", "recipients": [{
                "userId": ORDER_SHIPPED["userId"], "locale": "en", "timeZone": "Europe/Berlin",
                "expiresAt": "2026-11-26T01:30:00Z", "sameAs": {"eventId": EVENT_ID, "status": "SENT"},
                "deliveries": [], "unplanned": [],
            }]}, answer=200),
        ],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """The body of a trigger; records and sends nothing. For this moment, by the code that decides in earnest:
        preferences, addresses, quiet hours, the daily cap, later stages of the order, staging and duplicates."""
        caller = request.auth
        assert isinstance(caller, ApiKey)  # noqa: S101 - HasScope let nobody else through
        with_content = ExplainQuery.read(request.query_params.dict())["content"] == "true"
        try:
            trigger = parse(request.data, idempotency_key=request.headers.get("Idempotency-Key"))
            found = explain(trigger, caller.source)
        except TriggerError as error:
            raise refusal(error) from error
        return Response(_answer(trigger, found, with_content=with_content))


def _answer(trigger: Trigger, found: Sequence[Explanation], *, with_content: bool) -> dict[str, Any]:
    event_type = trigger.event_type
    recipients = ExplanationBody(found, many=True).data
    if not with_content:
        for delivery in (one for recipient in recipients for one in recipient["deliveries"]):
            delivery["content"] = {}
    return {"eventType": event_type.name, "priority": event_type.priority.name.lower(), "recipients": recipients}
