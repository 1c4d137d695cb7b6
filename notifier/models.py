"""The ledger: what happened, to whom it was to be told, and every try to do so. Postgres is the truth.

Ids are UUIDv7, made in Python, and nothing is ordered by them. Hot tables carry no foreign-key constraints: their
triggers would cost more than the rows, and the engine never deletes a parent before its children.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable
from datetime import timedelta
from ipaddress import ip_address, ip_network
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models, transaction
from django.db.models.fields.json import KT
from django.db.models.functions import Lower, Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from notifier import catalogue
from notifier.catalogue import Priority
from notifier.fingerprint import LENGTH
from notifier.querysets.dead_letters import DeadLetterQuerySet
from notifier.querysets.deliveries import DeliveryQuerySet
from notifier.querysets.events import EventQuerySet
from notifier.querysets.templates import Place, TemplateQuerySet
from notifier.states import (
    AttemptOutcome,
    DeadLetterStatus,
    DeliveryStatus,
    EventStatus,
    HoldReason,
    SkipReason,
    TemplateState,
)


def new_id() -> UUID:
    """A UUIDv7: new rows land at the end of the primary key's index."""
    return uuid7()


class NotificationEvent(models.Model):
    """What happened to an order, for one recipient."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    source = models.CharField(max_length=100, help_text="API key's source, Celery caller or bus")
    origin = models.JSONField(
        null=True, help_text="from where it came: IP and request id, Celery task, or place on a bus"
    )
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - NULL is "no key": never equal
    body_hash = models.BinaryField(max_length=32, help_text="SHA-256 of the trigger as canonical JSON")
    event_type = models.CharField(max_length=64)
    priority = models.SmallIntegerField(choices=[(p.value, p.name) for p in Priority])
    stage = models.SmallIntegerField(null=True, help_text="the order's step, where the type marks one")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="events",
    )
    recipient = models.JSONField(null=True, help_text="a guest's addresses, locale and time zone")
    recipient_key = models.CharField(max_length=64, help_text="names the recipient, whether user or guest")
    order_id = models.CharField(max_length=100, blank=True)
    metadata = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=EventStatus, default=EventStatus.QUEUED)
    round = models.IntegerField(default=0, help_text="chords started; guards the event's own moves")
    plan_failures = models.SmallIntegerField(default=0, db_default=0, help_text="rounds that ended in planning")
    recorded_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(help_text="the type's time to live ends")
    due_at = models.DateTimeField(null=True, db_default=Now(), help_text="dispatch takes it from then on")
    lease_until = models.DateTimeField(null=True, help_text="a round in flight is believed until then")
    settled_at = models.DateTimeField(null=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        permissions = [("view_content", "Can read what messages say")]
        constraints = [
            models.UniqueConstraint(fields=["source", "idempotency_key"], name="event_once_per_source_and_key"),
        ]
        indexes = [
            # dispatch: the due of one lane, urgent first, oldest first (EventQuerySet.claim_due)
            models.Index(fields=["priority", "due_at"], name="event_due", condition=models.Q(due_at__isnull=False)),
            # sweep: rounds whose lease ran out (EventQuerySet.lease_expired)
            models.Index(fields=["lease_until"], name="event_leased", condition=models.Q(lease_until__isnull=False)),
            # GET events?orderId=, the admin's search, and what supersedes a message (DeliveryQuerySet.claim)
            models.Index(fields=["order_id", "stage"], name="event_order", condition=~models.Q(order_id="")),
            # what there is of a person: to forget or to export it, and the admin's search (EventQuerySet.of_person)
            models.Index(fields=["user"], name="event_user", condition=models.Q(user__isnull=False)),
            models.Index(
                Lower(KT("recipient__email")), name="event_guest_email", condition=models.Q(recipient__has_key="email")
            ),
            models.Index(
                KT("recipient__phone"), name="event_guest_phone", condition=models.Q(recipient__has_key="phone")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.order_id}".strip()


class Delivery(models.Model):
    """One event on one channel."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    event = models.ForeignKey(
        NotificationEvent,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,  # the unique (event, channel) serves it
        related_name="deliveries",
    )
    channel = models.CharField(max_length=32)
    status = models.CharField(max_length=10, choices=DeliveryStatus, default=DeliveryStatus.QUEUED)
    skip_reason = models.CharField(max_length=16, choices=SkipReason, blank=True, default=SkipReason.NONE)
    hold_reason = models.CharField(max_length=16, choices=HoldReason, blank=True, default=HoldReason.NONE)
    detail = models.CharField(max_length=500, blank=True, default="", help_text="why it is as it is")
    fallback_of = models.CharField(max_length=32, blank=True, default="", help_text="the channel it stands in for")
    attempt = models.IntegerField(default=0, help_text="claims; the fence against late writers")
    tries = models.IntegerField(default=0, help_text="attempts that count against the limit")
    crashes = models.IntegerField(default=0, help_text="attempts that ended with their process")
    unknown_since = models.DateTimeField(null=True, help_text="start of the first attempt that may have gone out")
    forced = models.BooleanField(default=False, db_default=False, help_text="replayed although overtaken or too late")
    provider = models.CharField(max_length=32, blank=True, default="")
    provider_message_id = models.CharField(max_length=200, blank=True, default="")
    first_due_at = models.DateTimeField(db_default=Now(), help_text="how long until a fallback counts from here")
    due_at = models.DateTimeField(db_default=Now())
    lease_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True, help_text="the provider accepted it")
    finished_at = models.DateTimeField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "channel"], name="delivery_once_per_event_and_channel")]
        indexes = [
            # sweep: sends whose process is gone (DeliveryQuerySet.lease_expired)
            models.Index(fields=["lease_until"], name="delivery_leased", condition=models.Q(lease_until__isnull=False)),
            # what comes back soon when a channel's provider has recovered (DeliveryQuerySet.wake)
            models.Index(fields=["channel"], name="delivery_retrying", condition=models.Q(status="RETRYING")),
            # what goes out when a pause has ended (DeliveryQuerySet.release)
            models.Index(
                fields=["channel"], name="delivery_paused", condition=models.Q(status="QUEUED", hold_reason="PAUSED")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.status}"


class Attempt(models.Model):
    """One try to hand one message to a provider. A push delivery makes one for each device."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="attempts"
    )
    number = models.IntegerField(help_text="the delivery's attempt when it was claimed")
    address_id = models.CharField(max_length=64, blank=True, default="", help_text="the device, for push")
    address_hash = models.CharField(
        max_length=LENGTH, blank=True, default="", db_default="", help_text="notifier.fingerprint of where it went"
    )
    provider = models.CharField(max_length=32, blank=True, default="")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=20, choices=AttemptOutcome)
    code = models.CharField(max_length=64, blank=True, default="", help_text="the provider's own")
    http_status = models.SmallIntegerField(null=True)
    detail = models.CharField(max_length=500, blank=True, default="")
    provider_message_id = models.CharField(max_length=200, blank=True, default="")
    maybe_duplicate = models.BooleanField(default=False)
    template = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text="what it was rendered with: v12, or a file's hash",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["delivery", "number", "address_id"], name="attempt_once_per_claim"),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.outcome}"

    @property
    def duration_ms(self) -> int | None:
        """From the call to its outcome."""
        return round((self.finished_at - self.started_at).total_seconds() * 1000) if self.finished_at else None


class DeadLetter(models.Model):
    """What could not be delivered or read, kept until it is replayed or discarded."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    delivery = models.ForeignKey(
        Delivery, null=True, on_delete=models.CASCADE, db_constraint=False, related_name="dead_letters"
    )
    source = models.CharField(max_length=100, blank=True, default="", help_text="of a trigger that was refused")
    event_type = models.CharField(max_length=64, blank=True, default="")
    channel = models.CharField(max_length=32, blank=True, default="")
    cause = models.CharField(max_length=64)
    last_error = models.CharField(max_length=500, blank=True, default="")
    payload = models.BinaryField(null=True, help_text="the bytes of what could not be read")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - NULL: no bus's message
    origin = models.JSONField(null=True, help_text="of a bus's message: its place, and what headers it is read by")
    status = models.CharField(max_length=10, choices=DeadLetterStatus, default=DeadLetterStatus.OPEN)
    created_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True)

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        permissions = [
            ("replay_deadletter", "Can send a dead letter again"),
            ("discard_deadletter", "Can discard a dead letter"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["delivery"], condition=models.Q(status="OPEN"), name="dead_letter_open_once_per_delivery"
            ),
            models.UniqueConstraint(
                fields=["source", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="dead_letter_once_per_message",
            ),
        ]
        indexes = [models.Index(fields=["status", "-created_at"], name="dead_letter_open")]

    def __str__(self) -> str:
        return f"{self.cause} {self.event_type} {self.channel}".strip()


class Pause(models.Model):
    """What is not sent for now."""

    class Kind(models.TextChoices):
        CHANNEL = "CHANNEL"
        EVENT_TYPE = "EVENT_TYPE", "Event type"
        PROVIDER = "PROVIDER"

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=100, help_text="a channel, an event type, or CHANNEL:provider")
    reason = models.CharField(max_length=200, blank=True, default="")
    paused_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="pause_once")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name}"


