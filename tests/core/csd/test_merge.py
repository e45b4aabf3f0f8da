"""The three-way merge, against what it promises for any three copies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from okienko.core.csd.merge import Conflict, Rule, Side, merge

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIELDS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, "1", "2", "3"]))
RULES = st.dictionaries(st.sampled_from("abc"), st.sampled_from(Rule))


def test_one_side_changed() -> None:
    result = merge(
        {"a": "1", "b": "1"}, {"a": "2", "b": "1"}, {"a": "1", "b": "3"}, rules={}, okienko_at=NOON, csd_at=NOON
    )
    assert (result.to_csd, result.to_okienko, result.conflicts) == ({"a": "2"}, {"b": "3"}, ())
    assert result.agreed == {"a": "2", "b": "3"}


def test_both_changed_alike() -> None:
    result = merge({"a": "1"}, {"a": "2"}, {"a": "2"}, rules={}, okienko_at=NOON, csd_at=NOON)
    assert (result.to_csd, result.to_okienko, result.conflicts, result.agreed) == ({}, {}, (), {"a": "2"})


def test_both_changed_differently() -> None:
    result = merge({"a": "1"}, {"a": "2"}, {"a": "3"}, rules={"a": Rule.OKIENKO}, okienko_at=NOON, csd_at=NOON)
    assert result.to_csd == {"a": "2"}
    assert result.conflicts == (Conflict("a", "1", "2", "3", Side.OKIENKO, Rule.OKIENKO),)


def test_the_newest_wins_and_a_tie_is_the_csds() -> None:
    def winner(later: timedelta) -> Side:
        sides = {"okienko": {"a": "2"}, "csd": {"a": "3"}}
        found = merge({"a": "1"}, **sides, rules={"a": Rule.NEWEST}, okienko_at=NOON + later, csd_at=NOON)
        return found.conflicts[0].winner

    assert winner(timedelta(seconds=1)) is Side.OKIENKO
    assert winner(timedelta(0)) is Side.CSD
    assert winner(timedelta(seconds=-1)) is Side.CSD


@given(FIELDS, FIELDS, FIELDS, RULES)
def test_both_sides_are_equal_after_the_writes(
    base: dict[str, str | None], ours: dict[str, str | None], theirs: dict[str, str | None], rules: dict[str, Rule]
) -> None:
    result = merge(base, ours, theirs, rules=rules, okienko_at=NOON, csd_at=NOON)
    after_ours, after_theirs = {**ours, **result.to_okienko}, {**theirs, **result.to_csd}
    for field in ours.keys() & theirs.keys():
        assert after_ours[field] == after_theirs[field] == result.agreed[field]
        assert result.agreed[field] in (ours[field], theirs[field])
    assert result.to_okienko.keys().isdisjoint(result.to_csd)
    # What was written is the next base: nothing comes back.
    again = merge(result.agreed, after_ours, after_theirs, rules=rules, okienko_at=NOON, csd_at=NOON)
    assert (again.to_csd, again.to_okienko, again.conflicts) == ({}, {}, ())


@given(FIELDS, FIELDS, FIELDS, RULES)
def test_a_change_is_lost_only_with_an_entry_in_the_ledger(
    base: dict[str, str | None], ours: dict[str, str | None], theirs: dict[str, str | None], rules: dict[str, Rule]
) -> None:
    result = merge(base, ours, theirs, rules=rules, okienko_at=NOON, csd_at=NOON)
    told = {conflict.field for conflict in result.conflicts}
    for field in ours.keys() & theirs.keys():
        for mine in (ours[field], theirs[field]):
            changed = field not in base or base[field] != mine
            if changed and result.agreed[field] != mine:
                assert field in told
