"""The part that every provider over HTTP has in common: build all, send all at once, read each answer."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from channels.base import Message, Outcome, Provider, Receipt
from channels.errors import ChannelError, MessageRejected, OutcomeUnknown
from channels.providers import http, options

# An address in a provider's own words: a mail address, or seven digits and more with the usual marks between
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+|\+?\d(?:[\s().-]?\d){6,}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call:
    """A request, or why there is none, and the messages that it carries, by their places in what is sent."""

    places: Sequence[int]
    request: http.Request | ChannelError


class HttpProvider(Provider):
    """A subclass says how a request is built and how an answer is read; the rest is here.

    `codes` maps the provider's own error codes to what they mean. A code that is not in it means what the
    HTTP status means.
    """

    codes: ClassVar[Mapping[str, type[ChannelError]]] = {}

    def __init__(self, *, base_url: str, timeout: float = http.TIMEOUT) -> None:
        self.base_url = options.url(self.name, "base_url", base_url)
        self.timeout = options.seconds(self.name, "timeout", timeout)

    def build(self, message: Message) -> http.Request:
        """The request that carries a message by itself. Whatever it raises is a MessageRejected for this message."""
        raise NotImplementedError

    def receipt(self, response: http.Response) -> str | None:
        """The provider's name for the message it took (may be empty); None when the answer is not its own."""
        raise NotImplementedError

    def problem(self, response: http.Response) -> tuple[str, str]:
        """The provider's error code and words in a refusal."""
        raise NotImplementedError

    def judge(self, code: str, response: http.Response) -> type[ChannelError]:
        """What a refusal means."""
        return self.codes.get(code) or http.error_class(response.status)

    def retry_after(self, response: http.Response) -> float | None:
        """Seconds that the provider asks us to wait."""
        return http.retry_after(response.headers)

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        return self.carry(messages, [Call((place,), self.try_build(each)) for place, each in enumerate(messages)])

    def carry(self, messages: Sequence[Message], calls: Sequence[Call]) -> list[Outcome]:
        """Make the calls at once. Each message is in one of them; one outcome a message, in their order."""
        answers = iter(http.post_all([call.request for call in calls if isinstance(call.request, http.Request)]))
        outcomes: dict[int, Outcome] = {}
        for call in calls:
            answer = next(answers) if isinstance(call.request, http.Request) else call.request
            carried = [messages[place] for place in call.places]
            outcomes.update(zip(call.places, self._outcomes(carried, answer), strict=True))
        return [outcomes[place] for place in range(len(messages))]

    def try_build(self, message: Message) -> http.Request | ChannelError:
        try:
            request = self.build(message)
            return request if message.patience >= request.timeout else replace(request, timeout=message.patience)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one message concerns that one alone
            return MessageRejected(f"could not be built: {type(error).__name__}")

    def _outcomes(self, carried: Sequence[Message], answer: http.Answer) -> list[Outcome]:
        """The one answer, for each message. An error is an object of its own for each: it is raised and changed."""
        found = self.understand(answer, self._receipt, *(message.address for message in carried))
        return [found if isinstance(found, Receipt) else copy.copy(found) for _ in carried]

    def _receipt(self, response: http.Response) -> Receipt | None:
        receipt = self.receipt(response)
        return None if receipt is None else Receipt(self.name, receipt, response.status)

    def understand(
        self, answer: http.Answer, read: Callable[[http.Response], _T | None], *addresses: str
    ) -> _T | ChannelError:
        """What `read` finds in the answer to a call about these addresses; for any other answer what it means.

        Where `read` raises or finds None, a 2xx is not this provider's answer.
        """
        if isinstance(answer, http.Response):
            try:
                if not _accepted(answer):
                    return self._refusal(answer, addresses)
                found = read(answer)
                return self._unreadable(answer, "not an answer of this provider") if found is None else found
            except Exception as error:  # noqa: BLE001 - an answer of a shape that nobody foresaw
                answer = self._unreadable(answer, type(error).__name__)
        answer.provider = self.name
        return answer

    def _refusal(self, response: http.Response, addresses: Sequence[str]) -> ChannelError:
        code, words = self.problem(response)
        return self.judge(code, response)(
            redacted(words, *addresses),
            code=code,
            status=response.status,
            provider=self.name,
            retry_after=self.retry_after(response),
        )

    def _unreadable(self, response: http.Response, why: str) -> ChannelError:
        """An answer that says nothing but its status: a 2xx of it is no proof that the message was taken."""
        meaning = OutcomeUnknown if _accepted(response) else http.error_class(response.status)
        return meaning(
            f"unreadable answer: {why}",
            status=response.status,
            provider=self.name,
            retry_after=http.retry_after(response.headers),
        )


def redacted(words: str, *addresses: str) -> str:
    """A provider's words without the addresses, which are personal data and the words end up in logs."""
    for address in sorted(filter(None, addresses), key=len, reverse=True):  # one may be a part of another
        words = words.replace(address, "(address)")
    return _ADDRESS.sub("(address)", words)


def _accepted(response: http.Response) -> bool:
    return 200 <= response.status < 300
