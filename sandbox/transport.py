"""What of uvicorn's connection the sandbox needs and ASGI does not show. With other servers it does without."""

from __future__ import annotations

from typing import Any

from starlette.types import Send


def of(send: Send) -> Any:
    """The connection's transport, which faults cut; uvicorn's `send` is a method of the object that holds it.

    Other servers give None, and a fault that cuts the connection then waits until the caller gives up.
    """
    return getattr(getattr(send, "__self__", None), "transport", None)


def join(send: Send) -> None:
    """Have the answer that follows go out in one write: uvicorn's two cost, and wake the caller, twice."""
    transport = of(send)
    if transport is not None:
        send.__self__.transport = _HeadHolder(transport)  # type: ignore[attr-defined] # uvicorn's own


class _HeadHolder:
    """A transport that keeps what is written first, an answer's head, until its body comes, be it empty."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
