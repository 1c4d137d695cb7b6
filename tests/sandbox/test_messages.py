"""What arrived can be read, watched and forgotten."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import urllib3

from sandbox.app import create_app
from sandbox.store import RATES_KEPT, Message, Rates, Store
from tests.ports import free_port
from tests.sandbox.conftest import MAIL, PUSH, TEXT, Client, serving


def test_messages_are_filtered_and_limited(sandbox: Client) -> None:
    sandbox.mail()
    sandbox.text()
    sandbox.push()
    assert [m["provider"] for m in sandbox.messages()] == ["fcm", "twilio", "sendgrid"]
    assert [m["channel"] for m in sandbox.messages("provider=twilio")] == ["SMS"]
    assert [m["channel"] for m in sandbox.messages("deliveryId=d1")] == ["EMAIL"]
    assert [m["channel"] for m in sandbox.messages("to=device-1")] == ["PUSH"]
    page = sandbox.json("GET", "/messages?limit=1")
    assert (len(page["results"]), page["count"]) == (1, 3)
    assert sandbox.call("GET", "/messages?limit=x").status == 400
    assert sandbox.call("GET", "/messages?accepted=x").status == 400


def test_messages_are_forgotten_on_request(sandbox: Client) -> None:
    sandbox.mail()
    assert sandbox.call("DELETE", "/messages").status == 204
    assert sandbox.messages() == []


def test_the_store_forgets_the_oldest_first() -> None:
    store = Store(capacity=2)
    store.add([Message("fcm", "PUSH", to) for to in "abc"], accepted=True, status=200)
    assert [message.to for message in store.newest()] == ["c", "b"]
    assert list(store.newest_to("fcm", "a")) == []


def test_the_store_keeps_the_newest_bodies_and_the_texts_of_all_sms() -> None:
    store = Store(capacity=3, bodies=1)
    mail = Message("sendgrid", "EMAIL", "a", subject="s", text="t", html="h", data={"d": "1"})
    text = Message("twilio", "SMS", "+1", body="on its way", headers={"h": "1"})
    kept = [replace(message) for message in (mail, text, mail)]
    for message in kept:
        store.add([message], accepted=True, status=200)
    found = [store.get(message.id) for message in kept]
    assert found == list(store.newest())[::-1]
    assert [(m.subject, m.text, m.html, m.data) for m in found if m] == [
        ("s", "", "", {}),
        ("", "", "", {}),
        ("s", "t", "h", {"d": "1"}),
    ]
    assert [(m.body, m.headers) for m in store.newest_to("twilio", "+1")] == [("on its way", {})]


def test_a_listener_gets_whole_messages_however_late_it_looks() -> None:
    async def listen() -> list[str]:
        store = Store(bodies=1)
        messages = store.listen(patience=5)
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)  # it listens from here on
        for text in ("one", "two", "three"):
            store.add([Message("sendgrid", "EMAIL", "a", text=text)], accepted=True, status=202)
        found = [await first, await anext(messages)]
        await messages.aclose()
        return [message.text for message in found if message]

    assert asyncio.run(listen()) == ["one", "two"]


def test_a_number_is_listed_at_once_among_very_many() -> None:
    store = Store()
    store.add([Message("twilio", "SMS", f"+1{n % 1_000}") for n in range(200_000)], accepted=True, status=201)
    began = time.perf_counter()
    assert len(list(islice(store.newest_to("twilio", "+17"), 101))) == 101
    assert time.perf_counter() - began < 0.01  # a walk over all takes ten times as long


def test_a_stream_tells_what_arrives(sandbox: Client) -> None:
    with urllib.request.urlopen(f"{sandbox.url}/messages/stream", timeout=5) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == "*"
        assert stream.readline() == b"retry: 1000\n"
        sandbox.text()
        data = next(line for line in stream if line.startswith(b"data: "))
    assert json.loads(data.removeprefix(b"data: "))["body"] == TEXT["Body"]


def test_a_mail_is_shown_without_the_right_to_run_anything(sandbox: Client) -> None:
    sandbox.mail()
    answer = sandbox.call("GET", f"/messages/{sandbox.messages()[0]['id']}/html")
    assert answer.data.decode() == MAIL["content"][1]["value"]
    policy = answer.headers["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert sandbox.call("GET", "/messages/nothing/html").status == 404


@pytest.mark.parametrize("path", ["/", "/shop"])
def test_the_pages_load_nothing_from_elsewhere(sandbox: Client, path: str) -> None:
    page = sandbox.call("GET", path)
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    html = page.data.decode()
    assert "<!-- devices -->" not in html
    assert 'src="http' not in html
    assert 'href="http' not in html


def test_a_log_holds_a_line_for_each_message(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    with serving(create_app({"SANDBOX_LOG": str(path), "SANDBOX_CAPACITY": "1"})) as sandbox:
        sid = sandbox.text({**TEXT, "StatusCallback": "https://n.example/webhooks/twilio?d=d2&a=3"}).json()["sid"]
        assert len(path.read_text().splitlines()) == 1  # before the answer went out
        sandbox.text({**TEXT, "To": "nobody"})
        sandbox.mail()
        sandbox.push({**PUSH, "data": {**PUSH["data"], "attempt": "2"}})
        sandbox.fault("twilio", mode="timeout", latency=0.01, accept=True)
        with pytest.raises(urllib3.exceptions.HTTPError):
            sandbox.text({**TEXT, "StatusCallback": ""})
        sandbox.call("DELETE", "/messages")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["provider"], line["deliveryId"], line["attempt"]) for line in lines] == [
        ("twilio", "d2", 3),
        ("sendgrid", "d1", None),
        ("fcm", "d3", 2),
        ("twilio", "", None),
    ]
    assert lines[0].keys() == {
        *("provider", "channel", "deliveryId", "attempt", "eventType", "to", "at", "providerMessageId"),
    }
    assert (lines[0]["to"], lines[0]["providerMessageId"]) == (TEXT["To"], sid)
    assert abs(lines[0]["at"] / 1_000 - time.time()) < 60


def test_rates_count_what_was_accepted_in_each_second(sandbox: Client) -> None:
    sandbox.text()
    sandbox.text()
    sandbox.text({**TEXT, "To": "nobody"})
    sandbox.mail()
    rates = sandbox.json("GET", "/rates?minutes=1")
    assert sum(second["counts"].get("twilio", 0) for second in rates["results"]) == 2
    assert rates["peak"].keys() == {"twilio", "sendgrid"}
    assert rates["peak"]["twilio"] in (1, 2)  # a second may end between the two
    assert sandbox.json("GET", "/rates?minutes=-1") == {"results": [], "peak": {}}
    assert sandbox.call("GET", "/rates?minutes=x").status == 400


def test_rates_are_by_whole_second_and_bounded() -> None:
    rates = Rates()
    for second in (1, 1, 2):
        rates.count("twilio", second)
    rates.count("fcm", 2)
    assert rates.since(0) == [(1, {"twilio": 2}), (2, {"twilio": 1, "fcm": 1})]
    assert rates.since(2) == [(2, {"twilio": 1, "fcm": 1})]
    for second in range(3, RATES_KEPT + 3):
        rates.count("fcm", second)
    assert len(rates.since(0)) == RATES_KEPT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_with_a_page_open(number: signal.Signals) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "uvicorn", "sandbox.app:app", "--port", url.rpartition(":")[2]]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr
            next(line for line in process.stderr if b"running on" in line)
            with urllib.request.urlopen(f"{url}/messages/stream", timeout=10) as stream:
                assert stream.readline()
                process.send_signal(number)
                process.wait(timeout=10)
        finally:
            process.kill()
