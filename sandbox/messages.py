"""What arrived, as JSON, as a live stream, and as a mail to look at."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from itertools import islice

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from sandbox.store import Message, Store

RATES_MINUTES = 5  # that GET /rates looks back
HEARTBEAT = 15.0  # seconds of silence after which a stream shows that it lives
FILTERS = {
    "provider": "provider",
    "channel": "channel",
    "to": "to",
    "deliveryId": "delivery_id",
    "eventType": "event_type",
    "orderId": "order_id",
    "idempotencyKey": "idempotency_key",
}
ACCEPTED = {"true": True, "false": False, "all": None}
# a mail may show pictures and its own styles; it never runs a script
MAIL_POLICY = "sandbox allow-same-origin allow-popups; default-src 'none'; img-src * data:; style-src 'unsafe-inline'"
CORS = {"Access-Control-Allow-Origin": "*"}


async def listing(request: Request) -> Response:
    """GET /messages: {"results", "count"}, newest first.

    Filters: provider, channel, to, deliveryId, eventType, orderId, idempotencyKey; accepted=true (the
    default), false (what was refused) or all; limit=N cuts the results, never the count.
    """
    query = request.query_params
    found = list(_matching(request.app.state.store, query))
    try:
        limit = int(query["limit"]) if "limit" in query else None
    except ValueError as error:
        raise HTTPException(400, "limit must be a number") from error
    results = [message.as_json() for message in islice(found, limit)]
    return _json({"results": results, "count": len(found)})


async def clear(request: Request) -> Response:
    """DELETE /messages: forget everything."""
    request.app.state.store.clear()
    return Response(status_code=204)


async def rates(request: Request) -> Response:
    """GET /rates: {"results": [{"second", "counts"}], "peak"}: accepted messages in each whole second, oldest first.

    `second` counts from 1970, `counts` and `peak` are by provider; a second without a message is left out.
    minutes=N looks back that far (5 by default); clearing the messages does not clear the rates.
    """
    try:
        minutes = float(request.query_params.get("minutes", RATES_MINUTES))
        since = int(time.time() - 60 * minutes)
    except (ValueError, OverflowError) as error:
        raise HTTPException(400, "minutes must be a number") from error
    found = request.app.state.store.rates.since(since)
    peak: dict[str, int] = {}
    for _, counts in found:
        peak.update({provider: max(count, peak.get(provider, 0)) for provider, count in counts.items()})
    return _json({"results": [{"second": second, "counts": counts} for second, counts in found], "peak": peak})


async def html(request: Request) -> Response:
    """GET /messages/{id}/html: a mail as its reader sees it."""
    message = request.app.state.store.get(request.path_params["id"])
    if message is None:
        raise HTTPException(404, "no such message")
    return HTMLResponse(message.filled("html"), headers={"Content-Security-Policy": MAIL_POLICY})


async def stream(request: Request) -> Response:
    """GET /messages/stream: accepted messages as server-sent events, each a message's JSON."""
    headers = {**CORS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(request.app.state.store), media_type="text/event-stream", headers=headers)


async def _events(store: Store) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n"
    async for message in store.listen(HEARTBEAT):
        if message is None:
            yield b": still here\n\n"
        else:
            yield b"id: %s\ndata: %s\n\n" % (message.id.encode(), orjson.dumps(message.as_json()))


def _matching(store: Store, query: Mapping[str, str]) -> Iterator[Message]:
    accepted = query.get("accepted", "true")
    if accepted not in ACCEPTED:
        raise HTTPException(400, f"accepted must be one of {', '.join(ACCEPTED)}")
    wanted = {field: query[name] for name, field in FILTERS.items() if name in query}
    for message in store.newest(ACCEPTED[accepted]):
        if all(getattr(message, name) == value for name, value in wanted.items()):
            yield message


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json", headers=CORS)
