"""What arrived can be read, watched and forgotten."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from sandbox.app import create_app
from sandbox.store import Message, Store
from tests.ports import free_port
from tests.sandbox.conftest import MAIL, TEXT, Client, serving


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
    with serving(create_app({"SANDBOX_LOG": str(path)})) as sandbox:
        sandbox.text()
        sandbox.text({**TEXT, "To": "nobody"})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["to"], line["accepted"]) for line in lines] == [(TEXT["To"], True), ("nobody", False)]


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
