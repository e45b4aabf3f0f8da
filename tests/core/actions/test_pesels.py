"""Marks of personal numbers, and the report on a PESEL conflict."""

from __future__ import annotations

from uuid import uuid4

import pytest

from okienko.core.actions.frozen import Frozen, Step
from okienko.core.actions.pesels import PeselMarks, Suggestion, make_report, read_report, shown_report
from okienko.core.actions.releasing import must_be_released, number_to_release
from okienko.plugins.identity import Account, AccountFlag, StaleError
from okienko.plugins.signatures import Signatory
from okienko.plugins.testing import invented_pesel
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel

KEY, NEWER = b"k" * 32, b"n" * 32
PESEL = invented_pesel()
SIGNER = Signatory(given_names="Jan", family_name="Próbny", pesel=PESEL)
RELEASE, MERGE = Suggestion.RELEASE_FROM, Suggestion.MERGE_INTO


def account(login: str, given: str = "Jan", *flags: AccountFlag, pesel: Pesel | None = PESEL) -> Account:
    person = Person(given_name=given, family_name="Próbny", pesel=pesel)
    return Account(f"ref-{login}", login, person, frozenset(flags))


def test_a_mark_is_for_one_number_in_one_action_under_one_key() -> None:
    one, other = uuid4(), uuid4()
    numbers = [PESEL, invented_pesel()]
    marks = {PeselMarks(key).mark(i, p) for key in (KEY, NEWER) for i in (one, other) for p in numbers}
    assert len(marks) == 8
    mark = PeselMarks(KEY).mark(one, PESEL)
    assert PESEL.reveal() not in mark
    assert PeselMarks(KEY).is_marked(mark, one, PESEL)
    assert not PeselMarks(KEY).is_marked(mark, other, PESEL)
    assert not PeselMarks(KEY).is_marked(mark, one, numbers[1])
    assert not PeselMarks(NEWER).is_marked(mark, one, PESEL)
    assert not PeselMarks(KEY).is_marked("", one, PESEL)


def test_a_mark_outlives_the_rotation_of_its_key_as_long_as_the_key_is_kept() -> None:
    action = uuid4()
    mark = PeselMarks(KEY).mark(action, PESEL)
    assert PeselMarks(NEWER, [NEWER, KEY]).is_marked(mark, action, PESEL)
    assert PeselMarks(NEWER, [NEWER, KEY]).mark(action, PESEL) != mark


@pytest.mark.parametrize("keys", [(b"",), (b"k" * 31,), (KEY, [b"short"])])
def test_a_short_key_is_refused(keys: tuple[bytes, list[bytes]]) -> None:
    with pytest.raises(ValueError, match="32"):
        PeselMarks(*keys)


@pytest.mark.parametrize(
    ("carriers", "sender", "suggestions", "releasable"),
    [
        ([account("a")], None, [RELEASE], "a"),
        ([account("a")], "nowy", [RELEASE], "a"),
        ([account("a")], "A", [MERGE], None),
        ([account("a", "Ewa")], None, [RELEASE], "a"),
        ([account("a", "Ewa")], "a", [RELEASE], "a"),
        ([account("a", "Jan", AccountFlag.LOCKED)], None, [RELEASE], "a"),
        ([account("a", "Jan", AccountFlag.DISABLED)], None, [RELEASE], None),
        ([account("b"), account("a", "Ewa")], None, [RELEASE, MERGE], None),
        ([account("b", "Ola"), account("a", "Ewa")], None, [RELEASE, RELEASE], None),
        ([account("a"), account("b")], None, [MERGE, MERGE], None),
    ],
)
def test_the_report(
    carriers: list[Account], sender: str | None, suggestions: list[Suggestion], releasable: str | None
) -> None:
    report = make_report(PESEL, "mark", SIGNER, carriers, sender)
    assert [one.login for one in report.accounts] == sorted(one.login for one in carriers)
    assert [one.suggestion for one in report.accounts] == suggestions
    assert (report.releasable.login if report.releasable else None) == releasable
    assert PESEL.reveal() not in report.text()
    assert read_report(report.text()) == report
    shown = shown_report(report.text())
    assert shown is not None
    assert "mark" not in shown.model_dump()
    assert shown.pesel == PESEL.masked


def test_a_report_is_the_same_in_whatever_order_the_backend_lists() -> None:
    one, two = account("a"), account("b", "Ewa")
    texts = {make_report(PESEL, "m", SIGNER, order, None).text() for order in ([one, two], [two, one])}
    assert len(texts) == 1


def test_what_is_no_report() -> None:
    assert (read_report(None), read_report(""), shown_report(None)) == (None, None, None)
    with pytest.raises(ValueError, match="validation"):
        read_report("{}")


def frozen(marks: PeselMarks, *steps: Step, with_report: bool = True) -> Frozen:
    action_id = uuid4()
    report = make_report(PESEL, marks.mark(action_id, PESEL), SIGNER, [account("a")], None)
    return Frozen(
        action_id, uuid4(), "b", "ref-a", "a", None, steps, "d", report=report.text() if with_report else None
    )


def test_only_the_approved_number_is_released() -> None:
    marks = PeselMarks(KEY)
    approved = frozen(marks, Step.RELEASE_PESEL)
    assert number_to_release(account("a"), approved, marks) == PESEL
    assert number_to_release(account("a", pesel=None), approved, marks) is None
    assert number_to_release(None, approved, marks) is None
    other = invented_pesel()
    for wrong, of in ((other, approved), (PESEL, frozen(marks, Step.RELEASE_PESEL, with_report=False))):
        with pytest.raises(StaleError) as caught:
            number_to_release(account("a", pesel=wrong), of, marks)
        assert wrong.reveal() not in str(caught.value)


def test_a_number_that_is_still_there_is_a_failure() -> None:
    marks = PeselMarks(KEY)
    with pytest.raises(StaleError):
        must_be_released(account("a"), frozen(marks, Step.RELEASE_PESEL))
    must_be_released(account("a", pesel=None), frozen(marks, Step.RELEASE_PESEL))
    must_be_released(account("a"), frozen(marks, Step.UNLOCK))


def test_an_action_without_a_report_keeps_the_digest_that_it_had() -> None:
    """Actions of before must not look changed: their digest is over what there was then."""
    bare = Frozen(uuid4(), uuid4(), "b", "r", "a", None, (Step.UNLOCK,), "d")
    digests = {bare.digest} | {
        Frozen(bare.action_id, bare.case_id, "b", "r", "a", None, (Step.UNLOCK,), "d", report=report).digest
        for report in ("", "{}", "x")
    }
    assert len(digests) == 4
