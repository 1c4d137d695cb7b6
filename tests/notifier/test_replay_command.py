from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Max, Min
from django.db.models.functions import Now

from notifier.models import DeadLetter, Delivery
from notifier.replay import BATCH
from tests.letters import HOUR, make_event, make_letter, make_many

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    """What the command prints; its lines as one."""
    out = io.StringIO()
    call_command("replay_dead_letters", *arguments, stdout=out)
    return " ".join(out.getvalue().split())


def refusal(*arguments: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return caught.value.returncode, str(caught.value)


def replayed() -> int:
    return DeadLetter.objects.filter(status="REPLAYED").count()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A person at the terminal, who types what is written to it."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdin", terminal)
    return terminal


def test_a_dry_run_shows_what_would_happen_and_why_not_the_rest() -> None:
    make_letter(make_event())
    make_letter(make_event(expires_at=Now() - HOUR))
    make_letter(make_event(status="SENT"))

    shown = run("--dry-run")

    assert "1 │ would be sent again" in shown
    assert "1 │ left out, EXPIRED: past its time to live" in shown
    assert "1 │ left out, REACHED: its recipient was reached another way" in shown
    assert replayed() == 0
    assert "3 │ would be sent again, forced" in run("--dry-run", "--force")


def test_with_yes_it_does_not_ask() -> None:
    make_letter(make_event())
    make_letter(make_event(status="SENT"))

    assert "1 │ will be sent again" in run("--yes")
    assert "1 │ will be sent again, forced" in run("--yes", "--force")
    assert "0 │ will be sent again" in run("--yes")
    assert replayed() == 2


def test_options_choose() -> None:
    for _ in range(2):
        make_letter(make_event(), cause="CRASHED")
    mail = make_letter(make_event("ORDER_PLACED"), "EMAIL", cause="RENDER")
    old = make_letter(make_event(), "PUSH", created_at="2026-11-01T12:00:00Z")

    for options, number in {
        ("--type", "ORDER_PLACED", "--type", "ORDER_PACKED"): 1,
        ("--channel", "EMAIL", "--channel", "PUSH"): 2,
        ("--cause", "CRASHED", "--cause", "RENDER"): 3,
        ("--cause", "CRASHED", "--channel", "EMAIL"): 0,
        ("--since", "2026-11-02"): 3,
        ("--until", "2026-11-02T00:00+01:00"): 1,
        ("--since", "2026-11-01T12:00", "--until", "2026-11-01T12:00:01"): 1,
        ("--id", str(mail.id), "--id", str(old.id)): 2,
    }.items():
        assert f"{number} │ would be" in run("--dry-run", *options), options


def test_the_rate_is_given() -> None:
    for _ in range(3):
        make_letter(make_event())
    run("--yes", "--rate", "0.5")
    span = Delivery.objects.aggregate(first=Min("due_at"), last=Max("due_at"))
    assert span["last"] - span["first"] == timedelta(seconds=4)


def test_it_shows_first_and_asks(answers: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    make_letter(make_event())
    answers.write("n\ny\n")
    answers.seek(0)

    assert refusal() == (1, "Nothing was sent again.")
    assert replayed() == 0
    shown = run()

    assert shown.index("would be sent again") < shown.index("will be sent again")
    assert "Send 1 again, spread over 0 s? [y/N]" in capsys.readouterr().out
    assert replayed() == 1


def test_with_nothing_to_send_it_does_not_ask(answers: io.StringIO) -> None:
    make_letter(make_event(expires_at=Now() - HOUR))
    assert "EXPIRED" in run()
    assert answers.tell() == 0


def test_where_nobody_can_be_asked_it_wants_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    make_letter(make_event())
    assert refusal() == (2, "Nobody is here to be asked: give --yes, or --dry-run.")
    assert replayed() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--since", "yesterday"], "'yesterday' is no date or time; write it as 2026-11-24"),
        (["--until", "2026-13-01"], "'2026-13-01' is no date or time"),
        (["--since", "2026-11-24", "--until", "2026-11-23"], "--until: Must be later than since."),
        (["--type", "ORDER_LOST"], "--type: Unknown event type ORDER_LOST; there are ORDER_PLACED, "),
        (["--channel", "FAX"], "--channel: Unknown channel FAX; there are EMAIL, IN_APP, PUSH, SMS."),
        (["--id", "7"], "argument --id: '7' is not a dead letter's id."),
        (["--rate", "0"], "argument --rate: '0' is not a number above 0."),
        (["--rate", "fast"], "argument --rate: 'fast' is not a number above 0."),
        (["--rate", "nan"], "argument --rate: 'nan' is not a number above 0."),
    ],
    ids=["since", "until", "times", "type", "channel", "id", "zero", "word", "nan"],
)
def test_a_wrong_argument_is_named(arguments: list[str], told: str) -> None:
    _, message = refusal("--yes", *arguments)
    assert told in message


def test_an_unknown_id_is_counted() -> None:
    assert "1 │ left out, NOT_FOUND: there is no such dead letter" in run("--yes", "--id", str(uuid4()))


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Ctrl-C while the first batch is in hand."""

    def interrupt(execute, sql, params, many, context):  # type: ignore[no-untyped-def] # Django's wrapper
        if "notifier_replaypace" in str(sql):
            os.kill(os.getpid(), signal.SIGINT)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(interrupt):
        yield


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_ends_it_after_the_batch_in_hand() -> None:
    make_many(2 * BATCH + 1)
    before = signal.getsignal(signal.SIGINT)

    code, message = refusal("--yes")

    assert code == 130
    assert message.startswith(f"Stopped after {BATCH} of them; these will be sent. Run the same command again")
    assert replayed() == BATCH
    assert signal.getsignal(signal.SIGINT) is before
    assert refusal("--yes")[0] == 130
    assert replayed() == 2 * BATCH


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    shown = capsys.readouterr().out
    for option in ("cause", "type", "channel", "since", "until", "id", "dry-run", "force", "rate", "yes"):
        assert f"--{option}" in shown
