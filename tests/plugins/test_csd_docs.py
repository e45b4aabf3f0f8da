"""docs/csd.md and docs/csd-mapping.md tell everything there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from okienko.connectors.csd.builtin.client import BuiltinCsd
from okienko.plugins.csd import Capability, CsdBackend
from okienko.plugins.csdmapping import CsdMapping, FieldMapping, Source, StateMapping, load_mapping
from okienko.schemas import Priority, TicketStatus

DOCS = Path(__file__).resolve().parents[2] / "docs"
CSD = (DOCS / "csd.md").read_text(encoding="utf-8")
MAPPING = (DOCS / "csd-mapping.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def rows(text: str, head: str) -> dict[str, list[str]]:
    """The table under that head, by the first cell; several names in a cell are several rows."""
    table = text.partition(head)[2].partition("\n\n")[0].splitlines()[2:]
    return {name: cells(line)[1:] for line in table for name in re.findall(r"`?\[*([\w.]+)\]*`?", line.split("|")[1])}


def test_every_capability_is_explained() -> None:
    assert set(rows(CSD, "| capability | meaning |")) == {capability.value for capability in Capability}


def test_every_call_is_explained() -> None:
    calls = {name for name, value in vars(CsdBackend).items() if callable(value) and not name.startswith("_")}
    assert set(rows(CSD, "| call | what it does | twice |")) == calls - {"start", "stop"}


def test_the_table_of_capabilities_is_true() -> None:
    head = next(line for line in CSD.splitlines() if line.startswith("| backend |"))
    columns = [name.replace(" ", "_") for name in cells(head)[1:]]
    assert columns == [capability.value for capability in Capability]
    table = rows(CSD, head)
    assert table["builtin"] == ["yes" if c in BuiltinCsd.capabilities else "no" for c in Capability]
    assert all(len(row) == len(columns) for row in table.values())


def test_every_key_of_a_mapping_is_explained() -> None:
    told = set(rows(MAPPING, "| key | meaning |"))
    fields = {field.alias or name for name, field in FieldMapping.model_fields.items()}
    states = {f"states.{name}" for name in StateMapping.model_fields}
    assert told == (set(CsdMapping.model_fields) - {"states"}) | fields | states
    assert set(rows(MAPPING, "| `from` | value |")) == set(get_args(Source))


def test_the_example_is_a_whole_mapping(tmp_path: Path) -> None:
    example = MAPPING.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "example.toml").write_text(example, encoding="utf-8")
    mapping = load_mapping(tmp_path / "example.toml").mapping
    assert set(mapping.states.write) == set(TicketStatus)
    assert set(mapping.priorities) == set(Priority)
    assert all(getattr(mapping, key) for key in CsdMapping.model_fields)
