"""People and their devices, as the shop tells us of them."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import tasks
from notifier.api.docs import errors, example
from notifier.api.errors import ApiError, flat, invalid, not_found
from notifier.api.parsers import BULK_BODY_LIMIT
from notifier.api.serializers import Body, Id, Text, camel
from notifier.erasure import erase
from notifier.export import export, holds_nothing
from notifier.querysets.events import Person
from preferences import people, tokens
from preferences.models import Platform, User
from preferences.tokens import Purpose

BULK_LIMIT = 1000  # users

CUSTOMER = {
    "email": "ada@mail.example",
    "phone": "+49 151 12345678",
    "locale": "de",
    "timeZone": "Europe/Berlin",
}


A_TOKEN = dict(zip(("token", "expiresAt"), ("0192….api.…", "2026-11-25T11:00:00Z"), strict=True))


def _text(**options: Any) -> Text:
    return Text(required=False, allow_null=True, allow_blank=True, **options)


class UserBody(Body):
    """Absent fields stay as they are, null clears."""

    email = _text(max_length=254)
    phone = _text(max_length=40, help_text="with country code; kept in E.164")
    locale = _text(max_length=16, help_text="as en or de-AT")
    time_zone = _text(max_length=64, help_text="an IANA name, as Europe/Berlin")


class UserAnswer(Body):
    user_id = serializers.UUIDField(source="id")
    email = serializers.CharField()
    phone = serializers.CharField()
    locale = serializers.CharField()
    time_zone = serializers.CharField()


class BulkUser(UserBody):
    user_id = Id()


class BulkUsersBody(Body):
    users = serializers.ListField(
        child=serializers.DictField(), min_length=1, max_length=BULK_LIMIT, help_text=f"up to {BULK_LIMIT}"
    )


class BulkUserResult(Body):
    index = serializers.IntegerField()
    status = serializers.ChoiceField(["CREATED", "UPDATED", "REFUSED"])
    user_id = serializers.UUIDField(required=False)
    error = serializers.DictField(required=False)


class BulkUsersAnswer(Body):
    results = BulkUserResult(many=True)


class TokenAnswer(Body):
    token = serializers.CharField()
    expires_at = serializers.DateTimeField()


class ExportAnswer(Body):
    format = serializers.IntegerField(help_text="counts up when a field changes its meaning or goes")
    exported_at = serializers.DateTimeField()
    user_id = serializers.UUIDField()
    person = serializers.DictField(allow_null=True)
    devices = serializers.ListField(child=serializers.DictField())
    preferences = serializers.ListField(child=serializers.DictField())
    suppressed_addresses = serializers.ListField(child=serializers.DictField())
    events = serializers.ListField(child=serializers.DictField())
    inbox = serializers.ListField(child=serializers.DictField())
    refused_triggers = serializers.ListField(child=serializers.DictField())


class DeviceBody(Body):
    platform = serializers.ChoiceField(Platform.choices, default=Platform.ANDROID)


class DeviceAnswer(Body):
    device_id = serializers.UUIDField(source="id", help_text="names the device in attempts")
    user_id = serializers.UUIDField()
    platform = serializers.CharField()


def known_user(user_id: UUID, field: str = "userId") -> User:
    """The user, or 404."""
    user = User.objects.filter(id=user_id).first()
    if user is None:
        raise not_found("user", field)
    return user


class UserView(APIView):
    required_scopes: ClassVar = {"PUT": "admin", "DELETE": "admin"}

    @extend_schema(
        tags=["Users"],
        summary="Save a person",
        request=UserBody,
        responses={200: UserAnswer, 201: UserAnswer, **errors(400, 404, 413)},
        examples=[example("A customer", CUSTOMER), example("No more SMS", {"phone": None})],
    )
    def put(self, request: Request, user_id: UUID) -> Response:
        """Merges what is given; 201 for somebody new. A changed address counts as valid again."""
        (saved,) = people.save([(user_id, UserBody.read(request.data))])
        if isinstance(saved, ValidationError):
            raise _wrong(saved)
        return Response(UserAnswer(saved.user).data, status.HTTP_201_CREATED if saved.created else status.HTTP_200_OK)

    @extend_schema(tags=["Users"], summary="Forget a person", responses={204: None, **errors(404, 409)})
    def delete(self, _request: Request, user_id: UUID) -> Response:
        """Addresses, devices, choices, inbox, and what messages said. What is not sent yet is skipped; what is being
        sent is waited for, for 20 s at most. That something was sent, when and about which order, stays. Staff: 409."""
        try:
            forgotten = erase(Person(user_id))
        except people.StaffError as error:
            raise ApiError(status.HTTP_409_CONFLICT, "STAFF", str(error)) from error
        if forgotten.skipped:
            tasks.ring()
        if forgotten.nothing:
            raise not_found("user", "userId")
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExportView(APIView):
    required_scopes: ClassVar = {"GET": "admin"}

    @extend_schema(
        tags=["Users"],
        summary="All that is kept of a person",
        responses={200: ExportAnswer, **errors(404)},
    )
    def get(self, _request: Request, user_id: UUID) -> Response:
        """For a person who asks what the shop knows of them. Also of somebody whose account is gone, while their events
        are still kept."""
        exported = export(Person(user_id))
        if holds_nothing(exported):
            raise not_found("user", "userId")
        return Response(exported)


class TokenView(APIView):
    required_scopes: ClassVar = {"POST": "admin"}

    @extend_schema(
        tags=["Users"],
        summary="Make a customer's token",
        request=None,
        responses={201: TokenAnswer, **errors(404)},
        examples=[example("One", A_TOKEN, answer=201)],
    )
    def post(self, _request: Request, user_id: UUID) -> Response:
        """For the shop's own pages and apps: `Authorization: Bearer TOKEN` reads and sets this person's preferences
        and reads their inbox, and nothing else. It cannot be called back; it ends soon."""
        known_user(user_id)
        token = tokens.make(str(user_id), Purpose.API)
        expires_at = timezone.now() + settings.CUSTOMER_TOKEN_LIFETIME
        return Response(TokenAnswer({"token": token, "expires_at": expires_at}).data, status.HTTP_201_CREATED)


class BulkUsersView(APIView):
    required_scopes: ClassVar = {"POST": "admin"}
    body_limit = BULK_BODY_LIMIT

    @extend_schema(
        tags=["Users"],
        summary=f"Save up to {BULK_LIMIT} people",
        request=BulkUsersBody,
        responses={200: BulkUsersAnswer, **errors(400, 413)},
        examples=[example("One", {"users": [{"userId": "01931f6e-7d3a-7000-8000-000000000001", **CUSTOMER}]})],
    )
    def post(self, request: Request) -> Response:
        """One result a person, in the order given. A refused one does not stop the others."""
        bodies = [BulkUser(data=body) for body in BulkUsersBody.read(request.data)["users"]]
        good = [dict(body.validated_data) for body in bodies if body.is_valid()]
        saved = iter(people.save([(body.pop("user_id"), body) for body in good]))
        results = [_result(next(saved)) if body.is_valid() else _refused(invalid(flat(body.errors))) for body in bodies]
        return Response({"results": [{"index": index, **result} for index, result in enumerate(results)]})


class DeviceView(APIView):
    required_scopes: ClassVar = {"PUT": "admin", "DELETE": "admin"}

    @extend_schema(
        tags=["Users"],
        summary="Save a push token",
        request=DeviceBody,
        responses={200: DeviceAnswer, 201: DeviceAnswer, **errors(400, 404, 413)},
        examples=[example("A phone", {"platform": "ios"})],
    )
    def put(self, request: Request, user_id: UUID, token: str) -> Response:
        """A token belongs to one person: whoever it was given to last."""
        platform = DeviceBody.read(request.data)["platform"]
        device, created = people.save_device(known_user(user_id), token, platform)
        return Response(DeviceAnswer(device).data, status.HTTP_201_CREATED if created else status.HTTP_200_OK)

    @extend_schema(tags=["Users"], summary="Forget a push token", responses={204: None, **errors(404)})
    def delete(self, _request: Request, user_id: UUID, token: str) -> Response:
        known_user(user_id).devices.filter(token=token).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


def _wrong(error: ValidationError) -> ApiError:
    return invalid({camel(name): " ".join(messages) for name, messages in error.message_dict.items()})


def _result(saved: people.Saved | ValidationError) -> dict[str, Any]:
    if isinstance(saved, ValidationError):
        return _refused(_wrong(saved))
    return {"status": "CREATED" if saved.created else "UPDATED", "userId": saved.user.id}


def _refused(error: ApiError) -> dict[str, Any]:
    return {"status": "REFUSED", "error": error.body}
