"""What could not be delivered or read, and another try at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import tasks
from notifier.api.docs import errors, example
from notifier.api.errors import invalid
from notifier.api.serializers import Body, Flag, Id, PageQuery, Pages, Text
from notifier.models import DeadLetter
from notifier.querysets.dead_letters import Filter
from notifier.replay import EXPLAINED, problems, replay
from notifier.states import DeadLetterStatus

REPLAY_LIMIT = 1000  # dead letters
_REASONS = "; ".join(f"`{reason}`: {text}" for reason, text in EXPLAINED.items())
_API_NAMES = {"event_types": "eventType", "channels": "channel", "until": "until"}


class DeadLetterQuery(PageQuery):
    status = serializers.ChoiceField(DeadLetterStatus.choices, default=DeadLetterStatus.OPEN)
    channel = Text(required=False)
    event_type = Text(required=False)
    cause = Text(required=False)
    since = serializers.DateTimeField(required=False, help_text="written down then or later")
    until = serializers.DateTimeField(required=False, help_text="written down before")


class DeadLetterRow(Body):
    id = serializers.UUIDField()
    event_id = serializers.UUIDField(source="delivery.event_id", default=None)
    delivery_id = serializers.UUIDField(allow_null=True)
    source_ = serializers.CharField(help_text="of a trigger that was refused")
    event_type = serializers.CharField()
    channel = serializers.CharField()
    cause = serializers.CharField()
    last_error = serializers.CharField()
    origin = serializers.JSONField(help_text="of a bus's message: its place, and the headers that it is read by")
    status = serializers.CharField()
    created_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class ReplayBody(Body):
    """Either `ids`, or one or more filters, or `all`."""

    ids = serializers.ListField(
        child=Id(),
        min_length=1,
        max_length=REPLAY_LIMIT,
        required=False,
        help_text="in place of filters",
    )
    cause = Text(required=False)
    event_type = Text(required=False)
    channel = Text(required=False)
    since = serializers.DateTimeField(required=False, help_text="written down then or later")
    until = serializers.DateTimeField(required=False, help_text="written down before")
    all = Flag(default=False, help_text="without any filter: every open dead letter")
    dry_run = Flag(default=False, help_text="count, and send nothing")
    force = Flag(default=False, help_text="also what is REACHED, SUPERSEDED or EXPIRED")
    limit = serializers.IntegerField(
        min_value=1, max_value=REPLAY_LIMIT, default=REPLAY_LIMIT, help_text="replay about so many, the oldest first"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        filters = sorted(attrs.keys() & {"cause", "event_type", "channel", "since", "until"})
        if "ids" in attrs and (filters or attrs["all"]):
            raise serializers.ValidationError({"ids": ["Give either ids or filters."]})
        if "ids" not in attrs and not filters and not attrs["all"]:
            problem = 'Give ids, or a filter (cause, eventType, channel, since, until), or "all": true.'
            raise serializers.ValidationError({"ids": [problem]})
        return attrs


class ReplayAnswer(Body):
    replayed = serializers.IntegerField(help_text="how many dead letters are due again, or would be")
    left_out = serializers.DictField(
        child=serializers.IntegerField(), help_text=f"how many stay, by reason. {_REASONS}"
    )
    dry_run = serializers.BooleanField()
    more = serializers.BooleanField(help_text="the limit ended it: ask again for the rest")


class DeadLetterPages(Pages):
    ordering = ("-created_at", "-id")


class DeadLettersView(APIView):
    required_scopes: ClassVar = {"GET": "read"}
    pagination_class = DeadLetterPages

    @extend_schema(
        operation_id="dead_letters",
        tags=["Dead letters"],
        summary="Dead letters, newest first",
        parameters=[DeadLetterQuery],
        responses={200: DeadLetterRow(many=True), **errors(400)},
    )
    def get(self, request: Request) -> Response:
        wanted = DeadLetterQuery.read(request.query_params.dict())
        lookups = {"since": "created_at__gte", "until": "created_at__lt"}
        filters = {lookups.get(name, name): value for name, value in wanted.items() if name not in {"cursor", "limit"}}
        pages = self.pagination_class()
        letters = DeadLetter.objects.filter(**filters).select_related("delivery")
        return pages.get_paginated_response(
            DeadLetterRow(pages.paginate_queryset(letters, request, view=self), many=True).data
        )


class ReplayView(APIView):
    required_scopes: ClassVar = {"POST": "admin"}

    @extend_schema(
        tags=["Dead letters"],
        summary="Try again",
        request=ReplayBody,
        responses={200: ReplayAnswer, **errors(400, 413)},
        examples=[
            example("One", {"ids": ["01931f6e-7d3a-7000-8000-0000000000d1"]}),
            example(
                "What would go after an outage",
                {"channel": "SMS", "cause": "ProviderUnavailable", "since": "2026-11-24T08:00:00Z", "dryRun": True},
            ),
            example("Everything", {"all": True}),
            example(
                "Some were too late",
                {"replayed": 912, "leftOut": {"EXPIRED": 70, "REACHED": 18}, "dryRun": False, "more": False},
                answer=200,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """What nobody needs any more stays, with its reason. The others go one after the other, at a capped rate."""
        body = ReplayBody.read(request.data)
        wanted = _filter(body)
        if found := problems(wanted):
            raise invalid({_API_NAMES[name]: problem for name, problem in found.items()})
        report = replay(wanted, force=body["force"], dry_run=body["dry_run"], limit=body["limit"])
        if report.replayed and not body["dry_run"]:
            tasks.ring()
        answer = {
            "replayed": report.replayed,
            "leftOut": report.left_out,
            "dryRun": body["dry_run"],
            "more": report.more,
        }
        return Response(answer)


def _filter(body: Mapping[str, Any]) -> Filter:
    def given(name: str) -> tuple[str, ...]:
        return (body[name],) if name in body else ()

    return Filter(
        ids=body.get("ids"),
        causes=given("cause"),
        event_types=given("event_type"),
        channels=given("channel"),
        since=body.get("since"),
        until=body.get("until"),
    )
