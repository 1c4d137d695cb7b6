"""Google Pub/Sub, by unary pull: messages are acknowledged after the database's commit.

What Pub/Sub promises is in its documentation (pull subscriptions, lease management, ordering, read 2026-11-25): a
message that is not acknowledged in time comes again, with the same message id. Messages of one ordering key come in
their order, where the subscription has ordering; after one that is given back all that follow come again, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RetryError,
    Unauthenticated,
)
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import PubsubMessage
from google.pubsub_v1.services.publisher import PublisherClient as Calls

from notifier.events_in.bus import Bus, BusError, Incoming, Refused
from notifier.events_in.copies import Copies, told
from notifier.events_in.hold import Hold
from notifier.events_in.seldom import SeldomLog

log = logging.getLogger(__name__)

MOST = 1000  # messages a call
PATIENCE = 5.0  # seconds of a pull: one that ends sooner leaves what is on its way until the deadline
ANSWER = 15.0  # seconds for any other answer
RENEW = 4.0  # seconds between two extensions; a subscription's own deadline, with which all begins, is 10 at least
COPY_BYTES = 5_000_000  # of dead letters in one call, which takes 10 MB
ERRORS = (GoogleAPICallError, RetryError, GoogleAuthError)
FINAL = (NotFound, PermissionDenied, Unauthenticated, InvalidArgument)  # what waiting does not change


class PubSubBus(Bus):
    """One of a subscription's consumers.

    `subscription` and `dead_letters` are full names, projects/…/subscriptions/… and projects/…/topics/…; the latter
    empty: there is none. `deadline`: seconds for which a message is renewed while it is stored. Raises
    ImproperlyConfigured where Google's library finds no credentials.
    """

    def __init__(self, *, subscription: str, dead_letters: str = "", deadline: int = 60) -> None:
        self._subscription, self._name = subscription, subscription.rpartition("/")[2]
        self._client: Any = _client(SubscriberClient)
        self._publisher: Any = None
        self._hold = Hold(lambda ids: self._give_time(ids, deadline), RENEW)
        self._copies = Copies(dead_letters, self._send_copies)
        self._seldom = SeldomLog(log)
        self._connected = False

    # --- messages ----------------------------------------------------------------------------------------------
    def fetch(self, limit: int, wait: float) -> Sequence[Incoming]:
        """One pull, of PATIENCE at most; Pub/Sub decides how many of those that wait it gives."""
        if self.paused:
            time.sleep(wait)
            return ()
        most = min(limit, MOST)
        try:
            answer = self._client.pull(subscription=self._subscription, max_messages=most, timeout=PATIENCE, retry=None)
        except DeadlineExceeded:  # there was none
            self._connected = True
            return ()
        except ERRORS as error:
            self._unreachable(error)
            time.sleep(wait)
            return ()
        self._connected = True
        found = [_incoming(received, self._name) for received in answer.received_messages]
        self._hold.take([message.raw.ack_id for message in found])
        return found

    def commit(self, batch: Sequence[Incoming]) -> None:
        """What is not taken comes again, and is known by its key."""
        for ids in _chunks([message.raw.ack_id for message in batch]):
            self._ask("messages not acknowledged; they come again", self._client.acknowledge, ack_ids=ids)
        self._hold.let_go()

    def give_back(self, batch: Sequence[Incoming]) -> None:
        self._hold.let_go()
        self._give_time([message.raw.ack_id for message in batch], 0)

    def dead_letter(self, refused: Sequence[Refused]) -> None:
        """With data, ordering key and attributes as they came, and attributes that say where from and why."""
        self._copies.add(refused)

    # --- the subscription --------------------------------------------------------------------------------------
    def close(self) -> None:
        self._hold.close()
        self._client.close()
        if self._publisher:
            self._publisher.transport.close()

    def is_connected(self) -> bool:
        return self._connected

    # --- inside ------------------------------------------------------------------------------------------------
    def _give_time(self, ack_ids: Sequence[str], seconds: int) -> None:
        for ids in _chunks(ack_ids):
            self._ask(
                "the time of messages in hand not changed",
                self._client.modify_ack_deadline, ack_ids=ids, ack_deadline_seconds=seconds,
            )  # fmt: skip

    def _ask(self, trouble: str, call: Callable[..., Any], **arguments: Any) -> None:
        try:
            call(subscription=self._subscription, timeout=ANSWER, **arguments)
        except ERRORS as error:
            self._seldom.warning(f"{trouble}: %s", _words(error))

    def _unreachable(self, error: Exception) -> None:
        """Raises BusError where waiting helps nobody: the subscription is not there, or is not for us."""
        self._connected = False
        if isinstance(error, FINAL):
            raise BusError(f"Pub/Sub refuses {self._subscription}: {_words(error)}") from error
        self._seldom.warning("Pub/Sub cannot be reached, trying again: %s", _words(error))

    def _send_copies(self, refused: Sequence[Refused]) -> list[str]:
        """By the call itself: the client's batches take one call for each ordering key, and no attribute `topic`."""
        if self._publisher is None:
            self._publisher = _client(PublisherClient)
        failed: list[str] = []
        for parcel in _parcels(refused):
            try:
                Calls.publish(
                    self._publisher, topic=self._copies.name, messages=[_copy(one) for one in parcel], timeout=ANSWER
                )
            except ERRORS as error:
                failed.extend([_words(error)] * len(parcel))
        return failed


def _client(kind: type[Any]) -> Any:
    try:
        return kind()
    except GoogleAuthError as error:
        problem = "Pub/Sub: Google's library finds no credentials; docs/event-bus.md says what to set."
        raise ImproperlyConfigured(problem) from error


def _incoming(received: Any, subscription: str) -> Incoming:
    message = received.message
    place = {"subscription": subscription, "messageId": message.message_id}
    if message.ordering_key:
        place["orderingKey"] = message.ordering_key
    return Incoming(
        body=message.data,
        key=f"{subscription}-{message.message_id}",
        place=place,
        headers={name.lower(): value for name, value in message.attributes.items()},
        published_at=message.publish_time.timestamp() if message.publish_time else None,
        raw=received,
    )


def _copy(one: Refused) -> PubsubMessage:
    message = one.message.raw.message
    theirs = {name: value for name, value in message.attributes.items() if not name.startswith("goog")}  # Google's own
    attributes = {**theirs, **told(one)}
    return PubsubMessage(data=message.data, attributes=attributes, ordering_key=message.ordering_key)


def _chunks(ack_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for place in range(0, len(ack_ids), MOST):
        yield ack_ids[place : place + MOST]


def _parcels(refused: Iterable[Refused]) -> Iterator[list[Refused]]:
    """As many as fit in a call."""
    parcel: list[Refused] = []
    size = 0
    for one in refused:
        if parcel and (len(parcel) == MOST or size + len(one.message.body) > COPY_BYTES):
            yield parcel
            parcel, size = [], 0
        parcel.append(one)
        size += len(one.message.body)
    if parcel:
        yield parcel


def _words(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)
