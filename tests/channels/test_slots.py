"""Slots over real processes, as a worker forks them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest

from channels import slots
from channels.base import BUSY, Message, Outcome, Provider, Receipt
from channels.gate import Gate
from channels.slots import Slots
from channels.testing import ToyChannel

fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def nothing_shared() -> Iterator[None]:
    yield
    slots.forget()


def hold(name: str, pipe: Connection) -> None:
    pipe.send(Slots(name).take())
    pipe.recv()


@contextmanager
def holding(name: str) -> Iterator[BaseProcess]:
    """Another process of the worker is at the provider."""
    ours, theirs = fork.Pipe()
    process = fork.Process(target=hold, args=(name, theirs))
    process.start()
    assert ours.recv()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_without_a_worker_there_is_no_limit() -> None:
    assert Slots("a").take()
    assert Slots("a").take()


def test_half_of_the_processes_may_be_at_one_provider() -> None:
    slots.share(4)
    with holding("sms"), holding("sms"):
        assert not Slots("sms").take()
        assert Slots("email").take()


def test_a_lone_process_may_go() -> None:
    slots.share(1)
    assert Slots("sms").take()


def test_who_is_slow_is_waited_for_once() -> None:
    slots.share(2)
    mine = Slots("sms")
    with holding("sms"):
        began = time.monotonic()
        assert not mine.take()
        waited = time.monotonic() - began
        began = time.monotonic()
        assert not mine.take()
        assert time.monotonic() - began < waited / 2


def test_a_killed_process_leaves_its_slot() -> None:
    slots.share(2)
    with holding("sms") as process:
        process.kill()
        process.join()
        assert Slots("sms").take()


def test_a_slot_is_free_after_the_send_whatever_came_of_it() -> None:
    class Provides(Provider):
        name = "provides"
        breaks = False

        def send(self, messages: list[Message]) -> list[Outcome]:  # type: ignore[override]
            if self.breaks:
                raise RuntimeError
            return [Receipt(self.name) for _ in messages]

    slots.share(2)
    provider = Provides()
    provider.gate = Gate("TOY", "provides")
    channel = ToyChannel([provider])
    message = Message("1", 1, "someone", {})
    assert channel.permit(1).granted
    channel.send([message])
    with holding("TOY:provides"):
        refused = channel.permit(5)
        assert (refused.granted, refused.reason, refused.wait) == (0, BUSY, slots.REST)
    assert channel.permit(1).granted
    provider.breaks = True
    with pytest.raises(RuntimeError):
        channel.send([message])
    with holding("TOY:provides"):
        pass
    assert channel.permit(1).granted
    channel.give_back()
    with holding("TOY:provides"):
        pass
