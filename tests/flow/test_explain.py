"""What is explained is what then happens when the same is triggered; and explaining leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, example, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from notifier.catalogue import Audience, event_types
from notifier.explain import PLANNED, Explanation, Outlook, explain
from notifier.models import Delivery
from notifier.record import record
from notifier.states import DeliveryStatus
from notifier.trigger import KeyConflict, UnknownUser, parse
from preferences.models import Device, Preference, SuppressedAddress, User
from tests import engine
from tests.access.test_matrix import changes
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

Customer = Callable[..., User]
MOMENT = timedelta(minutes=1)
CUSTOMER_TYPES = [name for name, kind in event_types().items() if kind.audience is Audience.CUSTOMER]
CHANNELS = ["EMAIL", "SMS", "PUSH", "IN_APP"]
AMERICAN = "+14155550100"
SHIPPED = {"orderId": "ORD1", "trackingUrl": "https://t.example"}
DEDUPED = tuple(replace(t, dedupe_within=timedelta(minutes=10)) for t in event_types().values())


def one(event_type: str, user: User | None = None, source: str = "shop", **more: Any) -> Explanation:
    (found,) = explain(parse(body(event_type, user, **more)), source)
    return found


def body(event_type: str, user: User | None = None, **more: Any) -> dict[str, Any]:
    whom = {"userId": str(user.id)} if user else {}
    return {"eventType": event_type, "metadata": SHIPPED, **whom, **more}


def shown(found: Explanation) -> dict[str, str]:
    """As engine.states has it, of what was sent."""
    words = {DeliveryStatus.QUEUED: "SENT"}
    return {
        d.channel: f"{'QUEUED' if d.hold_reason and not d.skip_reason else words.get(d.status, d.status)} "
        f"{d.skip_reason}".strip()
        for d in found.deliveries
    }


def by_channel(found: Explanation) -> dict[str, Outlook]:
    return {outlook.channel: outlook for outlook in found.deliveries}


def in_redis(settings: Settings) -> dict[bytes, bytes]:
    with redis.from_url(settings.REDIS_URL) as client:
        return {key: client.dump(key) for key in client.scan_iter("*")}


@dataclass(frozen=True)
class Person:
    email: bool
    phone: str
    device: bool
    choices: Mapping[tuple[str, str], bool]
    suppressed: bool
    quiet_hours: int  # how long they go on; 0: none now
    is_guest: bool

    @property
    def addresses(self) -> dict[str, str]:
        given = {"email": "ada@mail.example" if self.email else "", "phone": self.phone}
        return {name: value for name, value in given.items() if value}

    def made(self) -> dict[str, Any]:
        """What a trigger says of them, who is in the database now."""
        if self.suppressed:
            SuppressedAddress.objects.create(kind="email", address="ada@mail.example", reason="INVALID")
        if self.is_guest:
            return {"recipient": self.addresses}
        user = User.objects.create_user(**self.addresses, **self._quiet())
        if self.device:
            Device.objects.create(user=user, token=f"device-{user.id}")
        for (event_type, channel), enabled in self.choices.items():
            Preference.objects.create(user=user, event_type=event_type, channel=channel, enabled=enabled)
        return {"userId": str(user.id)}

    def _quiet(self) -> dict[str, Any]:
        now = timezone.now()
        ends = now + timedelta(hours=self.quiet_hours)
        return {"quiet_from": (now - MOMENT).time(), "quiet_until": ends.time()} if self.quiet_hours else {}


SLEEPER = Person(True, "", True, {}, suppressed=False, quiet_hours=22, is_guest=False)
people = st.builds(
    Person,
    email=st.booleans(),
    phone=st.sampled_from(["", "+4915112345678", AMERICAN]),
    device=st.booleans(),
    choices=st.dictionaries(
        st.tuples(st.sampled_from(["", *CUSTOMER_TYPES]), st.sampled_from(["", *CHANNELS])), st.booleans(), max_size=4
    ),
    suppressed=st.booleans(),
    quiet_hours=st.sampled_from([0, 3, 22]),
    is_guest=st.booleans(),
).filter(lambda person: not person.is_guest or bool(person.addresses))


@given(
    event_type=st.sampled_from(CUSTOMER_TYPES),
    person=people,
    before=st.sampled_from(["", "ORDER_DELIVERED", "ORDER_CANCELLED"]),
    staging=st.sampled_from([(), ("ada@mail.example",)]),
)
@example(event_type="ORDER_PACKED", person=SLEEPER, before="", staging=())
@example(event_type="ORDER_CONFIRMED", person=SLEEPER, before="ORDER_DELIVERED", staging=())
@budget(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_explained_is_what_happens(
    sandbox: Sandbox, settings: Settings, event_type: str, person: Person, before: str, staging: tuple[str, ...]
) -> None:
    settings.SMS_REGIONS, settings.STAGING_RECIPIENTS = frozenset({"DE"}), staging
    with transaction.atomic():
        _explained_and_done(event_type, person.made(), before)
        transaction.set_rollback(True)


def _explained_and_done(event_type: str, whom: dict[str, Any], before: str) -> None:
    if before:
        engine.trigger(before, metadata=SHIPPED, **whom)
        engine.run()
    (found,) = explain(parse(body(event_type, **whom)), "shop")
    event = engine.trigger(event_type, metadata=SHIPPED, **whom)
    engine.run()

    held = {o.channel: o for o in found.deliveries if o.hold_reason}
    for delivery in Delivery.objects.filter(event=event):
        outlook = by_channel(found)[delivery.channel]
        assert delivery.fallback_of == outlook.fallback_of
        assert delivery.hold_reason == outlook.hold_reason
        if delivery.hold_reason:
            assert outlook.due_at
            assert abs(delivery.due_at - outlook.due_at) < MOMENT
            assert delivery.status == "QUEUED"
    ends = [o.due_at for o in held.values() if o.due_at and (o.skip_reason or o.due_at >= found.expires_at)]
    if ends:  # what ends its hold in vain is found out then
        engine.pass_time(max(ends) - timezone.now() + MOMENT)
        engine.run()
    assert engine.states(event) == shown(found)


def test_nothing_is_written_and_nothing_sent(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    settings.EVENT_CATALOGUE = f"{__name__}.DEDUPED"
    ada, guest = customer(), {"email": "guest@mail.example"}
    User.objects.create_user("bob", is_staff=True).groups.add(Group.objects.get_or_create(name="fraud")[0])
    rows, kept = changes(), in_redis(settings)

    for event_type in CUSTOMER_TYPES:
        assert one(event_type, ada, idempotencyKey="key").deliveries
        assert one(event_type, recipient=guest).deliveries
    assert one("FRAUD_ALERT").deliveries
    with pytest.raises(UnknownUser):
        explain(parse(body("ORDER_PLACED", userId=str(uuid4()))))

    assert changes() == rows
    assert in_redis(settings) == kept
    assert sandbox.messages() == []


def test_whom_it_goes_to_and_what_it_says(sandbox: Sandbox, customer: Customer) -> None:
    ada = customer(locale="de")
    found = by_channel(one("ORDER_SHIPPED", ada))

    assert [(t.kind, t.address, t.id) for t in found["EMAIL"].targets] == [("email", "a•••@shop.example", "")]
    assert [(t.kind, t.address) for t in found["SMS"].targets] == [("phone", "+49•••78")]
    (device,) = Device.objects.all()
    assert [(t.address, t.id) for t in found["PUSH"].targets] == [("", str(device.id))]
    assert "ORD1" in found["SMS"].content["text"]
    assert "unterwegs" in found["EMAIL"].content["subject"]
    assert "/unsubscribe/…" in found["EMAIL"].content["html"], "whoever holds the real link can use it"
    assert found["EMAIL"].fallback_after_seconds == 300
    assert [(o.channel, o.obstacle) for o in found["PUSH"].fallbacks] == [("EMAIL", PLANNED), ("SMS", PLANNED)]
    assert found["IN_APP"].fallbacks == []
    assert found["IN_APP"].fallback_after_seconds is None


def test_the_content_is_what_arrives(sandbox: Sandbox, customer: Customer) -> None:
    ada = customer(device="", email="")
    text = by_channel(one("ORDER_SHIPPED", ada))["SMS"].content["text"]
    engine.trigger("ORDER_SHIPPED", ada.id, metadata=SHIPPED)
    engine.run()

    assert [message["body"] for message in sandbox.messages()] == [text]


def test_why_a_channel_is_left_out(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    ada = customer(phone=AMERICAN, device="")
    settings.SMS_REGIONS = frozenset({"DE"})
    SuppressedAddress.objects.create(kind="email", address="ada@shop.example", reason="OPTED_OUT")
    Preference.objects.create(user=ada, channel="IN_APP", enabled=False)
    Preference.objects.create(user=ada, channel="EMAIL", enabled=False)
    found = by_channel(one("ORDER_CANCELLED", ada))

    assert {channel: outlook.detail for channel, outlook in found.items()} == {
        "EMAIL": "the email address is suppressed: it does not exist, or its owner said stop",
        "SMS": "the phone number is outside SMS_REGIONS",
        "PUSH": "no device with the app is known",
        "IN_APP": "its recipient turned off everything by IN_APP",
    }
    SuppressedAddress.objects.all().delete()
    assert by_channel(one("ORDER_CANCELLED", ada))["EMAIL"].detail == "cannot be turned off"
    assert by_channel(one("ORDER_CANCELLED", ada))["EMAIL"].status == "QUEUED"


@pytest.mark.parametrize(
    ("event_type", "channel", "told"),
    [
        ("", "", "everything"),
        ("ORDER_PACKED", "", "ORDER_PACKED"),
        ("", "PUSH", "everything by PUSH"),
        ("ORDER_PACKED", "PUSH", "ORDER_PACKED by PUSH"),
    ],
)
def test_which_choice_turned_it_off(
    sandbox: Sandbox, customer: Customer, event_type: str, channel: str, told: str
) -> None:
    ada = customer()
    Preference.objects.create(user=ada, event_type=event_type, channel=channel, enabled=False)

    assert by_channel(one("ORDER_PACKED", ada))["PUSH"].detail == f"its recipient turned off {told}"


def test_the_other_channels_and_why_not_by_them(sandbox: Sandbox, customer: Customer) -> None:
    ada = customer(phone="")
    found = {other.channel: other for other in one("ORDER_PACKED", ada).unplanned}

    assert (found["EMAIL"].stands_in_for, found["EMAIL"].obstacle) == (("PUSH",), "")
    assert found["EMAIL"].detail == "only if PUSH fails"
    assert found["SMS"].obstacle == "NO_ADDRESS"
    assert found["SMS"].detail == "only if PUSH fails; then not, as no phone number is known"
    Device.objects.all().delete()
    without = {other.channel: other.detail for other in one("ORDER_PACKED", ada).unplanned}
    assert without == dict.fromkeys(["EMAIL", "SMS"], "ORDER_PACKED does not go by it")


def test_a_stand_in_says_for_whom(sandbox: Sandbox, customer: Customer) -> None:
    found = by_channel(one("ORDER_PLACED", recipient={"phone": "+4915112345678"}))

    assert found["SMS"].fallback_of == "EMAIL"
    assert found["SMS"].detail == "stands in for EMAIL: NO_ADDRESS"


def test_quiet_hours_and_what_outlasts_them(sandbox: Sandbox, customer: Customer) -> None:
    now = timezone.now()
    ada = customer(quiet_from=(now - MOMENT).time(), quiet_until=(now + timedelta(hours=8)).time())
    confirmed, packed = by_channel(one("ORDER_CONFIRMED", ada)), by_channel(one("ORDER_PACKED", ada))

    assert (confirmed["EMAIL"].status, confirmed["EMAIL"].hold_reason) == ("QUEUED", "QUIET_HOURS")
    assert confirmed["EMAIL"].detail.startswith("quiet hours from ")
    assert confirmed["IN_APP"].hold_reason == ""
    assert (packed["PUSH"].status, packed["PUSH"].skip_reason) == ("SKIPPED", "EXPIRED")
    assert packed["PUSH"].detail.endswith(", and its time to live ends before")
    assert {other.stands_in_for for other in one("ORDER_PACKED", ada).unplanned} == {()}, "what is skipped never fails"
    assert by_channel(one("ORDER_DELAYED", ada))["SMS"].hold_reason == ""


def test_the_cap_is_seen_and_not_counted(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    settings.DAILY_CAP = 2
    ada = customer(email=f"{uuid4()}@mail.example", phone="", device="")
    for number in range(2):
        assert {by_channel(one("ORDER_CONFIRMED", ada))["EMAIL"].hold_reason for _ in range(3)} == {""}
        engine.trigger("ORDER_CONFIRMED", ada.id, metadata={"orderId": f"ORD{number}"})
        engine.run()
    found = by_channel(one("ORDER_CONFIRMED", ada))

    assert (found["EMAIL"].hold_reason, found["EMAIL"].detail) == ("CAP", "2 messages went there today")
    assert found["EMAIL"].due_at
    assert found["EMAIL"].due_at > timezone.now()
    assert found["IN_APP"].hold_reason == ""
    event = engine.trigger("ORDER_CONFIRMED", ada.id)
    engine.run()
    assert Delivery.objects.get(event=event, channel="EMAIL").hold_reason == "CAP"
    settings.DAILY_CAP = 0
    assert by_channel(one("ORDER_CONFIRMED", ada))["EMAIL"].hold_reason == ""


def test_a_key_that_came_before(sandbox: Sandbox, customer: Customer) -> None:
    ada = customer()
    event = engine.trigger("ORDER_SHIPPED", ada.id, metadata=SHIPPED, idempotencyKey="a")
    found = one("ORDER_SHIPPED", ada, idempotencyKey="a")

    assert found.same_as
    assert (found.same_as.event_id, found.same_as.status) == (event, "QUEUED")
    assert found.deliveries == ()
    assert one("ORDER_SHIPPED", ada, source="another", idempotencyKey="a").same_as is None
    with pytest.raises(KeyConflict):
        one("ORDER_DELIVERED", ada, idempotencyKey="a")


def test_the_same_again_within_its_time(settings: Settings, sandbox: Sandbox, customer: Customer) -> None:
    settings.EVENT_CATALOGUE = f"{__name__}.DEDUPED"
    ada = customer()
    event = engine.trigger("ORDER_DELAYED", ada.id, metadata=SHIPPED)
    found = one("ORDER_DELAYED", ada)

    assert found.same_as
    assert found.same_as.event_id == event
    assert record(parse(body("ORDER_DELAYED", ada)), "shop")[0].event_id == event


def test_what_overtakes_it_is_named(sandbox: Sandbox, customer: Customer) -> None:
    ada = customer()
    later = engine.trigger("ORDER_DELIVERED", ada.id)

    assert {o.detail for o in one("ORDER_SHIPPED", ada).deliveries} == {f"overtaken by ORDER_DELIVERED {later}"}
    assert {o.skip_reason for o in one("ORDER_SHIPPED", ada).deliveries} == {"SUPERSEDED"}
    assert {o.skip_reason for o in one("ORDER_SHIPPED", customer()).deliveries} == {""}


def test_a_staff_type_is_explained_for_each_member(sandbox: Sandbox) -> None:
    fraud = Group.objects.get_or_create(name="fraud")[0]
    for name in ("bea", "cy"):
        User.objects.create_user(name, email=f"{name}@shop.example", is_staff=True).groups.add(fraud)
    found = explain(parse(body("FRAUD_ALERT")))

    mailed = [by_channel(one)["EMAIL"].targets[0].address for one in found]
    assert sorted(mailed) == ["b•••@shop.example", "c•••@shop.example"]


def test_a_message_that_cannot_be_rendered(
    sandbox: Sandbox, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    (tmp_path / "ORDER_PACKED").mkdir()
    (tmp_path / "ORDER_PACKED" / "PUSH.en.j2").write_text("{% block title %}{{ metadata.nothing }}{% endblock %}")
    settings.MESSAGE_TEMPLATE_DIRS = [tmp_path, *settings.MESSAGE_TEMPLATE_DIRS]
    ada = customer()
    found = by_channel(one("ORDER_PACKED", ada))["PUSH"]
    event = engine.trigger("ORDER_PACKED", ada.id)
    engine.run()

    assert found.status == "FAILED"
    assert found.content == {}
    assert found.detail in Delivery.objects.get(event=event, channel="PUSH").detail
    assert Delivery.objects.get(event=event, channel="PUSH").status == "FAILED"


def test_a_provider_that_is_away_is_named(sandbox: Sandbox, customer: Customer) -> None:
    ada = customer()
    assert by_channel(one("ORDER_SHIPPED", ada))["SMS"].detail == ""
    sandbox.fault("twilio", status=503)
    for _ in range(6):
        engine.trigger("ORDER_SHIPPED", ada.id, metadata=SHIPPED)
    engine.send(engine.round_of())

    assert by_channel(one("ORDER_SHIPPED", ada))["SMS"].detail == "waits: breaker open"
