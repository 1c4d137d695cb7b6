"""The people: who may be reached where, and what they want to hear of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Now
from uuid_utils.compat import uuid7

from preferences.addresses import clean_address, clean_locale, clean_phone, clean_time_zone

if TYPE_CHECKING:
    _Text = models.CharField[str, str]
else:
    _Text = models.CharField  # takes no type arguments at run time


def new_id() -> UUID:
    """A UUIDv7: new rows land at the end of the primary key's index."""
    return uuid7()


def default_locale() -> str:
    return str(settings.DEFAULT_LOCALE)


def check_time_zone(value: Any) -> None:
    """A validator in Django's shape."""
    clean_time_zone(value)


class PhoneField(_Text):
    """A phone number, kept in E.164 whatever way it was written."""

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        return super().clean(clean_phone(value) if value else value, model_instance)

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        return super().formfield(*args, **{"max_length": 40, **kwargs})  # as people write it


class LocaleField(_Text):
    """A BCP 47 tag: `en`, `de-AT`."""

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        return super().clean(clean_locale(value) if value else value, model_instance)


class UserManager(BaseUserManager["User"]):
    def create_user(self, username: str | None = None, password: str | None = None, **fields: Any) -> User:
        """A checked, saved user; a customer where no username is given. Raises ValidationError."""
        user = self.model(username=username or None, **fields)
        user.set_password(password)
        user.full_clean(exclude=["password"])
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> User:
        """A member of staff who may do everything in the admin."""
        return self.create_user(username, password, **fields, is_staff=True, is_superuser=True)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Customers are known by their id alone; staff also log in, by `username`.

    Email and phone need not be unique: a family shares a phone, a test shop one mailbox.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    username = models.CharField(  # NULL is "does not log in", and never equal
        max_length=150, unique=True, null=True, blank=True, help_text="staff only"
    )
    password = models.CharField(max_length=128, default="!")  # "!" is Django's "unusable"
    email = models.EmailField(blank=True, default="")
    phone = PhoneField(max_length=16, blank=True, default="", help_text="with country code, as +49 151 12345678")
    locale = LocaleField(max_length=16, default=default_locale)
    time_zone = models.CharField(
        max_length=64, default="UTC", validators=[check_time_zone], help_text="an IANA name, as Europe/Berlin"
    )
    quiet_from = models.TimeField(null=True, blank=True, help_text="by the clocks of the time zone")
    quiet_until = models.TimeField(null=True, blank=True, help_text="the next day, where it is the earlier time")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False, help_text="may open the admin")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    version = models.BigIntegerField(  # written by triggers alone (migration 0004); preferences.resolve caches by it
        default=0,
        db_default=0,
        editable=False,
        help_text="another after each change of the person, their devices or choices",
    )

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(phone="") | models.Q(phone__regex=r"^\+[1-9][0-9]{4,14}$"),
                name="user_phone_e164",
            ),
            models.CheckConstraint(
                condition=models.Q(is_staff=False) | models.Q(username__isnull=False),
                name="user_staff_has_username",
            ),
            models.CheckConstraint(
                condition=models.Q(quiet_from=None, quiet_until=None)
                | (
                    models.Q(quiet_from__isnull=False, quiet_until__isnull=False)
                    & ~models.Q(quiet_from=models.F("quiet_until"))
                ),
                name="user_quiet_hours",
                violation_error_message="Quiet hours need a beginning and another end.",
            ),
        ]
        indexes = [
            # the admin's search by exact address
            models.Index(fields=["email"], name="user_email", condition=~models.Q(email="")),
            models.Index(fields=["phone"], name="user_phone", condition=~models.Q(phone="")),
            # the admin's list of those who are not active any more
            models.Index(fields=["-id"], name="user_inactive", condition=models.Q(is_active=False)),
        ]

    def __str__(self) -> str:
        return self.username or str(self.id)

    def clean(self) -> None:
        """Django's own clean() would turn "no username" into an empty one."""
        self.username = self.normalize_username(self.username) if self.username else None


class Platform(models.TextChoices):
    ANDROID = "android"
    IOS = "ios", "iOS"
    WEB = "web"


class Device(models.Model):
    """A phone or browser that takes push messages. Attempts name it by its id; its token is personal data."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="devices")
    token = models.CharField(max_length=512, unique=True, help_text="the push service's name for the device")
    platform = models.CharField(max_length=16, choices=Platform, default=Platform.ANDROID)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"{self.platform} {self.id}"


class Preference(models.Model):
    """A choice of a person's. Where there is none, a type's default channels are on.

    An empty `event_type` means every type, an empty `channel` every channel; a specific row beats a general
    one (preferences.resolve says how).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        related_name="preferences",
        db_index=False,  # the unique constraint serves it
    )
    event_type = models.CharField(max_length=64, blank=True, default="", help_text="empty: every type")
    channel = models.CharField(max_length=32, blank=True, default="", help_text="empty: every channel")
    enabled = models.BooleanField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "event_type", "channel"], name="preference_once_per_choice"),
        ]

    def __str__(self) -> str:
        state = "on" if self.enabled else "off"
        return f"{self.event_type or 'everything'} by {self.channel or 'any channel'}: {state}"


