"""Triggers: something happened to an order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import tasks, throttle
from notifier.api.docs import errors, example
from notifier.api.errors import ApiError, invalid
from notifier.api.parsers import BULK_BODY_LIMIT
from notifier.api.serializers import Body, Id, Text
from notifier.callers import origin
from notifier.catalogue import Audience, event_types
from notifier.models import ApiKey
from notifier.record import Recorded, record, record_many
from notifier.throttle import Count, Grant
from notifier.trigger import KeyConflict, Trigger, TriggerError, UnknownUser, check_size, parse

BULK_LIMIT = 1000  # events

ORDER_SHIPPED = {
    "eventType": "ORDER_SHIPPED",
    "userId": "01931f6e-7d3a-7000-8000-000000000001",
    "metadata": {"orderId": "ORD123", "trackingUrl": "https://track.example/SHP-77120"},
}
EVENT_ID = "01931f6e-7d3a-7000-8000-0000000000e1"
KEY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255},
    OpenApiParameter.HEADER,
    description="once per source",
)


def _text(**options: Any) -> Text:
    return Text(required=False, allow_null=True, **options)


class GuestBody(Body):
    email = _text(allow_blank=True)
    phone = _text(allow_blank=True, help_text="with country code, as +49 151 12345678")
    locale = _text(allow_blank=True, help_text="as en or de-AT")
    time_zone = _text(allow_blank=True, help_text="an IANA name")


class TriggerBody(Body):
    """What a trigger looks like. It is for the documentation: notifier.record checks triggers of every origin."""

    event_type = serializers.ChoiceField(list(event_types()), help_text="a type of the event catalogue")
    user_id = Id(required=False, allow_null=True, help_text="whom a customer type is for")
    recipient = GuestBody(required=False, allow_null=True, help_text="a guest, in place of userId")
    metadata = serializers.DictField(required=False, help_text="orderId and what else the type asks for")
    idempotency_key = _text(max_length=255)


class TriggerAnswer(Body):
    event_id = serializers.UUIDField(required=False)
    status = serializers.CharField(required=False)
    event_ids = serializers.ListField(
        child=serializers.UUIDField(), required=False, help_text="staff types: one a member of the group"
    )


class BulkBody(Body):
    """A trigger that is not valid is refused alone, so anything may stand in the list."""

    events = serializers.ListField(
        child=serializers.JSONField(), min_length=1, max_length=BULK_LIMIT, help_text=f"triggers, up to {BULK_LIMIT}"
    )


class BulkResult(Body):
    index = serializers.IntegerField()
    status = serializers.CharField(help_text="the event's status, or REFUSED")
    new = serializers.BooleanField(required=False, help_text="false: this trigger came before")
    event_id = serializers.UUIDField(required=False)
    event_ids = serializers.ListField(child=serializers.UUIDField(), required=False)
    error = serializers.DictField(required=False)


class BulkAnswer(Body):
    results = BulkResult(many=True)


class TriggerView(APIView):
    required_scopes: ClassVar = {"POST": "trigger"}
    throttle_classes = ()  # the key is counted together with the recipient

    @extend_schema(
        tags=["Triggers"],
        summary="Tell that something happened",
        request=TriggerBody,
        parameters=[KEY_HEADER],
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
        caller = _caller(request)
        trigger = _parsed(_body(request), caller, origin(request), request.headers.get("Idempotency-Key"))
        _throttle(caller, trigger)
        if isinstance(trigger, ApiError):
            raise trigger
        try:
            recorded = record(trigger, caller.source)
        except TriggerError as error:
            raise refusal(error) from error
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
        came_from = origin(request)
        bodies = _events(request.data)
        parsed = _without_too_frequent([_parsed(body, caller, came_from, measured=False) for body in bodies])
        accepted = [trigger for trigger in parsed if isinstance(trigger, Trigger)]
        outcomes = iter(record_many(accepted, caller.source))
        results = [_result(trigger, outcomes) for trigger in parsed]
        tasks.ring()
        numbered = [{"index": index, **result} for index, result in enumerate(results)]
        return Response({"results": numbered}, status.HTTP_202_ACCEPTED)


def _caller(request: Request) -> ApiKey:
    assert isinstance(request.auth, ApiKey)  # noqa: S101 - HasScope let nobody else through
    return request.auth


def _body(request: Request) -> Any:
    """The body; one that cannot be read counts against its key all the same."""
    try:
        return request.data
    except (APIException, ApiError):
        _throttle(_caller(request))
        raise


def _throttle(caller: ApiKey, trigger: Trigger | ApiError | None = None) -> None:
    """Count a request by its key and, where it is a trigger, by its recipient. Raises ApiError, 429."""
    counts = [throttle.by_key(caller)]
    if isinstance(trigger, Trigger) and trigger.recipient_key:
        counts.append(Count("recipient", trigger.recipient_key))
    of_key, *of_recipient = throttle.take(counts)
    if not of_key.granted:
        raise _too_often("with this API key", of_key)
    if isinstance(trigger, Trigger) and not all(grant.granted for grant in of_recipient):
        raise _too_often_for(trigger, of_recipient[0])


def _too_often(by_whom: str, grant: Grant, *fields: str) -> ApiError:
    message = f"Too many requests {by_whom} ({grant.rate}). Try again in {math.ceil(grant.wait)} s."
    named = dict.fromkeys(fields, message)
    return ApiError(status.HTTP_429_TOO_MANY_REQUESTS, "RATE_LIMITED", message, named, retry_after=grant.wait)


def _too_often_for(trigger: Trigger, grant: Grant) -> ApiError:
    return _too_often("for this recipient", grant, "userId" if trigger.user_id else "recipient")


def _without_too_frequent(parsed: Sequence[Trigger | ApiError]) -> list[Trigger | ApiError]:
    """Count the recipients; of those that are named too often the first triggers stay."""
    counted = [trigger for trigger in parsed if isinstance(trigger, Trigger) and trigger.recipient_key]
    wanted = Counter(trigger.recipient_key for trigger in counted)
    grants = dict(zip(wanted, throttle.take([Count("recipient", *named) for named in wanted.items()]), strict=True))
    left = {name: grant.granted for name, grant in grants.items()}
    refused = {}
    for trigger in counted:
        left[trigger.recipient_key] -= 1
        if left[trigger.recipient_key] < 0:
            refused[id(trigger)] = _too_often_for(trigger, grants[trigger.recipient_key])
    return [refused.get(id(found), found) for found in parsed]


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


def refusal(error: TriggerError) -> ApiError:
    """The answer to a trigger that cannot be recorded."""
    http_status = _STATUSES.get(type(error), status.HTTP_400_BAD_REQUEST)  # too large was found by the bytes before
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


def _parsed(
    body: object, caller: ApiKey, came_from: Mapping[str, str], key: str | None = None, *, measured: bool = True
) -> Trigger | ApiError:
    try:
        if not measured:
            check_size(body)
        trigger = parse(body, idempotency_key=key, origin=came_from)
    except TriggerError as error:
        return refusal(error)
    return _forbidden(caller, trigger) or trigger


def _result(trigger: Trigger | ApiError, outcomes: Any) -> dict[str, Any]:
    if isinstance(trigger, ApiError):
        return {"status": "REFUSED", "error": trigger.body}
    outcome: list[Recorded] | TriggerError = next(outcomes)
    if isinstance(outcome, TriggerError):
        return {"status": "REFUSED", "error": refusal(outcome).body}
    new = not outcome or any(event.created for event in outcome)
    return {"status": outcome[0].status if outcome else "QUEUED", "new": new, **_answer(trigger, outcome)}
