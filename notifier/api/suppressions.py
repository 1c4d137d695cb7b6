"""The addresses that get nothing, whoever has them.

No address stands in a URL, which servers and proxies write into their logs: a row is named by its id, and an address
is looked up by a POST.
"""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier.api.docs import errors, example
from notifier.api.errors import ApiError, not_found
from notifier.api.serializers import Body, PageQuery, Pages, Text
from preferences import resolve
from preferences.models import SuppressedAddress

STOPPED = {"kind": "email", "address": "ada@mail.example"}
ROW = {"id": 7, **STOPPED, "reason": "OPTED_OUT", "createdAt": "2026-11-25T11:00:00Z"}


class AddressBody(Body):
    kind = serializers.ChoiceField(SuppressedAddress.Kind.choices)
    address = Text(max_length=254, help_text="a phone number with its country code")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The address in the form in which it is kept."""
        row = SuppressedAddress(kind=attrs["kind"], address=attrs["address"])
        row.clean()
        return attrs | {"address": row.address}


class SuppressionBody(AddressBody):
    reason = serializers.ChoiceField(
        SuppressedAddress.Reason.choices,
        default=SuppressedAddress.Reason.OPTED_OUT,
        help_text="INVALID: it cannot be reached; it counts as valid again when a person is saved with it",
    )


class SuppressionQuery(PageQuery):
    kind = serializers.ChoiceField(SuppressedAddress.Kind.choices, required=False)
    reason = serializers.ChoiceField(SuppressedAddress.Reason.choices, required=False)


class SuppressionRow(Body):
    id = serializers.IntegerField(help_text="names the row in URLs")
    kind = serializers.ChoiceField(SuppressedAddress.Kind.choices)
    address = serializers.CharField(help_text="an email in lower case, a phone number in E.164")
    reason = serializers.ChoiceField(SuppressedAddress.Reason.choices)
    created_at = serializers.DateTimeField()


class SuppressionsFound(Body):
    results = SuppressionRow(many=True)
    next = serializers.CharField(allow_null=True)


class SuppressionPages(Pages):
    ordering = ("-id",)


class SuppressedAddressesView(APIView):
    required_scopes: ClassVar = {"GET": "admin", "POST": "admin"}
    pagination_class = SuppressionPages

    @extend_schema(
        operation_id="suppressed_addresses",
        tags=["Suppressed addresses"],
        summary="Suppressed addresses, newest first",
        parameters=[SuppressionQuery],
        responses={200: SuppressionRow(many=True), **errors(400)},
    )
    def get(self, request: Request) -> Response:
        wanted = SuppressionQuery.read(request.query_params.dict())
        filters = {name: value for name, value in wanted.items() if name in {"kind", "reason"}}
        pages = self.pagination_class()
        page = pages.paginate_queryset(SuppressedAddress.objects.filter(**filters), request, view=self)
        return pages.get_paginated_response(SuppressionRow(page, many=True).data)

    @extend_schema(
        tags=["Suppressed addresses"],
        summary="Suppress an address",
        request=SuppressionBody,
        responses={200: SuppressionRow, 201: SuppressionRow, **errors(400, 413)},
        examples=[
            example("Somebody wrote that they want no mail", STOPPED),
            example("A number that is dead", {"kind": "phone", "address": "+49 151 12345678", "reason": "INVALID"}),
            example("Suppressed", ROW, answer=201),
        ],
    )
    def post(self, request: Request) -> Response:
        """Nothing goes there any more, whoever has it; what waits is skipped. 200 where it was suppressed before: then
        OPTED_OUT replaces INVALID, and INVALID replaces nothing."""
        body = SuppressionBody.read(request.data)
        row, created = resolve.suppress(body["kind"], body["address"], body["reason"])
        return Response(SuppressionRow(row).data, status.HTTP_201_CREATED if created else status.HTTP_200_OK)


class SearchView(APIView):
    required_scopes: ClassVar = {"POST": "read"}

    @extend_schema(
        tags=["Suppressed addresses"],
        summary="Is this address suppressed?",
        request=AddressBody,
        responses={200: SuppressionsFound, **errors(400, 413)},
        examples=[
            example("An email, in any case", {"kind": "email", "address": "Ada@Mail.example"}),
            example("It is", {"results": [ROW], "next": None}, answer=200),
            example("It is not", {"results": [], "next": None}, answer=200),
        ],
    )
    def post(self, request: Request) -> Response:
        """One row or none. By POST, so that no address gets into the logs of servers and proxies."""
        found = SuppressedAddress.objects.filter(**AddressBody.read(request.data))
        return Response({"results": SuppressionRow(found, many=True).data, "next": None})


class SuppressedAddressView(APIView):
    required_scopes: ClassVar = {"GET": "admin", "DELETE": "admin"}

    @extend_schema(
        tags=["Suppressed addresses"],
        summary="One suppressed address",
        responses={200: SuppressionRow, **errors(404)},
        examples=[example("One", ROW, answer=200)],
    )
    def get(self, _request: Request, suppression_id: int) -> Response:
        row = SuppressedAddress.objects.filter(id=suppression_id).first()
        if row is None:
            raise _unknown()
        return Response(SuppressionRow(row).data)

    @extend_schema(
        tags=["Suppressed addresses"],
        summary="Let an address be reached again",
        responses={204: None, **errors(404)},
    )
    def delete(self, _request: Request, suppression_id: int) -> Response:
        """An opt-out is its owner's: take it back only where they asked for it."""
        deleted, _ = SuppressedAddress.objects.filter(id=suppression_id).delete()
        if not deleted:
            raise _unknown()
        return Response(status=status.HTTP_204_NO_CONTENT)


def _unknown() -> ApiError:
    return not_found("suppressed address")
