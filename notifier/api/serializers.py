"""The base of every body that goes in or out: camelCase outside, snake_case inside, no field that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.fields import Field
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


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


class Pages(CursorPagination):
    """Long lists: {"results", "next"}; `next` is the address of the next page, null on the last."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"

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
