"""The demo's people: four customers who want different things, and staff. Made anew where they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import Group

from notifier.models import ApiKey
from preferences.models import Device, Preference, User

STAFF_LOGIN, STAFF_PASSWORD = "admin", "notifier-demo"
STAFF_GROUPS = ("operations", "fraud")


@dataclass(frozen=True, slots=True)
class Customer:
    """Someone who orders in the demo's shop."""

    id: UUID
    name: str
    note: str
    email: str
    phone: str = ""
    locale: str = "en"
    time_zone: str = "America/New_York"
    device: str = ""
    turned_off: str = ""


ADA = Customer(
    UUID("01920000-0000-7000-8000-00000000000a"),
    "Ada Archer",
    "all channels, with the app",
    "ada.archer@mail.example",
    "+12025550101",
    device="demo-device-of-ada",
)
BEN = Customer(
    UUID("01920000-0000-7000-8000-00000000000b"),
    "Ben Baker",
    "has turned SMS off",
    "ben.baker@mail.example",
    "+12025550102",
    device="demo-device-of-ben",
    turned_off="SMS",
)
CHLOE = Customer(
    UUID("01920000-0000-7000-8000-00000000000c"),
    "Chloe Carter",
    "has no phone",
    "chloe.carter@mail.example",
)
DIETER = Customer(
    UUID("01920000-0000-7000-8000-00000000000d"),
    "Dieter Drechsler",
    "reads German",
    "dieter.drechsler@mail.example",
    "+4915112345678",
    locale="de",
    time_zone="Europe/Berlin",
)
CUSTOMERS = (ADA, BEN, CHLOE, DIETER)


def make_people() -> None:
    """Customers, staff and their groups."""
    for customer in CUSTOMERS:
        _make_customer(customer)
    _make_staff()


def make_api_key(name: str, scopes: Sequence[str] = ApiKey.SCOPES) -> str:
    """A key with these scopes; the demo's earlier ones of this name no longer work."""
    ApiKey.objects.filter(name=name).delete()
    return ApiKey.issue(name, scopes)[1]


def _make_customer(customer: Customer) -> None:
    values = {
        "email": customer.email,
        "phone": customer.phone,
        "locale": customer.locale,
        "time_zone": customer.time_zone,
    }
    user, _ = User.objects.update_or_create(id=customer.id, defaults=values)
    if customer.device:
        Device.objects.update_or_create(token=customer.device, defaults={"user": user})
    if customer.turned_off:
        Preference.objects.update_or_create(
            user=user, event_type="", channel=customer.turned_off, defaults={"enabled": False}
        )


def _make_staff() -> None:
    staff = User.objects.filter(username=STAFF_LOGIN).first() or User.objects.create_superuser(
        STAFF_LOGIN, STAFF_PASSWORD, email="staff@shop.example", phone="+12025550199"
    )
    staff.groups.set([Group.objects.get_or_create(name=name)[0] for name in STAFF_GROUPS])
