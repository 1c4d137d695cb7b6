"""What became of an event: its deliveries, their attempts, and every decision in order."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier.api.docs import errors
from notifier.api.errors import not_found
from notifier.api.serializers import Body, PageQuery, Pages, Text
from notifier.models import NotificationEvent
from notifier.timeline import timeline, whole_events


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
    deliveries = DeliveryBody(many=True)
    decisions = DecisionBody(many=True, source="timeline")

    def to_representation(self, instance: NotificationEvent) -> dict[str, Any]:
        instance.timeline = timeline(instance)  # type: ignore[attr-defined] # read by `decisions` alone
        return super().to_representation(instance)


class EventQuery(PageQuery):
    order_id = Text(max_length=100)


class EventPages(Pages):
    ordering = ("-recorded_at", "-id")


class EventView(APIView):
    required_scopes: ClassVar = {"GET": "read"}

    @extend_schema(tags=["Events"], summary="One event", responses={200: EventBody, **errors(404)})
    def get(self, _request: Request, event_id: UUID) -> Response:
        event = whole_events().filter(id=event_id).first()
        if event is None:
            raise not_found("event")
        return Response(EventBody(event).data)


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
        return pages.get_paginated_response(EventBody(page, many=True).data)
