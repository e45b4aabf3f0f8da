"""Mapping files: both ways, by matter, and with a line and a cure for each mistake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.csdmapping import CsdMapping, MappingFile, load_mapping
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.testing.conformance.csdbase import registration
from okienko.schemas import CaseKind, ChannelName, Priority, Procedure, TicketStatus

TEXT = """\
correlation = "OkienkoID"

[queues]
default = "Skrzynka"
recovery = "Konta"
unlock = "Blokady"

[types]
ticket = "Incydent"

[states.write]
open = "open"
closed = "resolved"

[states.read]
New = "open"
stalled = "pending"
rejected = "closed"

[priorities]
low = "10"
critical = "100"

[[fields]]
name = "Kanal"
from = "channel"
values = { email = "poczta" }
default = "inny"

[[fields]]
name = "Zrodlo"
from = "constant"
default = "okienko"

[[fields]]
name = "Otwarte"
from = "opened_at"

[[fields]]
name = "Nazwisko"
from = "requester_name"
"""


def written(folder: Path, text: str) -> MappingFile:
    path = folder / "rt.toml"
    path.write_text(text, encoding="utf-8")
    return load_mapping(path)


@pytest.fixture
def file(tmp_path: Path) -> MappingFile:
    return written(tmp_path, TEXT)


def test_by_procedure_then_kind_then_default(file: MappingFile) -> None:
    mapping, one = file.mapping, registration()
    assert mapping.queue_for(replace(one, procedure=Procedure.UNLOCK)) == "Blokady"
    assert mapping.queue_for(one) == mapping.queue_for(replace(one, procedure=None)) == "Konta"
    assert mapping.queue_for(replace(one, procedure=None, kind=CaseKind.TICKET)) == "Skrzynka"
    assert mapping.type_for(one) is None
    assert mapping.type_for(replace(one, procedure=None, kind=CaseKind.TICKET)) == "Incydent"


def test_states_both_ways(file: MappingFile) -> None:
    mapping = file.mapping
    assert [mapping.status_out(s) for s in TicketStatus] == ["open", "open", "resolved"]
    known = {"OPEN": "open", "new": "open", "Resolved": "closed", "STALLED": "pending", "rejected": "closed"}
    assert {raw: mapping.status_in(raw) for raw in known} == known
    assert mapping.status_in("on fire") is None


def test_what_is_read_outranks_what_is_written() -> None:
    mapping = CsdMapping.model_validate(
        {"correlation": "x", "states": {"write": {"open": "A", "closed": "B"}, "read": {"a": "pending"}}}
    )
    assert mapping.status_in("A") is TicketStatus.PENDING


def test_priorities_both_ways(file: MappingFile) -> None:
    mapping = file.mapping
    assert [mapping.priority_out(p) for p in Priority] == ["10", None, None, "100"]
    assert [mapping.priority_in(raw) for raw in ("10", "100", "50", "", None)] == ["low", "critical", None, None, None]


def test_fields(file: MappingFile) -> None:
    one = registration()
    assert file.mapping.values_for(one) == {
        "Kanal": "poczta", "Zrodlo": "okienko", "Otwarte": "2026-01-05T08:30:00Z", "Nazwisko": "Jan Kowalski",
    }  # fmt: skip
    other = replace(one, channel=ChannelName.PHONE, requester_name=None)
    assert file.mapping.values_for(other) == {"Kanal": "inny", "Zrodlo": "okienko", "Otwarte": "2026-01-05T08:30:00Z"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('closed = "resolved"', 'close = "resolved"', "rt.toml:13: states.write.close"),
        ('closed = "resolved"\n', "", "states.write needs closed"),
        ('stalled = "pending"', 'stalled = "waiting"', "rt.toml:17: states.read.stalled"),
        ('low = "10"', "low = 10", "rt.toml:21: priorities.low"),
        ('from = "opened_at"', 'from = "opened"', "rt.toml:37: fields.2.from"),
        ('correlation = "OkienkoID"', 'correlation = ""', "rt.toml:1: correlation"),
        ('correlation = "OkienkoID"', 'corelation = "OkienkoID"', "correlation: Field required"),
        ("[queues]", "[queue]", "rt.toml:3: queue: Extra inputs"),
        ("[states.write]", "[states.write", "is no TOML"),
    ],
)
def test_each_mistake_has_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TEXT
    with pytest.raises(MisconfiguredError) as caught:
        written(tmp_path, TEXT.replace(old, new, 1))
    assert told in str(caught.value)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match=r"cannot read the mapping .*rt\.toml: No such file"):
        load_mapping(tmp_path / "rt.toml")
    (tmp_path / "rt.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(MisconfiguredError, match="is no TOML"):
        load_mapping(tmp_path / "rt.toml")


def test_unknown_names_have_a_cure(file: MappingFile) -> None:
    assert file.unknown("queue", "Konta", ["Konta", "Inne"], ("queues", "recovery")) is None
    near = file.unknown("queue", "Konta", ["konta", "Inne"], ("queues", "recovery"))
    assert near is not None
    assert (near.subject, near.message, near.cure) == (
        "rt.toml:5",
        "the CSD has no queue 'Konta'",
        "did you mean 'konta'?",
    )
    far = file.unknown("queue", "Konta", ["Xyz"], ("queues", "recovery"))
    assert far is not None
    assert far.cure == "the system has: Xyz"
    none = file.unknown("queue", "Konta", [], ("queues", "recovery"), "grant SeeQueue")
    assert none is not None
    assert none.cure == "grant SeeQueue"


NAMES = st.text(min_size=1, max_size=20)


@given(
    write=st.fixed_dictionaries({"open": NAMES, "closed": NAMES}, optional={"pending": NAMES}),
    read=st.dictionaries(NAMES, st.sampled_from(list(TicketStatus)), max_size=5),
)
def test_what_is_written_is_understood_when_it_is_read(write: dict[str, str], read: dict[str, TicketStatus]) -> None:
    """Unless two states share a name, a state that okienko wrote comes back as what it meant."""
    names = [name.casefold() for name in (*write.values(), *read)]
    mapping = CsdMapping.model_validate({"correlation": "x", "states": {"write": write, "read": read}})
    assert all(mapping.status_in(mapping.status_out(status)) for status in TicketStatus)
    if len(set(names)) == len(names):
        for status in TicketStatus:
            meant = status if status.value in write else TicketStatus.OPEN
            assert mapping.status_in(mapping.status_out(status)) is meant
