"""Triggers: something happened to an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import tasks
from notifier.api.docs import errors, example
from notifier.api.errors import ApiError, invalid
from notifier.api.parsers import BODY_LIMIT, BULK_BODY_LIMIT, too_large
from notifier.api.serializers import Body
from notifier.catalogue import Audience
from notifier.models import ApiKey
from notifier.record import KeyConflict, Recorded, Trigger, TriggerError, UnknownUser, parse, record, record_many

BULK_LIMIT = 1000  # events

ORDER_SHIPPED = {
    "eventType": "ORDER_SHIPPED",
    "userId": "01931f6e-7d3a-7000-8000-000000000001",
    "metadata": {"orderId": "ORD123", "trackingUrl": "https://track.example/SHP-77120"},
}
EVENT_ID = "01931f6e-7d3a-7000-8000-0000000000e1"


class GuestBody(Body):
    email = serializers.EmailField(required=False)
    phone = serializers.CharField(required=False, help_text="with country code, as +49 151 12345678")
    locale = serializers.CharField(required=False, help_text="as en or de-AT")
    time_zone = serializers.CharField(required=False, help_text="an IANA name")


class TriggerBody(Body):
    """What a trigger looks like. It is for the documentation: notifier.record checks triggers of every origin."""

    event_type = serializers.CharField(help_text="a type of the event catalogue, as ORDER_SHIPPED")
    user_id = serializers.UUIDField(required=False, help_text="whom a customer type is for")
    recipient = GuestBody(required=False, help_text="a guest, in place of userId")
    metadata = serializers.DictField(required=False, help_text="orderId and what else the type asks for")
    idempotency_key = serializers.CharField(required=False, max_length=255)


class TriggerAnswer(Body):
    event_id = serializers.UUIDField(required=False)
    status = serializers.CharField(required=False)
    event_ids = serializers.ListField(
        child=serializers.UUIDField(), required=False, help_text="staff types: one a member of the group"
    )


class BulkBody(Body):
    events = TriggerBody(many=True, help_text=f"up to {BULK_LIMIT}")


class BulkResult(Body):
    index = serializers.IntegerField()
    status = serializers.CharField(help_text="the event's status, or REFUSED")
    event_id = serializers.UUIDField(required=False)
    event_ids = serializers.ListField(child=serializers.UUIDField(), required=False)
    error = serializers.DictField(required=False)


class BulkAnswer(Body):
    results = BulkResult(many=True)


class TriggerView(APIView):
    required_scopes: ClassVar = {"POST": "trigger"}

    @extend_schema(
        tags=["Triggers"],
        summary="Tell that something happened",
        request=TriggerBody,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="once per source")],
        responses={202: TriggerAnswer, 200: TriggerAnswer, **errors(400, 404, 409, 413)},
        examples=[
            example("A customer's order", ORDER_SHIPPED),
            example("A guest's order", {
                "eventType": "ORDER_PLACED",
                "recipient": {"email": "guest@mail.example", "locale": "de"},
                "metadata": {"orderId": "ORD124"},
            }),
            example("For staff", {"eventType": "FRAUD_ALERT", "metadata": {"orderId": "ORD123"}}),
            example("Recorded", {"eventId": EVENT_ID, "status": "QUEUED"}, answer=202),
        ],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """202 once the event is recorded for good; 200 with the same eventId when this trigger came before."""
        try:
            trigger = parse(request.data, idempotency_key=request.headers.get("Idempotency-Key"))
            if refusal := _forbidden(_caller(request), trigger):
                raise refusal
            recorded = record(trigger, _caller(request).source)
        except TriggerError as error:
            raise _refusal(error) from error
        tasks.ring()
        new = not recorded or any(event.created for event in recorded)
        return Response(_answer(trigger, recorded), status.HTTP_202_ACCEPTED if new else status.HTTP_200_OK)


class BulkTriggerView(APIView):
    required_scopes: ClassVar = {"POST": "trigger"}
    body_limit = BULK_BODY_LIMIT

    @extend_schema(
        tags=["Triggers"],
        summary=f"Tell of up to {BULK_LIMIT} at once",
        request=BulkBody,
        responses={202: BulkAnswer, **errors(400, 413)},
        examples=[
            example("Two events", {"events": [ORDER_SHIPPED, {"eventType": "ORDER_LOST"}]}),
            example("One of them refused", {"results": [
                {"index": 0, "status": "QUEUED", "eventId": EVENT_ID},
                {"index": 1, "status": "REFUSED", "error": {
                    "code": "INVALID", "message": "Unknown event type.", "fields": {"eventType": "Unknown event type."},
                }},
            ]}, answer=202),
        ],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """One result an event, in the order given. A refused one does not stop the others."""
        caller = _caller(request)
        parsed = [_parsed(body, caller) for body in _events(request.data)]
        accepted = [trigger for trigger in parsed if isinstance(trigger, Trigger)]
        outcomes = iter(record_many(accepted, caller.source))
        results = [_result(trigger, outcomes) for trigger in parsed]
        tasks.ring()
        numbered = [{"index": index, **result} for index, result in enumerate(results)]
        return Response({"results": numbered}, status.HTTP_202_ACCEPTED)


def _caller(request: Request) -> ApiKey:
    assert isinstance(request.auth, ApiKey)  # noqa: S101 - HasScope let nobody else through
    return request.auth


def _forbidden(caller: ApiKey, trigger: Trigger) -> ApiError | None:
    """The refusal of a type that the caller's key does not name."""
    if caller.may_trigger(trigger.event_type.name):
        return None
    message = f"This API key may not trigger {trigger.event_type.name}."
    return ApiError(status.HTTP_403_FORBIDDEN, "FORBIDDEN", message, {"eventType": message})


_STATUSES: dict[type[TriggerError], int] = {
    UnknownUser: status.HTTP_404_NOT_FOUND,
    KeyConflict: status.HTTP_409_CONFLICT,
}


def _refusal(error: TriggerError) -> ApiError:
    http_status = _STATUSES.get(type(error), status.HTTP_400_BAD_REQUEST)
    return ApiError(http_status, error.code, str(error), error.fields)


def _answer(trigger: Trigger, recorded: Sequence[Recorded]) -> dict[str, Any]:
    if trigger.event_type.audience is Audience.STAFF:
        return {"eventIds": [event.event_id for event in recorded]}
    return {"eventId": recorded[0].event_id, "status": recorded[0].status}


def _events(body: Any) -> list[Any]:
    if unknown := sorted(body.keys() - {"events"}):
        raise invalid(dict.fromkeys(unknown, "Unknown field."))
    events = body.get("events")
    if not isinstance(events, list) or not 0 < len(events) <= BULK_LIMIT:
        raise invalid({"events": f"Must be a list of 1 to {BULK_LIMIT} triggers."})
    return events


def _parsed(body: object, caller: ApiKey) -> Trigger | ApiError:
    if len(orjson.dumps(body)) > BODY_LIMIT:
        return too_large(BODY_LIMIT)
    try:
        trigger = parse(body)
    except TriggerError as error:
        return _refusal(error)
    return _forbidden(caller, trigger) or trigger


def _result(trigger: Trigger | ApiError, outcomes: Any) -> dict[str, Any]:
    if isinstance(trigger, ApiError):
        return {"status": "REFUSED", "error": trigger.body}
    outcome: list[Recorded] | TriggerError = next(outcomes)
    if isinstance(outcome, TriggerError):
        return {"status": "REFUSED", "error": _refusal(outcome).body}
    return {"status": outcome[0].status if outcome else "QUEUED", **_answer(trigger, outcome)}
