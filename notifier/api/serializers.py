"""The base of every body that goes in or out: camelCase outside, snake_case inside, no field that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.fields import Field
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response

from notifier.api.errors import invalid

LONGEST_PAGE = 200


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


class Text(serializers.CharField):
    """Text as it came: the REST framework's own takes numbers too, and cuts blanks off."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"trim_whitespace": False} | options))

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """true or false. The REST framework's own also takes 1, "on" and "no"."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Id(serializers.UUIDField):
    """A UUID as text. The REST framework's own takes numbers too."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Body(serializers.Serializer[Any]):
    """Fields are declared in snake_case and are camelCase in JSON. An unknown field is an error that names it.

    A name that the REST framework keeps for itself takes an underscore: `source_`.
    """

    def get_fields(self) -> dict[str, Field[Any, Any, Any, Any]]:
        fields = {name.rstrip("_"): field for name, field in super().get_fields().items()}
        for name, field in fields.items():
            if field.source is None and camel(name) != name:
                field.source = name
        return {camel(name): field for name, field in fields.items()}

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (unknown := data.keys() - self.fields.keys()):
            raise serializers.ValidationError({name: ["Unknown field."] for name in sorted(unknown)})
        return super().to_internal_value(data)

    @classmethod
    def read(cls, data: Any) -> dict[str, Any]:
        """The checked fields in snake_case. Raises ValidationError."""
        body = cls(data=data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)


class PageQuery(Body):
    """What every list takes."""

    cursor = Text(required=False, help_text="as the address in `next` has it")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=LONGEST_PAGE, help_text="rows of a page")


class Pages(CursorPagination):
    """Long lists: {"results", "next"}; `next` is the address of the next page, null on the last."""

    page_size = 50
    max_page_size = LONGEST_PAGE
    page_size_query_param = "limit"

    def decode_cursor(self, request: Any) -> Any:
        try:
            return super().decode_cursor(request)
        except NotFound as error:
            raise invalid({"cursor": "Not a cursor; take the address in `next` as it is."}) from error

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self.get_next_link()})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {
                "results": schema,
                "next": {"type": "string", "format": "uri", "nullable": True},
            },
        }
