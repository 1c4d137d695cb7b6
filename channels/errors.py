"""What can go wrong with a message on its way out, split by what the engine may do next.

    ChannelError
    ├── TransientError                 the same message may be tried again
    │   ├── ProviderUnavailable        surely not sent: no connection, or a 503
    │   ├── RateLimited                surely not sent: 429; `retry_after` seconds where the provider says so
    │   ├── CredentialsRejected        surely not sent: 401, 402, 403, 404, 405, or a code about our account or sender
    │   └── OutcomeUnknown             maybe sent: 500, 502, 504, a timeout or reset after the request went out
    └── PermanentError                 trying again is useless
        ├── InvalidRecipient           the address is wrong for good: it is marked invalid
        └── MessageRejected            the provider will not carry this message

Configuration errors are Django's ImproperlyConfigured and deliberately stay outside this tree.
"""

from __future__ import annotations

DETAIL_LIMIT = 500


class ChannelError(Exception):
    """One message was not accepted. `code` is the provider's own error code, `status` the HTTP status."""

    def __init__(
        self,
        detail: str = "",
        *,
        code: str = "",
        status: int | None = None,
        provider: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail[:DETAIL_LIMIT]
        self.code = code
        self.status = status
        self.provider = provider
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = [self.provider, self.status and f"HTTP {self.status}", self.code and f"code {self.code}"]
        return ", ".join([str(fact) for fact in facts if fact] + [self.detail or type(self).__name__])


class TransientError(ChannelError):
    """The same message may be tried again."""


class ProviderUnavailable(TransientError):  # noqa: N818 - the names are design.md's contract
    """Surely not sent: the provider could not be reached, or said 503."""


class RateLimited(TransientError):  # noqa: N818
    """Surely not sent: too many requests. `retry_after` is in seconds, None when the provider does not say."""


class CredentialsRejected(TransientError):  # noqa: N818
    """Surely not sent: the provider does not accept who we are. An operator must act."""


class OutcomeUnknown(TransientError):  # noqa: N818
    """Maybe sent: the request went out and no clear answer came back. Never retried blindly."""


class PermanentError(ChannelError):
    """Trying the same message again is useless."""


class InvalidRecipient(PermanentError):  # noqa: N818
    """The address is wrong for good; it is marked invalid and not used again."""


class MessageRejected(PermanentError):  # noqa: N818
    """The provider refuses this message, not this address."""
