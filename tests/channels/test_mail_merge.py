"""Mail merge backwards: what is taken apart is put together again to the byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from channels.providers.mail_merge import MARK, merge

# few different lines, so that many are equal; some look like what the code itself uses
LINES = st.sampled_from(["", " ", "a", "b", "%", "own0%", "%ow", "<p>%1</p>", "\r", "ä€😀"]) | st.text(
    alphabet=st.characters(exclude_characters="\n"), max_size=5
).filter(lambda line: MARK not in line)


@st.composite
def alike(draw: st.DrawFn) -> list[list[str]]:
    """Some texts of equally many lines."""
    length = draw(st.integers(1, 12))
    return draw(st.lists(st.lists(LINES, min_size=length, max_size=length), min_size=2, max_size=6))


def filled(shared: str, own: Mapping[str, Sequence[str]], number: int) -> str:
    for tag, values in own.items():
        shared = shared.replace(tag, values[number])
    return shared


@given(alike(), st.integers(0, 20))
def test_each_text_comes_back(texts: list[list[str]], first: int) -> None:
    shared, own = merge(texts, first)
    assert [filled(shared, own, number) for number in range(len(texts))] == ["\n".join(lines) for lines in texts]
    assert list(own) == [f"%own{first + number}%" for number in range(len(own))]
    assert shared.count(MARK) == len(own)


@given(alike())
def test_a_value_is_empty_only_at_the_start(texts: list[list[str]]) -> None:
    shared, own = merge(texts)
    assert all(all(values) or shared.startswith(tag) for tag, values in own.items())


def test_what_is_shared_and_what_is_not() -> None:
    texts = [["Dear Ada,", "your order", "is on", "its way", ""], ["Dear Ben,", "your order", "has", "arrived", ""]]
    assert merge(texts) == (
        "%own0%\nyour order\n%own1%\n",
        {"%own0%": ["Dear Ada,", "Dear Ben,"], "%own1%": ["is on\nits way", "has\narrived"]},
    )


def test_equal_texts_have_nothing_of_their_own() -> None:
    assert merge([["a", "b"]] * 3) == ("a\nb", {})


def test_an_empty_line_takes_the_one_before_along() -> None:
    assert merge([["a", "", "c"], ["a", "b", "c"]]) == ("%own0%\nc", {"%own0%": ["a\n", "a\nb"]})
