"""What staff are to see to."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import alerts
from notifier.api.docs import errors, example
from notifier.api.errors import not_found
from notifier.api.serializers import Body, Flag, PageQuery, Pages
from notifier.models import Alert, ApiKey

ROW = {
    "alertId": "01920000-0000-7000-8000-0000000000a1",
    "eventType": "CHANNEL_DEGRADED",
    "subject": "SMS:twilio",
    "text": "SMS by twilio: breaker open: 10 of 10 calls failed in 10 s",
    "openedAt": "2026-11-30T23:15:00Z",
    "healedAt": None,
    "acknowledgedAt": None,
    "acknowledgedBy": "",
}


class AlertQuery(PageQuery):
    open = Flag(required=False, help_text="true: only what has neither healed nor been acknowledged")

    def to_internal_value(self, data: object) -> object:
        """A query string holds text."""
        given = dict(data) if isinstance(data, dict) else {}
        if given.get("open") in ("true", "false"):
            given["open"] = given["open"] == "true"
        return super().to_internal_value(given)


class AlertRow(Body):
    alert_id = serializers.UUIDField(source="id")
    event_type = serializers.CharField(source="kind", help_text="the staff event type that tells of it")
    subject = serializers.CharField(help_text="CHANNEL:provider, or the id of the event that opened it")
    text = serializers.CharField()
    opened_at = serializers.DateTimeField()
    healed_at = serializers.DateTimeField(allow_null=True)
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = serializers.CharField()


class AlertPages(Pages):
    ordering = ("-opened_at", "-id")


class AlertsView(APIView):
    required_scopes: ClassVar = {"GET": "read"}
    pagination_class = AlertPages

    @extend_schema(
        operation_id="alerts",
        tags=["Alerts"],
        summary="Alerts, newest first",
        parameters=[AlertQuery],
        responses={200: AlertRow(many=True), **errors(400)},
    )
    def get(self, request: Request) -> Response:
        wanted = AlertQuery.read(request.query_params.dict())
        found = alerts.open_alerts() if wanted.get("open") else Alert.objects.all()
        pages = self.pagination_class()
        page = pages.paginate_queryset(found, request, view=self)
        return pages.get_paginated_response(AlertRow(page, many=True).data)


class AcknowledgeView(APIView):
    required_scopes: ClassVar = {"POST": "admin"}

    @extend_schema(
        tags=["Alerts"],
        summary="Take an alert on",
        request=None,
        responses={200: AlertRow, **errors(404)},
        examples=[example("Taken on", {**ROW, "acknowledgedBy": "key oncall"}, answer=200)],
    )
    def post(self, request: Request, alert_id: UUID) -> Response:
        """Nobody else is told of it. What was acknowledged before, or has healed, stays as it is."""
        alerts.acknowledge([alert_id], f"key {request.auth.name}" if isinstance(request.auth, ApiKey) else "a key")
        row = Alert.objects.filter(id=alert_id).first()
        if row is None:
            raise not_found("alert")
        return Response(AlertRow(row).data)