class SuppressedAddress(models.Model):
    """An address that gets nothing, whoever has it: it does not exist, or its owner said stop."""

    class Kind(models.TextChoices):
        EMAIL = "email"
        PHONE = "phone"

    class Reason(models.TextChoices):
        INVALID = "INVALID"  # a provider says that it cannot be reached, for good
        OPTED_OUT = "OPTED_OUT"

    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=254, help_text="an email in lower case, a phone number in E.164")
    reason = models.CharField(max_length=16, choices=Reason)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "suppressed addresses"
        constraints = [models.UniqueConstraint(fields=["address", "kind"], name="suppressed_once_per_address")]
        indexes = [
            # the admin's search by how an address begins, and its filters
            models.Index(fields=["address"], name="suppressed_address_begins", opclasses=["varchar_pattern_ops"]),
            models.Index(fields=["reason", "-id"], name="suppressed_reason"),
            models.Index(fields=["kind", "-id"], name="suppressed_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reason}"

    def clean(self) -> None:
        """In another form the address would match nobody's."""
        if not (self.kind and self.address):
            return  # said by the field itself
        try:
            self.address = clean_address(self.kind, self.address)
        except ValidationError as error:
            raise ValidationError({"address": error.messages}) from error


class Change(models.Model):
    """A row of the history: what was changed, by whom, when and from where. Written by the database's triggers alone.

    Append-only: the table refuses UPDATE, DELETE and TRUNCATE, but for what preferences.audit does (docs/audit.md).
    """

    class Action(models.TextChoices):
        INSERT = "INSERT", "added"
        UPDATE = "UPDATE", "changed"
        DELETE = "DELETE", "deleted"
        TRUNCATE = "TRUNCATE", "table emptied"
        BLANK = "BLANK", "blanked"  # a person was erased: the addresses in their history were blanked
        FORGET = "FORGET", "deleted"  # old rows of the history

    class Kind(models.TextChoices):
        PERSON = "PERSON"
        DEVICE = "DEVICE"
        PREFERENCE = "PREFERENCE"
        SUPPRESSED_ADDRESS = "SUPPRESSED_ADDRESS", "Suppressed address"
        MEMBERSHIP = "MEMBERSHIP"  # of a person in a group
        PERMISSION = "PERMISSION"  # of a person's own
        GROUP = "GROUP"
        GROUP_PERMISSION = "GROUP_PERMISSION", "Group permission"
        API_KEY = "API_KEY", "API key"
        DEAD_LETTER = "DEAD_LETTER", "Dead letter"
        PAUSE = "PAUSE"
        ROLLOUT = "ROLLOUT"
        TEMPLATE = "TEMPLATE"
        HISTORY = "HISTORY"

    class ActorKind(models.TextChoices):
        API_KEY = "API_KEY", "API key"  # its prefix
        STAFF = "STAFF"  # their username
        CUSTOMER = "CUSTOMER"  # a person by their own link, or whoever calls without a key
        COMMAND = "COMMAND"  # of manage.py
        ENGINE = "ENGINE"  # a task, a sweep: nobody in person
        DATABASE = "DATABASE"  # a session that is not ours, by its role

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now())
    action = models.CharField(max_length=8, choices=Action)
    kind = models.CharField(max_length=20, choices=Kind)
    object_id = models.CharField(max_length=40, blank=True, help_text="the changed row's")
    person_id = models.UUIDField(null=True, help_text="whom it concerns")
    before = models.JSONField(null=True, help_text="of an UPDATE only what differs")
    after = models.JSONField(null=True)
    actor_kind = models.CharField(max_length=8, choices=ActorKind)
    actor = models.CharField(max_length=150, blank=True)
    origin = models.JSONField(null=True, help_text="from where: IP, request id, page")
    blanked_at = models.DateTimeField(null=True, help_text="the addresses were taken out")

    class Meta:
        verbose_name = "change"
        verbose_name_plural = "history"
        default_permissions = ("view",)
        indexes = [
            # a person's history; blanking
            models.Index(
                fields=["person_id", "-id"], name="change_person", condition=models.Q(person_id__isnull=False)
            ),
            # the history of a key, of a dead letter
            models.Index(fields=["object_id", "-id"], name="change_object"),
            # what somebody did
            models.Index(fields=["actor", "-id"], name="change_actor"),
            # of a time; retention
            models.Index(fields=["at"], name="change_at"),
            # an address that was suppressed: blanking
            models.Index(
                Coalesce(KT("after__address"), KT("before__address")),
                name="change_suppressed",
                condition=models.Q(kind="SUPPRESSED_ADDRESS"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.kind} {self.object_id}"


class SavedSearch(models.Model):
    """A search of one of the admin's lists, kept by a name."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="saved_searches")
    page = models.CharField(max_length=80, help_text="the list, as app.model")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=500, help_text="the list's query string")
    shared = models.BooleanField(default=False, help_text="for all who may see the list")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "page", "name"], name="saved_search_once_per_name"),
        ]
        indexes = [models.Index(fields=["page"], name="saved_search_page")]

    def __str__(self) -> str:
        return self.name
