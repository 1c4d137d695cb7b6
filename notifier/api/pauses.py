"""What operators have paused: a channel, a provider or an event type."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import pauses
from notifier.api.docs import errors, example
from notifier.api.errors import not_found
from notifier.api.serializers import Body, Text
from notifier.models import Pause

#: as in addresses
KINDS = {"channel": Pause.Kind.CHANNEL, "provider": Pause.Kind.PROVIDER, "event-type": Pause.Kind.EVENT_TYPE}
ROW = {"kind": "channel", "name": "SMS", "reason": "twilio is slow", "pausedAt": "2026-11-30T23:15:00Z"}


class PauseBody(Body):
    reason = Text(max_length=200, required=False, default="", allow_blank=True, help_text="for people")


class PauseRow(Body):
    kind = serializers.SerializerMethodField()
    name = serializers.CharField(help_text="a channel, an event type, or CHANNEL:provider")
    reason = serializers.CharField()
    paused_at = serializers.DateTimeField()

    def get_kind(self, pause: Pause) -> str:
        return next(word for word, kind in KINDS.items() if kind == pause.kind)


class PausesFound(Body):
    results = PauseRow(many=True)
    next = serializers.CharField(allow_null=True)


class PausesView(APIView):
    required_scopes: ClassVar = {"GET": "read"}

    @extend_schema(
        operation_id="pauses",
        tags=["Pauses"],
        summary="What is paused",
        responses={200: PausesFound, **errors()},
        examples=[example("One channel", {"results": [ROW], "next": None}, answer=200)],
    )
    def get(self, _request: Request) -> Response:
        """All of it, on one page: there are no more than channels, providers and event types."""
        found = Pause.objects.order_by("-paused_at", "kind", "name")
        return Response({"results": PauseRow(found, many=True).data, "next": None})


class PauseView(APIView):
    required_scopes: ClassVar = {"PUT": "admin", "DELETE": "admin"}

    @extend_schema(
        tags=["Pauses"],
        summary="Pause",
        request=PauseBody,
        responses={200: PauseRow, 201: PauseRow, **errors(400, 404, 413)},
        examples=[example("Why", {"reason": "twilio is slow"}), example("Paused", ROW, answer=201)],
    )
    def put(self, request: Request, kind: str, name: str) -> Response:
        """What would go there waits from a second later on, and expires by its type's time to live. While a provider is
        paused, the channel's others serve. 200 where it was paused before: then the reason is set anew.
        """
        reason = PauseBody.read(request.data)["reason"]
        try:
            row, created = pauses.pause(_kind(kind), name, reason)
        except pauses.UnknownNameError as error:
            raise not_found(kind.replace("-", " "), "name", str(error)) from None
        return Response(PauseRow(row).data, status.HTTP_201_CREATED if created else status.HTTP_200_OK)

    @extend_schema(tags=["Pauses"], summary="Resume", responses={204: None, **errors(404)})
    def delete(self, _request: Request, kind: str, name: str) -> Response:
        """What waited goes out within some ten seconds, spread over twenty."""
        if not pauses.resume(_kind(kind), name):
            raise not_found("pause")
        return Response(status=status.HTTP_204_NO_CONTENT)


def _kind(word: str) -> str:
    if word not in KINDS:
        raise not_found("kind", "kind", f"There is no {word}; there are {', '.join(KINDS)}.")
    return KINDS[word]
