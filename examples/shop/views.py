"""The shop's pages: plain forms and links. Each POST ends with a redirect, so that a reload repeats nothing."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from examples.shop import orders, timeline
from examples.shop.models import CURRENCY, LIFE, Customer, Order, Step
from notifier_client import NotifierError
from notifier_client.outbox.models import OutboxEvent, State
from notifier_client.outbox.sweep import send_again

SHOWN = 50  # rows of a list
#: the words on the buttons
WHAT_TO_DO = {
    Step.CONFIRMED: "Take the payment",
    Step.PACKED: "Pack",
    Step.SHIPPED: "Ship",
    Step.DELAYED: "Report a delay",
    Step.DELIVERED: "Deliver",
    Step.CANCELLED: "Cancel",
}


@require_safe
def order_list(request: HttpRequest) -> HttpResponse:
    """The latest orders, and the form for a new one."""
    found = Order.objects.select_related("customer").prefetch_related("lines", "steps")[:SHOWN]
    goods = [(key, name, price) for key, (name, price) in orders.GOODS.items()]
    context = {
        "orders": found,
        "customers": Customer.objects.all(),
        "goods": goods,
        "currency": CURRENCY,
        "page": "orders",
    }
    return render(request, "shop/orders.html", context)


@require_POST
def place(request: HttpRequest) -> HttpResponse:
    """A new order, from the form."""
    try:
        customer = get_object_or_404(Customer, id=UUID(request.POST.get("customer", "")))
        basket = {key: int(request.POST.get(key) or 0) for key in orders.GOODS}
    except ValueError:
        messages.error(request, "Choose a customer, and whole numbers of each.")
        return redirect("orders")
    try:
        order = orders.place(customer, basket)
    except orders.OrderError as error:
        messages.error(request, str(error))
        return redirect("orders")
    messages.success(request, f"{order.number} is placed. {customer} will hear of it.")
    return redirect("order", order.number)


@require_safe
def order_page(request: HttpRequest, number: str) -> HttpResponse:
    """One order: where it stands, what may happen next, and what the customer was told."""
    order = get_object_or_404(
        Order.objects.select_related("customer").prefetch_related("lines", "steps"), number=number
    )
    told = timeline.of_order(number)
    untold = OutboxEvent.objects.filter(order_id=number).exclude(state=State.SENT)
    under_way = any(event.is_under_way for event in told.events) or any(row.state == State.WAITING for row in untold)
    context = {
        "order": order,
        "currency": CURRENCY,
        "life": _life(order),
        "steps": [(step.value, _to_do(order, step)) for step in order.next_steps],
        "told": told,
        "untold": untold,
        "look_again": under_way,
    }
    return render(request, "shop/order.html", context)


def _life(order: Order) -> list[dict[str, object]]:
    """The order's way: the steps that it took, then those to come, if there are any."""
    taken = order.taken
    to_come = [] if Step.CANCELLED in taken else [step for step in LIFE if step not in taken]
    way = [*((Step(step), row.at) for step, row in taken.items()), *((step, None) for step in to_come)]
    return [{"step": step.value, "label": step.label, "at": at} for step, at in way]


def _to_do(order: Order, step: Step) -> str:
    if step == Step.CANCELLED and Step.CONFIRMED in order.taken:
        return "Cancel and refund"
    return WHAT_TO_DO[step]


@require_POST
def take_step(request: HttpRequest, number: str) -> HttpResponse:
    """Move an order on."""
    wanted = request.POST.get("step", "")
    if wanted not in Step.values:
        raise Http404
    try:
        orders.take(number, Step(wanted))
    except Order.DoesNotExist as error:
        raise Http404 from error
    except orders.OrderError as error:
        messages.error(request, str(error))
    return redirect("order", number)


@require_safe
def event_page(request: HttpRequest, number: str, event_id: UUID) -> HttpResponse:
    """One event of an order, with every attempt and decision."""
    order = get_object_or_404(Order, number=number)
    try:
        event = timeline.of_event(str(event_id))
    except NotifierError as error:
        messages.error(request, f"The customer's messages cannot be shown now. {error}")
        return redirect("order", number)
    if event is None:
        raise Http404
    return render(request, "shop/event.html", {"order": order, "event": event})


@require_safe
def outbox_page(request: HttpRequest) -> HttpResponse:
    """What waits to be told, what was refused and why, and what was told last."""
    waiting = OutboxEvent.objects.filter(state=State.WAITING)
    refused = OutboxEvent.objects.filter(state=State.REFUSED)
    sent = OutboxEvent.objects.filter(state=State.SENT)
    context = {"waiting": waiting[:SHOWN], "refused": refused[:SHOWN], "sent": sent[:SHOWN], "page": "outbox"}
    return render(request, "shop/outbox.html", context)


@require_POST
def again(request: HttpRequest, row_id: UUID) -> HttpResponse:
    """Have a refused event tried once more."""
    number = send_again([row_id])
    messages.success(request, "It goes out with the next sweep." if number else "It was not refused.")
    return redirect("outbox")
