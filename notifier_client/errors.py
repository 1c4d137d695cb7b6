"""What can go wrong when Notifier is told something, by what the caller can do about it."""

from __future__ import annotations

from collections.abc import Mapping


class NotifierError(Exception):
    """Notifier was not told. `code` is Notifier's own where it answered (docs/api.md), and does not change."""

    code: str = "ERROR"

    def __init__(self, message: str, *, code: str = "", fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.fields = dict(fields or {})

    def __str__(self) -> str:
        """The message, and what is wrong by field. Never a value of a field."""
        return " ".join([self.args[0], *(f"{name}: {text}" for name, text in self.fields.items())])


class Refused(NotifierError):  # noqa: N818 - named after what happened, as are the two below
    """The event is not valid, too large, for an unknown user, or its key came with another body.

    To try again changes nothing. `fields` says what is wrong, by field: {"metadata.trackingUrl": "Required."}.
    """


class NotAuthorised(NotifierError):  # noqa: N818 - as above
    """The API key is missing, unknown or expired, or may not do this. Good again once somebody mends the key."""

    code = "UNAUTHENTICATED"


class Unavailable(NotifierError):  # noqa: N818 - as above
    """Notifier, or the broker, could not be reached or is busy, and the tries are used up. Try again later.

    `retry_after`: the seconds that it asked for, where it did. Whether the event was recorded is not known: send the
    same `Trigger` again, or give the same idempotency key, and it is recorded once.
    """

    code = "UNAVAILABLE"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        fields: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, fields=fields)
        self.retry_after = retry_after
