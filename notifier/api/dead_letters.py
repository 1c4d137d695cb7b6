"""What could not be delivered or read, and another try at it."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import tasks
from notifier.api.docs import errors, example
from notifier.api.serializers import Body, Pages
from notifier.models import DeadLetter
from notifier.replay import replay
from notifier.states import DeadLetterStatus

REPLAY_LIMIT = 1000  # dead letters


class DeadLetterQuery(Body):
    status = serializers.ChoiceField(DeadLetterStatus.choices, default=DeadLetterStatus.OPEN)
    channel = serializers.CharField(required=False)
    event_type = serializers.CharField(required=False)
    cause = serializers.CharField(required=False)
    cursor = serializers.CharField(required=False)
    limit = serializers.IntegerField(required=False)


class DeadLetterRow(Body):
    id = serializers.UUIDField()
    event_id = serializers.UUIDField(source="delivery.event_id", default=None)
    delivery_id = serializers.UUIDField(allow_null=True)
    source_ = serializers.CharField(help_text="of a trigger that was refused")
    event_type = serializers.CharField()
    channel = serializers.CharField()
    cause = serializers.CharField()
    last_error = serializers.CharField()
    status = serializers.CharField()
    created_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class ReplayBody(Body):
    ids = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=REPLAY_LIMIT)


class ReplayAnswer(Body):
    replayed = serializers.IntegerField(help_text="how many events are due again")


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
        filters = {name: value for name, value in wanted.items() if name not in {"cursor", "limit"}}
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
        examples=[example("One", {"ids": ["01931f6e-7d3a-7000-8000-0000000000d1"]})],
    )
    def post(self, request: Request) -> Response:
        """What is past its time to live, or was replayed before, stays as it is."""
        replayed = replay(ReplayBody.read(request.data)["ids"])
        tasks.ring()
        return Response({"replayed": replayed})
