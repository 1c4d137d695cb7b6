"""What people want to hear of, and how."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import tasks
from notifier.api.auth import check_own
from notifier.api.docs import USER_ID, errors, example
from notifier.api.errors import ApiError, invalid
from notifier.api.serializers import Body, Flag, Id, Text
from notifier.api.users import known_user
from notifier.catalogue import event_types
from notifier.models import Delivery
from preferences import people
from preferences.models import Preference, User

CLOCK_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
METHODS = ("GET", "POST", "PUT", "DELETE")
NO_SMS = {"userId": "01931f6e-7d3a-7000-8000-000000000001", "channel": "SMS", "enabled": False}


def _event_type(name: str) -> None:
    if name and name not in event_types():
        raise serializers.ValidationError(f"Unknown event type; there are {', '.join(event_types())}.")


def _known_channels() -> list[str]:
    return sorted({*settings.CHANNELS, *(c for kind in event_types().values() for c in kind.reachable_channels)})


def _channel(name: str) -> None:
    if name and name not in _known_channels():
        raise serializers.ValidationError(f"Unknown channel; there are {', '.join(_known_channels())}.")


class OneOrAll(Text):
    """A name; absent, null or empty mean all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(default="", allow_null=True, allow_blank=True, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation("" if data is None else data)


@extend_schema_field({"type": "string", "nullable": True, "enum": ["", *event_types(), None]})
class EventTypeOrAll(OneOrAll):
    pass


@extend_schema_field({"type": "string", "nullable": True, "enum": ["", *_known_channels(), None]})
class ChannelOrAll(OneOrAll):
    pass


class ChoiceBody(Body):
    event_type = EventTypeOrAll(validators=[_event_type], help_text="absent: every type")
    channel = ChannelOrAll(validators=[_channel], help_text="absent: every channel")
    enabled = Flag()


class PreferenceBody(ChoiceBody):
    user_id = Id()


class PreferencesBody(Body):
    user_id = Id()
    preferences = serializers.ListField(child=ChoiceBody(), min_length=1)


class PreferenceRow(Body):
    user_id = serializers.UUIDField()
    event_type = serializers.CharField()
    channel = serializers.CharField()
    enabled = serializers.BooleanField()


class PreferenceList(Body):
    results = PreferenceRow(many=True)
    next = serializers.CharField(allow_null=True)


@extend_schema_field({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"})
class ClockTime(serializers.TimeField):
    """Hours and minutes, as 22:00."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="%H:%M", input_formats=["%H:%M"], **options)

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str) or not CLOCK_TIME.fullmatch(value):  # strptime takes 7:5 too
            self.fail("invalid", format="hh:mm")
        return super().to_internal_value(value)


class QuietHoursBody(Body):
    """Both null: none."""

    user_id = Id()
    from_ = ClockTime(allow_null=True, source="quiet_from")
    until = ClockTime(allow_null=True, source="quiet_until")


class QuietHoursAnswer(QuietHoursBody):
    user_id = Id(source="id")
    time_zone = serializers.CharField(help_text="by whose clocks")


class UserQuery(Body):
    user_id = Id()


class PreferencesView(APIView):
    required_scopes: ClassVar = dict.fromkeys(METHODS, "preferences")
    customers_may: ClassVar = METHODS

    @extend_schema(
        tags=["Preferences"],
        summary="A person's choices",
        parameters=[USER_ID],
        responses={200: PreferenceList, **errors(400, 404)},
    )
    def get(self, request: Request) -> Response:
        """What is not listed is on."""
        return _rows(list(_user(request).preferences.order_by("event_type", "channel")))

    @extend_schema(
        tags=["Preferences"],
        summary="Make one choice",
        request=PreferenceBody,
        responses={200: PreferenceRow, **errors(400, 404, 409, 413)},
        examples=[
            example("No SMS at all", NO_SMS),
            example("One type by mail", NO_SMS | {"eventType": "ORDER_PACKED"}),
        ],
    )
    def post(self, request: Request) -> Response:
        """Turning off what is mandatory is answered by 409 MANDATORY."""
        choice = PreferenceBody.read(request.data)
        (row,) = _choose(request, choice["user_id"], [choice])
        return Response(PreferenceRow(row).data)

    @extend_schema(
        tags=["Preferences"],
        summary="Make many choices",
        request=PreferencesBody,
        responses={200: PreferenceList, **errors(400, 404, 409, 413)},
        examples=[example("Two", {
            "userId": NO_SMS["userId"],
            "preferences": [{"channel": "SMS", "enabled": False}, {"eventType": "ORDER_PACKED", "enabled": False}],
        })],
    )  # fmt: skip
    def put(self, request: Request) -> Response:
        """All of them or none. Choices that are not named stay."""
        body = PreferencesBody.read(request.data)
        return _rows(_choose(request, body["user_id"], body["preferences"]))

    @extend_schema(
        tags=["Preferences"],
        summary="Back to the defaults",
        parameters=[USER_ID],
        responses={204: None, **errors(400, 404)},
    )
    def delete(self, request: Request) -> Response:
        _user(request).preferences.all().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class QuietHoursView(APIView):
    required_scopes: ClassVar = {"GET": "preferences", "PUT": "preferences"}
    customers_may: ClassVar = {"GET", "PUT"}

    @extend_schema(
        tags=["Preferences"],
        summary="A person's quiet hours",
        parameters=[USER_ID],
        responses={200: QuietHoursAnswer, **errors(400, 404)},
    )
    def get(self, request: Request) -> Response:
        return Response(QuietHoursAnswer(_user(request)).data)

    @extend_schema(
        tags=["Preferences"],
        summary="Set a person's quiet hours",
        request=QuietHoursBody,
        responses={200: QuietHoursAnswer, **errors(400, 404, 413)},
        examples=[
            example("At night", {"userId": NO_SMS["userId"], "from": "22:00", "until": "07:00"}),
            example("None", {"userId": NO_SMS["userId"], "from": None, "until": None}),
        ],
    )
    def put(self, request: Request) -> Response:
        """Each day from one time until the other, by the clocks of the person's time zone; past midnight where the end
        is the earlier one. Meanwhile nothing that is not urgent disturbs them: it is held, and goes out at the end.

        What is held already goes by the new hours."""
        body = QuietHoursBody.read(request.data)
        user = own_user(request, body["user_id"])
        try:
            people.set_quiet_hours(user, body["quiet_from"], body["quiet_until"])
        except ValidationError as error:
            raise invalid({"until": " ".join(error.messages)}) from error
        if Delivery.objects.ask_again(user.id):
            tasks.ring()
        return Response(QuietHoursAnswer(user).data)


def own_user(request: Request, user_id: UUID) -> User:
    """The user, or 404; 403 where the caller is another customer."""
    check_own(request, user_id)
    return known_user(user_id)


def _user(request: Request) -> User:
    return own_user(request, UserQuery.read(request.query_params.dict())["user_id"])


def _rows(rows: list[Preference]) -> Response:
    return Response({"results": PreferenceRow(rows, many=True).data, "next": None})


def _choose(request: Request, user_id: UUID, choices: list[dict[str, Any]]) -> list[Preference]:
    user = own_user(request, user_id)
    wanted = {(choice["event_type"], choice["channel"]): choice["enabled"] for choice in choices}
    for (event_type, channel), enabled in wanted.items():
        if not enabled:
            _refuse_if_mandatory(event_type, channel)
    return people.choose(user, wanted)


def _refuse_if_mandatory(event_type: str, channel: str) -> None:
    """A choice is refused where nothing that it names can be turned off; a wider one leaves the mandatory on."""
    kind = event_types().get(event_type)
    if kind and {channel} - {""} <= kind.mandatory and (channel or set(kind.channels) <= kind.mandatory):
        what = f"{kind.name} by {channel}" if channel else kind.name
        field = "channel" if channel else "eventType"
        raise ApiError(status.HTTP_409_CONFLICT, "MANDATORY", f"{what} cannot be turned off.", {field: "Mandatory."})
