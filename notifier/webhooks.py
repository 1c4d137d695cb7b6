"""POST /webhooks/{provider}: what providers tell us. Each call is signed; who cannot sign is told nothing.

By now that is who answered STOP or START to an SMS.
"""

from __future__ import annotations

import logging

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from channels import registry
from channels.inbound import ForgedRequestError, Reply, Request, Wish
from notifier import throttle
from preferences import resolve

log = logging.getLogger(__name__)

NO_ANSWER = "<Response/>"  # TwiML: send nothing back; the provider itself confirms an opt-out


@csrf_exempt  # a provider has no cookie; its signature is checked
@require_POST
def webhook(request: HttpRequest, provider: str) -> HttpResponse:
    """200 once it is written down, so that the provider need not call again; 403 for a wrong signature, 404, 413.

    429 to an address that sends too many without a good one; those with one it may send all the same.
    """
    listeners = registry.listeners(provider)
    if not listeners:
        raise Http404
    try:
        call = _call(request)
    except (RequestDataTooBig, TooManyFieldsSent):
        return _refused(request, HttpResponse(status=413))
    for channel, listener in listeners:
        try:
            _heed(channel.address, listener.reply(call))
        except ForgedRequestError:
            continue
        return HttpResponse(NO_ANSWER, content_type="text/xml")
    log.warning("webhook %s: no valid signature; is PUBLIC_URL the address that it calls?", provider)
    wrong = HttpResponse("The signature is missing or wrong.", status=403, content_type="text/plain")
    return _refused(request, wrong)


def _refused(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """The answer, or 429 where its address had too many such."""
    grant = throttle.without_proof(request)
    if grant is None:
        return answer
    text = f"Too many requests without a valid signature ({grant.rate})."
    return HttpResponse(text, status=429, content_type="text/plain", headers={"Retry-After": grant.retry_after})


def _call(request: HttpRequest) -> Request:
    """As the provider signed it: with our public address, whatever proxies made of it."""
    form = {name: str(request.POST[name]) for name in request.POST}
    return Request(f"{settings.PUBLIC_URL}{request.get_full_path()}", form, request.headers)


def _heed(address_kind: str, reply: Reply | None) -> None:
    """An opt-out counts for the address, whoever has it."""
    if reply is None or not reply.address:
        return
    change = resolve.opt_out if reply.wish is Wish.STOP else resolve.opt_in
    change(address_kind, reply.address)
