"""Marks in notes: ours are recognised however a system shows them, and nobody else's are taken for ours."""

from __future__ import annotations

import html

from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.csdnotes import key_in, mark_of, marked, unmarked

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(TEXTS, TEXTS)
def test_a_marked_note_is_recognised(text: str, key: str) -> None:
    assert key_in(marked(text, key)) == mark_of(key)


@given(TEXTS, TEXTS)
def test_the_mark_goes_away_and_nothing_else(text: str, key: str) -> None:
    assert unmarked(marked(text, key)) == unmarked(text)
    if "[okienko:" not in text:
        assert unmarked(marked(text, key)) == text.rstrip()


@given(TEXTS, TEXTS, TEXTS)
def test_a_mark_in_the_text_is_taken_out(text: str, key: str, other: str) -> None:
    note = marked(f"{text} [okienko:{mark_of(other)}] {text}", key)
    assert note.count("[okienko:") == 1 + 2 * text.count("[okienko:")
    assert key_in(note) == mark_of(key)


@given(TEXTS, TEXTS)
def test_however_a_system_shows_it(text: str, key: str) -> None:
    note = marked(text, key)
    for shown in (
        note.replace("\n", "\r\n"),
        note + "\r\n \n",
        "<p>" + html.escape(note).replace("\n", "<br />\n") + "</p>",
        "<div>" + html.escape(text) + f"</div>\n<div>&#91;okienko:{mark_of(key)}]</div>",
    ):
        assert key_in(shown) == mark_of(key), shown


@given(TEXTS, TEXTS)
def test_a_mark_that_is_quoted_or_answered_is_not_ours(text: str, key: str) -> None:
    mark = f"[okienko:{mark_of(key)}]"
    assert key_in(f"{marked(text, key)}\nZgoda.") is None
    assert key_in(f"{mark} i dalej") is None
    assert key_in(f"> {text}\n> {mark}\nOdpowiedź") is None


@given(TEXTS, TEXTS)
def test_an_answer_above_what_it_quotes_is_not_ours(text: str, key: str) -> None:
    """As most people write: their words on top, the quoted note with its mark at the end."""
    note = marked(text, key)
    for sign in ("> ", ">", "| ", ">> "):
        assert key_in("Zgoda.\n\n" + "\n".join(sign + line for line in note.split("\n"))) is None
    lines = html.escape(note).replace("\n", "<br>")
    assert key_in(f"<p>Zgoda.</p><blockquote type='cite'><div>{lines}</div></blockquote>") is None
    assert key_in(f"<p>Zgoda.</p><BLOCKQUOTE><p>a</p><blockquote>{lines}</blockquote></BLOCKQUOTE><p></p>") is None


def test_our_note_after_a_quotation_is_ours() -> None:
    mark = f"[okienko:{mark_of('k')}]"
    assert key_in(marked("> Kiedy?\nJutro.", "k")) == mark_of("k")
    assert key_in(f"<blockquote>Kiedy?</blockquote><p>Jutro.</p><p>{mark}</p>") == mark_of("k")
    assert key_in(f"flattened to one line {mark}") == mark_of("k")


@given(TEXTS)
def test_no_mark_no_key(text: str) -> None:
    assert key_in(text) is None or "[okienko:" in html.unescape(text)


def test_examples() -> None:
    assert mark_of("case/1") == mark_of("case/1") != mark_of("case/2")
    assert marked("Dosłano.", "k") == f"Dosłano.\n\n[okienko:{mark_of('k')}]"
    assert key_in("") is None
    assert key_in("[okienko:zzzz]") is None
    assert len(mark_of("pół \ud83d")) == 16