class EndedPause(models.Model):
    """A pause that is over, for as long as something that it held has not been let go."""

    kind = models.CharField(max_length=10, choices=Pause.Kind)
    name = models.CharField(max_length=100)
    ended_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name}"


class Rollout(models.Model):
    """A channel that is being brought in: who gets it so far. Without a row everybody does."""

    id = models.CharField(max_length=32, primary_key=True, help_text="the channel")
    percent = models.PositiveSmallIntegerField(default=0, help_text="of all recipients, always the same ones")
    users = ArrayField(models.UUIDField(), default=list, blank=True, help_text="who gets it in any case")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(percent__lte=100), name="rollout_at_most_all"),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.percent} %"


class Alert(models.Model):
    """What staff are to see to. It ends when it has healed, or somebody acknowledged it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=64, help_text="the staff event type that tells of it")
    subject = models.CharField(max_length=100, help_text="CHANNEL:provider, or the id of the event that opened it")
    text = models.CharField(max_length=500, help_text="for people")
    metadata = models.JSONField(default=dict, help_text="what they were told with")
    level = models.SmallIntegerField(default=0, help_text="how many further groups were told")
    opened_at = models.DateTimeField(db_default=Now())
    told_at = models.DateTimeField(db_default=Now(), help_text="the last group")
    seen_at = models.DateTimeField(db_default=Now(), help_text="it was last seen to go on")
    healed_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        permissions = [("acknowledge_alert", "Can acknowledge an alert")]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=models.Q(healed_at=None), name="alert_once_at_a_time"
            ),
        ]
        indexes = [
            # what is open, and what nobody has acknowledged in time (notifier/watch.py)
            models.Index(
                fields=["opened_at"], name="alert_open", condition=models.Q(healed_at=None, acknowledged_at=None)
            ),
        ]

    def __str__(self) -> str:
        return self.text


class TemplateVersion(models.Model):
    """A message template that staff wrote in place of a file. Its text never changes: who edits makes a new one.

    `number` counts over all templates, so that it says alone with what a message was rendered (Attempt.template).
    """

    number = models.BigAutoField(primary_key=True, db_column="id")
    event_type = models.CharField(max_length=64)
    channel = models.CharField(max_length=32)
    locale = models.CharField(max_length=16)
    source = models.TextField()
    note = models.CharField(max_length=200, blank=True, default="", help_text="what was changed, and why")
    author = models.CharField(max_length=150, help_text="username")
    created_at = models.DateTimeField(db_default=Now())
    state = models.CharField(max_length=10, choices=TemplateState, default=TemplateState.DRAFT)
    published_at = models.DateTimeField(null=True, help_text="the last time")
    published_by = models.CharField(max_length=150, blank=True, default="")
    replaces = models.BigIntegerField(null=True, help_text="the last good version before it; none: the file")
    broken_at = models.DateTimeField(null=True, help_text="it failed on a message, and does not serve")
    broken_why = models.CharField(max_length=500, blank=True, default="")

    objects = TemplateQuerySet.as_manager()

    class Meta:
        verbose_name = "template"
        permissions = [("publish_template", "Can publish a template, and roll it back")]
        constraints = [
            # and what serves now (TemplateQuerySet.serving)
            models.UniqueConstraint(
                fields=["event_type", "channel", "locale"],
                condition=models.Q(state="PUBLISHED"),
                name="template_published",
            ),
        ]
        indexes = [
            # the versions of one template (TemplateQuerySet.of)
            models.Index(fields=["event_type", "channel", "locale", "-number"], name="template_place"),
        ]

    def __str__(self) -> str:
        return f"{self.place} {self.label}"

    @property
    def place(self) -> Place:
        return Place(self.event_type, self.channel, self.locale)

    @property
    def label(self) -> str:
        return f"v{self.number}"


class ReplayPace(models.Model):
    """One row: until when replays have filled their rate. Who takes places locks it, so that none is given twice."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    free_at = models.DateTimeField(help_text="the next free place")

    class Meta:
        verbose_name_plural = "replay pace"

    def __str__(self) -> str:
        return f"free at {self.free_at:%Y-%m-%d %H:%M:%S} UTC"


