"""What became of an event: the answer in a sentence, its deliveries, their attempts, and every decision in order.

No address stands in a URL, which servers and proxies write into their logs: by an address events are looked up by a
POST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier.api.docs import errors, example
from notifier.api.errors import not_found
from notifier.api.serializers import LONGEST_PAGE, Body, Id, PageQuery, Pages, Text
from notifier.models import NotificationEvent
from notifier.querysets.events import Sought
from notifier.story import Story, by_email, by_phone, page_of, stories
from notifier.timeline import whole_events


class AttemptBody(Body):
    number = serializers.IntegerField()
    address_id = serializers.CharField(help_text="the device, for push")
    provider = serializers.CharField()
    outcome = serializers.CharField()
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    code = serializers.CharField(help_text="the provider's own")
    http_status = serializers.IntegerField(allow_null=True)
    detail = serializers.CharField()
    provider_message_id = serializers.CharField()
    maybe_duplicate = serializers.BooleanField()
    template = serializers.CharField(help_text="what rendered it: v12 is a version, f:… a file; empty: not known")
    duration_ms = serializers.IntegerField(
        allow_null=True, help_text="from the call to its outcome; null: it never ended"
    )


class DeliveryBody(Body):
    delivery_id = serializers.UUIDField(source="id")
    channel = serializers.CharField()
    status = serializers.CharField()
    skip_reason = serializers.CharField()
    hold_reason = serializers.CharField()
    fallback_of = serializers.CharField(help_text="the channel it stands in for")
    detail = serializers.CharField()
    provider = serializers.CharField()
    provider_message_id = serializers.CharField()
    due_at = serializers.DateTimeField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    attempts = AttemptBody(many=True)


class DecisionBody(Body):
    at = serializers.DateTimeField()
    decision = serializers.CharField()
    channel = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    detail = serializers.CharField(allow_blank=True)
    until = serializers.DateTimeField(allow_null=True, help_text="of BREAKER_OPEN: when it closed; null: no end known")
    dead_letter_id = serializers.UUIDField(
        source="letter.id", default=None, allow_null=True, help_text="of FAILED: what can be replayed"
    )


class EventBody(Body):
    event_id = serializers.UUIDField(source="id")
    event_type = serializers.CharField()
    order_id = serializers.CharField()
    user_id = serializers.UUIDField(allow_null=True)
    source_ = serializers.CharField()
    origin = serializers.DictField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="from where it came: ip and requestId, task, or the place on a bus",
    )
    status = serializers.CharField()
    recorded_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    answer = serializers.CharField(help_text="did it reach them, and if not, why: a sentence for people")
    deliveries = DeliveryBody(many=True)
    decisions = DecisionBody(many=True)

    @classmethod
    def of(cls, events: Sequence[NotificationEvent]) -> list[dict[str, Any]]:
        """Bodies of events as whole_events gives them."""
        return [cls(_Row(story)).data for story in stories(events)]


class _Row:
    """A story as one object: an event's own fields, its answer and its decisions."""

    def __init__(self, story: Story) -> None:
        self._event, self.answer, self.decisions = story.event, story.answer, story.decisions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)


class EventQuery(PageQuery):
    order_id = Text(max_length=100)


class SearchBody(Body):
    """One of the four says whose."""

    order_id = Text(max_length=100, required=False)
    user_id = Id(required=False)
    email = Text(max_length=254, required=False, help_text="of users and of guests")
    phone = Text(max_length=40, required=False, help_text="with its country code, however it is written")
    cursor = Id(required=False, help_text="what `next` of the page before has")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=LONGEST_PAGE, default=Pages.page_size)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named = attrs.keys() & {"order_id", "user_id", "email", "phone"}
        if len(named) != 1:
            raise serializers.ValidationError({"orderId": ["Give one of orderId, userId, email and phone."]})
        try:
            found = _sought(named.pop(), attrs)
        except ValidationError as error:
            raise serializers.ValidationError({"phone": error.messages}) from error
        return attrs | {"sought": found}


def _sought(name: str, attrs: Mapping[str, Any]) -> Sought:
    match name:
        case "order_id":
            return Sought(order_id=attrs["order_id"])
        case "user_id":
            return Sought(user_ids=(attrs["user_id"],))
        case "email":
            return by_email(attrs["email"].strip())
    return by_phone(attrs["phone"])


class EventsFound(Body):
    results = EventBody(many=True)
    next = serializers.UUIDField(allow_null=True, help_text="`cursor` of the next page; null on the last")


class EventPages(Pages):
    ordering = ("-recorded_at", "-id")


class EventView(APIView):
    required_scopes: ClassVar = {"GET": "read"}

    @extend_schema(tags=["Events"], summary="One event", responses={200: EventBody, **errors(404)})
    def get(self, _request: Request, event_id: UUID) -> Response:
        event = whole_events().filter(id=event_id).first()
        if event is None:
            raise not_found("event")
        return Response(EventBody.of([event])[0])


class EventsView(APIView):
    required_scopes: ClassVar = {"GET": "read"}
    pagination_class = EventPages

    @extend_schema(
        operation_id="events_of_an_order",
        tags=["Events"],
        summary="The events of an order, newest first",
        parameters=[EventQuery],
        responses={200: EventBody(many=True), **errors(400)},
    )
    def get(self, request: Request) -> Response:
        order_id = EventQuery.read(request.query_params.dict())["order_id"]
        pages = self.pagination_class()
        page = pages.paginate_queryset(whole_events().of_order(order_id), request, view=self)
        return pages.get_paginated_response(EventBody.of(page or []))


class EventSearchView(APIView):
    required_scopes: ClassVar = {"POST": "read"}

    @extend_schema(
        tags=["Events"],
        summary="The events of an order or a person, newest first",
        request=SearchBody,
        responses={200: EventsFound, **errors(400, 413)},
        examples=[
            example("A guest or a customer", {"phone": "+49 151 12345678"}),
            example("The next page", {"email": "ada@mail.example", "cursor": "0199d7c2-5d0a-7c44-9a5e-0242ac120002"}),
            example("Nobody", {"results": [], "next": None}, answer=200),
        ],
    )
    def post(self, request: Request) -> Response:
        """By POST, so that no address gets into the logs of servers and proxies. The person's own and a guest's
        events with this address; a cursor whose event is gone has no further page."""
        wanted = SearchBody.read(request.data)
        cursor = wanted.get("cursor")
        events, older = page_of(wanted["sought"], older_than=str(cursor or ""), limit=wanted["limit"])
        return Response({"results": EventBody.of(events), "next": older or None})
