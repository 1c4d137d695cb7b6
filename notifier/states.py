"""The states of an event, a delivery and an attempt, and the closed lists of reasons (design: docs/architecture.md)."""

from __future__ import annotations

from django.db.models import TextChoices


class EventStatus(TextChoices):
    QUEUED = "QUEUED"  # recorded
    DISPATCHED = "DISPATCHED"  # planned; a round in flight, or waiting for due_at
    SENT = "SENT"  # each planned delivery was accepted, or its fallback was
    PARTIAL = "PARTIAL"  # some were
    FAILED = "FAILED"  # none was
    SKIPPED = "SKIPPED"  # nothing to send


class DeliveryStatus(TextChoices):
    QUEUED = "QUEUED"  # -> SENDING by a claim, -> SKIPPED; held: with due_at and hold_reason
    SENDING = "SENDING"  # -> SENT, RETRYING, FAILED; -> QUEUED, SKIPPED where the claim finds it must not go now
    RETRYING = "RETRYING"  # -> SENDING once due, -> SKIPPED
    SENT = "SENT"  # the provider accepted it; -> DELIVERED, BOUNCED by its receipt
    FAILED = "FAILED"  # in the dead letters; -> QUEUED by replay
    SKIPPED = "SKIPPED"  # with a skip_reason
    DELIVERED = "DELIVERED"
    BOUNCED = "BOUNCED"


class SkipReason(TextChoices):
    NONE = ""
    OPTED_OUT = "OPTED_OUT"
    NO_ADDRESS = "NO_ADDRESS"
    SUPPRESSED = "SUPPRESSED"
    SUPERSEDED = "SUPERSEDED"
    EXPIRED = "EXPIRED"
    CHANNEL_DISABLED = "CHANNEL_DISABLED"
    COUNTRY = "COUNTRY"  # outside SMS_REGIONS
    STAGING = "STAGING"  # not in STAGING_RECIPIENTS
    ROLLOUT = "ROLLOUT"  # the channel is not brought in for its recipient yet (notifier/switches.py)
    ERASED = "ERASED"  # its recipient was forgotten (notifier/erasure.py)


class HoldReason(TextChoices):
    NONE = ""
    QUIET_HOURS = "QUIET_HOURS"
    CAP = "CAP"
    PAUSED = "PAUSED"  # its channel, provider or type is (notifier/switches.py)


class AttemptOutcome(TextChoices):
    ACCEPTED = "ACCEPTED"
    UNAVAILABLE = "UNAVAILABLE"  # surely not sent
    RATE_LIMITED = "RATE_LIMITED"
    CREDENTIALS = "CREDENTIALS"
    UNKNOWN = "UNKNOWN"  # maybe sent
    INVALID_RECIPIENT = "INVALID_RECIPIENT"
    REJECTED = "REJECTED"


class DeadLetterStatus(TextChoices):
    OPEN = "OPEN"
    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"


class TemplateState(TextChoices):
    """Of a version of a message template. One at most is PUBLISHED; without one its file serves."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    SUPERSEDED = "SUPERSEDED"


ACCEPTED = frozenset({DeliveryStatus.SENT, DeliveryStatus.DELIVERED})
LOST = frozenset({DeliveryStatus.FAILED, DeliveryStatus.BOUNCED})
FINAL = frozenset({*ACCEPTED, *LOST, DeliveryStatus.SKIPPED})
SETTLED = frozenset({EventStatus.SENT, EventStatus.PARTIAL, EventStatus.FAILED, EventStatus.SKIPPED})
