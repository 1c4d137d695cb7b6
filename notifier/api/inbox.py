"""A person's in-app messages."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from channels.models import InboxMessage
from notifier.api.auth import Customer, check_own
from notifier.api.docs import errors
from notifier.api.errors import not_found
from notifier.api.serializers import Body, Id, PageQuery, Pages


class InboxQuery(PageQuery):
    user_id = Id()


class InboxRow(Body):
    id = serializers.UUIDField()
    event_type = serializers.CharField()
    title = serializers.CharField()
    body = serializers.CharField()
    url = serializers.CharField()
    created_at = serializers.DateTimeField()
    read_at = serializers.DateTimeField(allow_null=True)


class InboxPages(Pages):
    ordering = ("-created_at", "-id")


class InboxView(APIView):
    required_scopes: ClassVar = {"GET": "read"}
    customers_may: ClassVar = {"GET"}
    pagination_class = InboxPages

    @extend_schema(
        operation_id="inbox",
        tags=["Inbox"],
        summary="A person's messages, newest first",
        parameters=[InboxQuery],
        responses={200: InboxRow(many=True), **errors(400)},
    )
    def get(self, request: Request) -> Response:
        user_id = InboxQuery.read(request.query_params.dict())["user_id"]
        check_own(request, user_id)
        pages = self.pagination_class()
        page = pages.paginate_queryset(InboxMessage.objects.filter(user_id=user_id), request, view=self)
        return pages.get_paginated_response(InboxRow(page, many=True).data)


class InboxReadView(APIView):
    required_scopes: ClassVar = {"POST": "read"}
    customers_may: ClassVar = {"POST"}

    @extend_schema(
        tags=["Inbox"], summary="Mark a message as read", request=None, responses={200: InboxRow, **errors(404)}
    )
    def post(self, request: Request, message_id: UUID) -> Response:
        """The first time counts."""
        messages = InboxMessage.objects.filter(id=message_id)
        if isinstance(request.auth, Customer):
            messages = messages.filter(user_id=request.auth.user_id)
        messages.filter(read_at=None).update(read_at=timezone.now())
        message = messages.first()
        if message is None:
            raise not_found("message")
        return Response(InboxRow(message).data)
