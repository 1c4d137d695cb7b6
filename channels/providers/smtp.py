"""EMAIL by any Django email backend, SMTP above all. One connection a send() call."""

from __future__ import annotations

import inspect
import smtplib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parseaddr
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from channels.base import Message, Outcome, Provider, Receipt, Welcome
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.providers import http, options
from channels.providers.unsubscribe import one_click

_T = TypeVar("_T")

_TRANSIENT = 400  # RFC 5321, section 4.2.1: 4xx may be tried again, 5xx is for good
_PERMANENT = 500
_NO_SUCH_MAILBOX = frozenset({550, 551, 553})  # RFC 5321, section 4.2.3
_AUTHENTICATION = frozenset({530, 534, 535, 538})  # RFC 4954, section 6


class DjangoEmailProvider(Provider):
    """Options: `backend` (dotted path), `backend_options` (its keyword arguments), `sender` ("Name
    <address>"), `reply_to`, `timeout` (seconds: for each step of the protocol, and for starting another mail).

    A mail server cannot be asked what became of a mail: SMTP has no command for it (RFC 5321, section 4.1.1).
    """

    name = "smtp"

    def __init__(
        self,
        *,
        sender: str,
        backend: str = "django.core.mail.backends.smtp.EmailBackend",
        backend_options: Mapping[str, Any] | None = None,
        reply_to: str = "",
        timeout: float = http.TIMEOUT,
    ) -> None:
        self._sender = options.text(self.name, "sender", sender)
        self._domain = parseaddr(sender)[1].partition("@")[2]
        if not self._domain:
            raise options.wrong(self.name, "sender", "holds no email address")
        self._reply_to = [reply_to] if reply_to else []
        self._timeout = options.seconds(self.name, "timeout", timeout)
        self._backend = self._import(backend)
        self._options = {**self._timeout_option(), **(backend_options or {})}
        self._connection()  # wrong backend options are found now, not at the first mail; it does not connect

    def _import(self, path: str) -> type[BaseEmailBackend]:
        try:
            found = import_string(options.text(self.name, "backend", path))
        except ImportError as error:
            raise options.wrong(self.name, "backend", f"cannot be imported: {error}") from None
        if not (isinstance(found, type) and issubclass(found, BaseEmailBackend)):
            raise options.wrong(self.name, "backend", "is not a Django email backend")
        return found

    def _timeout_option(self) -> dict[str, float]:
        """Django's SMTP backend waits for ever unless told; other backends know no timeout."""
        return {"timeout": self._timeout} if "timeout" in inspect.signature(self._backend).parameters else {}

    def _connection(self) -> BaseEmailBackend:
        try:
            return self._backend(fail_silently=False, **self._options)
        except (TypeError, ValueError, ImproperlyConfigured) as error:
            raise options.wrong(self.name, "backend_options", f"do not suit the backend: {error}") from None

    def introduce(self) -> Welcome | ChannelError | None:
        """By connecting, and logging in where there is a login; then it hangs up."""
        connection = self._connection()
        try:
            failure = self._open(connection)
            return self._stamped(failure) if failure else Welcome()
        finally:
            with suppress(smtplib.SMTPException, OSError):
                connection.close()

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """Mails go one after the other. When the time is up, those that remain are to come again."""
        connection = self._connection()
        try:
            failure = self._open(connection)
            return [self._stamped(failure) for _ in messages] if failure else self._send_all(connection, messages)
        finally:
            with suppress(smtplib.SMTPException, OSError):
                connection.close()  # also after a refused login, which leaves it open

    def _open(self, connection: BaseEmailBackend) -> ChannelError | None:
        try:
            connection.open()
            server = getattr(connection, "connection", None)
            if isinstance(server, smtplib.SMTP):
                server.ehlo_or_helo_if_needed()  # it would belong to the first mail, whose outcome a loss makes unknown
        except Exception as error:  # noqa: BLE001 - any backend may be behind it; before a mail, nothing was sent
            return _not_opened(error)
        return None

    def _send_all(self, connection: BaseEmailBackend, messages: Sequence[Message]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        deadline = time.monotonic() + self._timeout
        rest: ChannelError | None = None
        for message in messages:
            if rest is None and time.monotonic() > deadline:
                rest = RateLimited("the server is slow; not started in this call", retry_after=1.0)
            outcome = rest or self._send(connection, message)
            outcomes.append(self._stamped(outcome))
            if isinstance(outcome, OutcomeUnknown):
                rest = ProviderUnavailable("the connection was lost by the mail before; not started")
        return outcomes

    def _send(self, connection: BaseEmailBackend, message: Message) -> Outcome:
        try:
            mail = self._build(message)
            mail.message()  # what cannot be a mail (a line break in the subject) is found before the server
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one message concerns that one alone
            return MessageRejected(f"could not be built: {type(error).__name__}")
        try:
            sent = connection.send_messages([mail])
        except Exception as error:  # noqa: BLE001 - any backend may be behind it
            return _not_sent(error)
        if sent == 0:
            return MessageRejected("the backend sent nothing")
        return Receipt(self.name, mail.extra_headers["Message-ID"])

    def _build(self, message: Message) -> EmailMultiAlternatives:
        mail = EmailMultiAlternatives(
            subject=message.parts["subject"],
            body=message.parts["text"],
            from_email=self._sender,
            to=[message.address],
            reply_to=self._reply_to,
            headers={
                # the same for every attempt, so that mail systems that drop copies can drop ours
                "Message-ID": f"<{message.delivery_id}@{self._domain}>",
                "X-Delivery-Id": message.delivery_id,
                "X-Attempt": str(message.attempt),
                **one_click(message.unsubscribe_url),
            },
        )
        mail.attach_alternative(message.parts["html"], "text/html")
        return mail

    def _stamped(self, outcome: _T) -> _T:
        if isinstance(outcome, ChannelError):
            outcome.provider = self.name
        return outcome


def _not_opened(error: Exception) -> ChannelError:
    code = getattr(error, "smtp_code", 0)
    # a 4xx (454) is a server that cannot check us now
    if isinstance(error, smtplib.SMTPAuthenticationError) and code >= _PERMANENT:
        return CredentialsRejected("login refused", code=str(code))
    return ProviderUnavailable(f"no connection: {type(error).__name__}", code=str(code or ""))


def _not_sent(error: Exception) -> ChannelError:
    """A server's reply says that it did not take the mail; any other end says nothing."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _recipient_refused(error)
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused(error.smtp_code)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return MessageRejected("the server does not support what the mail needs")
    return OutcomeUnknown(f"no answer: {type(error).__name__}")


def _recipient_refused(error: smtplib.SMTPRecipientsRefused) -> ChannelError:
    code = next(iter(error.recipients.values()), (0, b""))[0]
    if code in _NO_SUCH_MAILBOX:
        return InvalidRecipient("the server refused the recipient", code=str(code))
    return _refused(code)


def _refused(code: int) -> ChannelError:
    if code in _AUTHENTICATION:
        return CredentialsRejected("the server asks for a login", code=str(code))
    if _TRANSIENT <= code < _PERMANENT:
        return ProviderUnavailable("refused for now", code=str(code))
    return MessageRejected("refused", code=str(code))
