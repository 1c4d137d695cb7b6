"""The order service's list against the ledger: of which orders was nobody told? And record what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import tasks
from notifier.api.docs import errors, example
from notifier.api.errors import invalid
from notifier.api.parsers import BULK_BODY_LIMIT
from notifier.api.serializers import Body, Flag, Text
from notifier.callers import origin
from notifier.models import ApiKey
from notifier.order_list import BadLine, ListError, checked, states
from notifier.reconcile_orders import BATCH, GRACE, Answer, Finding, Outcome, Terms, reconcile

LONGEST_GRACE = 30 * 24 * 60  # minutes
MINUTE = timedelta(minutes=1)
SHIPPED = {
    "orderId": "ORD123",
    "state": "shipped",
    "time": "2026-11-25T08:00:00Z",
    "userId": "01931f6e-7d3a-7000-8000-000000000001",
    "metadata": {"trackingUrl": "https://track.example/SHP-77120"},
}
FOUND = {
    "index": 0,
    "orderId": "ORD123",
    "eventType": "ORDER_SHIPPED",
    "finding": "BEHIND",
    "lastEventType": "ORDER_CONFIRMED",
    "outcome": "RECORDABLE",
    "fields": {},
}
UNKNOWN = {"index": 1, "finding": "UNREADABLE", "fields": {"state": "Unknown state 'packd'."}}


class ReconcileBody(Body):
    orders = serializers.ListField(
        child=serializers.JSONField(allow_null=True),
        min_length=1,
        max_length=BATCH,
        help_text=f"up to {BATCH}: orderId, state, time; where known userId or recipient, and metadata",
    )
    states = serializers.DictField(
        child=Text(allow_blank=True),
        default=dict,
        help_text="your words for states -> event type; empty: nobody is told",
    )
    grace_minutes = serializers.IntegerField(
        min_value=0, max_value=LONGEST_GRACE, default=GRACE // MINUTE, help_text="what is younger is not missing yet"
    )


class RecordBody(ReconcileBody):
    force = Flag(default=False, help_text="also what is older than its type's time to live")


class FindingBody(Body):
    index = serializers.IntegerField()
    order_id = serializers.CharField(required=False)
    event_type = serializers.CharField(required=False)
    finding = serializers.ChoiceField([Answer.MISSING, Answer.BEHIND, Answer.UNREADABLE])
    last_event_type = serializers.CharField(required=False, help_text="the order's latest, where it has one")
    outcome = serializers.ChoiceField(list(Outcome), required=False)
    fields_ = serializers.DictField(child=serializers.CharField(), help_text="why it is left out, by field")


class ReconcileAnswer(Body):
    results = FindingBody(many=True)
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="how many of each finding and outcome")


class ReconcileView(APIView):
    required_scopes: ClassVar = {"POST": "read"}
    body_limit = BULK_BODY_LIMIT

    @extend_schema(
        tags=["Reconciliation"],
        summary=f"Of which of up to {BATCH} orders was nobody told?",
        request=ReconcileBody,
        responses={200: ReconcileAnswer, **errors(400, 413)},
        examples=[
            example("Two orders, and a word of the shop's", {"orders": [
                SHIPPED,
                {"orderId": "ORD124", "state": "paid", "time": "2026-11-25T08:00:00Z"},
            ], "states": {"paid": "ORDER_CONFIRMED"}}),
            example("One is behind", {"results": [FOUND, UNKNOWN], "counts": {"TOLD": 3, "BEHIND": 1, "RECORDABLE": 1,
                                                                             "UNREADABLE": 1}}, answer=200),
        ],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Changes nothing. `results` has the orders that want a look: MISSING (no event of the order was recorded),
        BEHIND (others were, none for this state) and UNREADABLE. A bad one does not stop the others."""
        return _answer(ReconcileBody.read(request.data))


class RecordView(APIView):
    required_scopes: ClassVar = {"POST": "trigger"}
    body_limit = BULK_BODY_LIMIT

    @extend_schema(
        tags=["Reconciliation"],
        summary="Record what is missing",
        request=RecordBody,
        responses={200: ReconcileAnswer, **errors(400, 413)},
        examples=[
            example("One", {"orders": [SHIPPED]}),
            example("Recorded", {"results": [FOUND | {"outcome": "RECORDED"}], "counts": {"BEHIND": 1, "RECORDED": 1}},
                    answer=200),
        ],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """The same, and records the events that are missing, from the source `reconcile` with a key of order and type:
        once, however often it is called. What is older than its type's time to live is left out, unless `force`."""
        caller = request.auth
        assert isinstance(caller, ApiKey)  # noqa: S101 - HasScope let nobody else through
        body = RecordBody.read(request.data)
        return _answer(body, record=True, origin=origin(request), may_trigger=caller.may_trigger)


def _answer(body: Mapping[str, Any], **terms: Any) -> Response:
    try:
        words = states(body["states"])
    except ListError as error:
        raise invalid({"states": str(error)}) from error
    lines = [checked(index, row, words) for index, row in enumerate(body["orders"])]
    grace = timedelta(minutes=body["grace_minutes"])
    report = reconcile(lines, Terms(grace=grace, force=body.get("force", False), **terms))
    if report.counts[Outcome.RECORDED]:
        tasks.ring()
    return Response({"results": [_row(found) for found in report.findings], "counts": dict(report.counts)})


def _row(found: Finding | BadLine) -> dict[str, Any]:
    if isinstance(found, BadLine):
        return {"index": found.line, "finding": Answer.UNREADABLE, "fields": found.fields}
    row = {
        "index": found.line,
        "orderId": found.state.order_id,
        "eventType": found.state.event_type.name,
        "finding": found.answer,
        "outcome": found.outcome,
        "fields": found.fields,
    }
    return row | ({"lastEventType": found.last} if found.last else {})