class ApiKey(models.Model):
    """Who may call. The key itself is shown once; only its hash is kept (256 random bits need no slow hash)."""

    SCOPES = ("trigger", "preferences", "read", "admin")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    source = models.CharField(max_length=100, help_text="idempotency keys are unique within it")
    prefix = models.CharField(max_length=12, help_text="the key's first characters, to tell keys apart")
    key_hash = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=20))
    event_types = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, help_text="which it may trigger; none: all"
    )
    networks = ArrayField(
        models.CharField(max_length=49), default=list, blank=True, help_text="where it may come from; none: anywhere"
    )
    created_at = models.DateTimeField(db_default=Now())
    lifetime = models.DurationField(null=True, blank=True, help_text="also of a key that takes its place; none: no end")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(
        cls,
        name: str,
        scopes: Iterable[str],
        *,
        source: str = "",
        event_types: Iterable[str] = (),
        networks: Iterable[str] = (),
        lifetime: timedelta | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key: its row, and the key itself, which is nowhere to be found again.

        `event_types` and `networks` (as "10.0.0.0/8", or one address) limit it; none means all. Raises ValueError for
        a scope or an event type that there is not, and for what is no network.
        """
        row = cls(
            name=name,
            source=source or name,
            scopes=_known("scope", scopes, cls.SCOPES),
            event_types=_known("event type", event_types, catalogue.event_types()),
            networks=[_network(text) for text in networks],
            lifetime=lifetime,
        )
        return row, row._store()

    def rotate(self, overlap: timedelta) -> tuple[ApiKey, str]:
        """A new key that may do the same and lives as long; this one ends after `overlap`, if it does not sooner.

        Raises ValueError where this one has ended.
        """
        now = timezone.now()
        with transaction.atomic():
            old = ApiKey.objects.select_for_update().get(pk=self.pk)
            if old.revoked_at or (old.expires_at and old.expires_at <= now):
                raise ValueError(f"{old} has ended; make a new key instead")
            successor = ApiKey(
                name=old.name,
                source=old.source,
                scopes=old.scopes,
                event_types=old.event_types,
                networks=old.networks,
                lifetime=old.lifetime,
            )
            key = successor._store()
            old.expires_at = min(old.expires_at or now + overlap, now + overlap)
            old.save(update_fields=["expires_at"])
        return successor, key

    def _store(self) -> str:
        """Save as a new row; the key."""
        key = f"nk_{secrets.token_urlsafe(32)}"
        self.prefix, self.key_hash = key[:9], self.digest(key)
        self.expires_at = timezone.now() + self.lifetime if self.lifetime else None
        self.save(force_insert=True)
        return key

    def may_trigger(self, event_type: str) -> bool:
        return catalogue.may_trigger(self.event_types, event_type)

    def may_come_from(self, address: str) -> bool:
        """`address` as the web server names its peer; an IPv4 address in the form of IPv6 counts as what it is."""
        if not self.networks:
            return True
        try:
            peer = ip_address(address)
        except ValueError:  # a unix socket has none
            return False
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in ip_network(network) for network in self.networks)

    @classmethod
    def find(cls, key: str) -> ApiKey | None:
        """The live row of a key, or None when it is unknown, expired or revoked."""
        with connection.cursor() as cursor:  # each request asks: the ORM costs four times as much
            cursor.execute(
                """
                SELECT id, name, source, prefix, key_hash, scopes, event_types, networks, created_at, lifetime,
                    expires_at, revoked_at, last_used_at
                FROM notifier_apikey
                WHERE key_hash = %s AND revoked_at IS NULL
                    AND (expires_at IS NULL OR expires_at > statement_timestamp())
                """,
                [cls.digest(key)],
            )
            row = cursor.fetchone()
            return row and cls.from_db(connection.alias, [column.name for column in cursor.description], row)

    @staticmethod
    def digest(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()


def _known(what: str, chosen: Iterable[str], known: Collection[str]) -> list[str]:
    chosen = sorted(set(chosen))
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(f"unknown {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return chosen


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"network {error}; write it as 10.0.0.0/8, or a single address") from error
