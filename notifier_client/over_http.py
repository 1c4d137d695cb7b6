"""Notifier over its HTTP API: tries again by itself, and tells at once what became of it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self
from urllib.parse import quote, urlsplit

from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, ResponseError

from notifier_client.errors import NotAuthorised, NotifierError, Refused, Unavailable
from notifier_client.sender import Accepted, Sender
from notifier_client.trigger import Trigger

TRIES_AGAIN = (429, 500, 502, 503, 504)
BULK_EVENTS = 1000  # a call takes no more (docs/api.md) …
BULK_BYTES = 3_500_000  # … and 4 MiB
FIRST_WAIT, LONGEST_WAIT = 0.3, 20.0  # seconds


class Patience(Retry):
    """urllib3's retries with half of each wait left to chance, and none that would begin after `ends`.

    `ends` is of time.monotonic. A Retry-After is obeyed, or, where it lies beyond the end, ends the tries.
    """

    def __init__(self, *arguments: Any, ends: float = float("inf"), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ends = ends

    def new(self, **options: Any) -> Self:
        return super().new(**{"ends": self._ends, **options})

    def get_backoff_time(self) -> float:
        if not self.history:
            return 0.0
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (len(self.history) - 1))
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: Any = None,
    ) -> Self:
        following = super().increment(method, url, response, error, _pool, _stacktrace)
        wait = (following.get_retry_after(response) if response else None) or following.get_backoff_time()
        if time.monotonic() + wait > self._ends:
            assert _pool is not None  # noqa: S101 - urllib3 always gives it
            raise MaxRetryError(_pool, url or "", error or ResponseError("no time is left for another try"))
        return following


class HttpNotifier(Sender):
    """Notifier at `url` with an API key (scope `trigger`; `read` too for what became of it).

    `timeout`: seconds for an answer; `connect_timeout`: for a connection. What fails for a moment (no connection, no
    answer in time, 429, 5xx) is tried `tries` times at most, the waits doubling from 0.3 s with jitter, and no try
    begins later than `patience` seconds after the first; Retry-After is obeyed within that. So a call takes
    `patience + timeout` at worst. `pool`: a PoolManager of your own, for a proxy or a private certificate authority.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = 5.0,
        connect_timeout: float = 2.0,
        tries: int = 6,
        patience: float = 20.0,
        pool: PoolManager | None = None,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ValueError(f"url: must look like https://notifier.shop.example, and is {url!r}")
        if not api_key:
            raise ValueError("api_key: must not be empty")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Api-Key {api_key}", "User-Agent": "notifier-client/0.1.0"}
        self._timeout = Timeout(connect=connect_timeout, read=timeout)
        self._tries, self._patience = tries, patience
        self._pool = pool or PoolManager(maxsize=10)

    def send(self, trigger: Trigger) -> Accepted:
        status, answer = self._call("POST", "/notifications/trigger", _encode(trigger.as_json()))
        return _accepted(trigger, answer, new=status != 200)

    def send_many(self, triggers: Sequence[Trigger]) -> list[Accepted | NotifierError]:
        return [result for chunk in _chunks(triggers) for result in self._send_chunk(chunk)]

    def events_of_order(self, order_id: str, *, limit: int = 50) -> list[dict[str, Any]]:
        """The newest events of an order, newest first, whole: deliveries, attempts, decisions (docs/api.md).

        Needs the scope `read`; raises as `send` does.
        """
        path = f"/notifications/events?orderId={quote(order_id, safe='')}&limit={limit}"
        results: list[dict[str, Any]] = self._call("GET", path)[1]["results"]
        return results

    def event(self, event_id: str) -> dict[str, Any]:
        """One event, whole. Needs the scope `read`; raises as `send` does, Refused where there is none."""
        answer: dict[str, Any] = self._call("GET", f"/notifications/events/{quote(event_id, safe='')}")[1]
        return answer

    def close(self) -> None:
        self._pool.clear()

    def _send_chunk(self, chunk: Sequence[tuple[Trigger, bytes]]) -> Iterator[Accepted | NotifierError]:
        body = b'{"events":[' + b",".join(encoded for _, encoded in chunk) + b"]}"
        _, answer = self._call("POST", "/notifications/trigger/bulk", body)
        for (trigger, _), result in zip(chunk, answer["results"], strict=True):
            yield (
                _error(None, result["error"])
                if "error" in result
                else _accepted(trigger, result, new=result.get("new", True))
            )

    def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON of the answer to a call that succeeded."""
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            answer = self._pool.request(
                method, self._url + path, body=body, headers=headers, timeout=self._timeout, retries=self._retries()
            )
        except HTTPError as error:
            cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            raise Unavailable(f"Notifier does not answer ({type(cause).__name__}).") from error
        return answer.status, _read(answer)

    def _retries(self) -> Patience:
        return Patience(
            total=self._tries - 1,
            redirect=False,  # where a key may go is the caller's to say
            status_forcelist=TRIES_AGAIN,
            allowed_methods=None,  # all: the idempotency key makes a POST harmless
            raise_on_status=False,
            ends=time.monotonic() + self._patience,
        )


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _chunks(triggers: Sequence[Trigger]) -> Iterator[list[tuple[Trigger, bytes]]]:
    """What fits into a call each."""
    chunk: list[tuple[Trigger, bytes]] = []
    size = 0
    for trigger in triggers:
        encoded = _encode(trigger.as_json())
        if chunk and (len(chunk) == BULK_EVENTS or size + len(encoded) > BULK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((trigger, encoded))
        size += len(encoded) + 1
    if chunk:
        yield chunk


def _accepted(trigger: Trigger, answer: Mapping[str, Any], *, new: bool) -> Accepted:
    ids = answer.get("eventIds") or ([answer["eventId"]] if answer.get("eventId") else [])
    return Accepted(trigger.idempotency_key, tuple(ids), answer.get("status", "QUEUED"), new)


def _read(answer: BaseHTTPResponse) -> Any:
    """The JSON of a success; raises the error that any other answer means."""
    try:
        body = json.loads(answer.data)
    except ValueError:
        body = None
    if answer.status < 300 and isinstance(body, dict):
        return body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        raise _error(answer, body["error"])
    # a proxy, a redirect or something else at this address: nothing that says anything about the event
    raise Unavailable(f"Not Notifier, or not Notifier alone, answered {answer.status}: is the url right?")


def _error(answer: BaseHTTPResponse | None, error: Mapping[str, Any]) -> NotifierError:
    """By the answer's status, or by its code where it is one of many in a bulk answer."""
    code, status = str(error.get("code", "")), answer.status if answer else 0
    fields: Mapping[str, str] = error.get("fields") or {}
    message = str(error.get("message") or f"Notifier answered {status}.")
    if status in (401, 403) or code in ("UNAUTHENTICATED", "FORBIDDEN"):
        return NotAuthorised(message, code=code, fields=fields)
    if status == 429 or status >= 500 or code in ("RATE_LIMITED", "UNAVAILABLE", "INTERNAL"):
        return Unavailable(message, code=code, fields=fields, retry_after=_retry_after(answer))
    return Refused(message, code=code, fields=fields)


def _retry_after(answer: BaseHTTPResponse | None) -> float | None:
    """Seconds; the header may also hold a date."""
    with suppress(InvalidHeader):
        return Retry(0).get_retry_after(answer) if answer else None
    return None
