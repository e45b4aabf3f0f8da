"""The table of docs/csd.md says of each connector here what it declares with a whole mapping and every setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.csd.zammad import zammadhands
from connectors.csd.znuny import znunyhands
from okienko.plugins.csd import Capability
from okienko.schemas import TicketStatus

CSD = (Path(__file__).resolve().parents[3] / "docs" / "csd.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("hands", [zammadhands, znunyhands], ids=["zammad", "znuny"])
def test_the_table_is_true(hands: object, tmp_path: Path) -> None:
    backend = hands.connector(tmp_path)  # type: ignore[attr-defined]  # a module
    (row,) = [line for line in CSD.splitlines() if line.startswith(f"| `{backend.name}` |")]
    told = [cell.strip() for cell in row.strip("|").split("|")][1:]
    assert told == ["yes" if capability in backend.capabilities else "no" for capability in Capability]


@pytest.mark.parametrize("hands", [zammadhands, znunyhands], ids=["zammad", "znuny"])
def test_what_the_mapping_and_the_settings_decide(hands: object, tmp_path: Path) -> None:
    lines = hands.MAPPING.splitlines()  # type: ignore[attr-defined]  # a module
    left = [line for line in lines if not line.startswith(("pending =", "low =", "normal =", "high =", "critical ="))]
    whole = hands.connector(tmp_path)  # type: ignore[attr-defined]
    poor = type(whole)(
        whole._settings.model_copy(update={"mapping": _file(tmp_path, "\n".join(left)), "webhook_secret": None})
    )
    assert TicketStatus.PENDING not in poor._mapping.states.write
    assert whole.capabilities - poor.capabilities == {Capability.PRIORITY, Capability.PENDING, Capability.WEBHOOK}


def _file(folder: Path, text: str) -> Path:
    (folder / "poor.toml").write_text(text, encoding="utf-8")
    return folder / "poor.toml"
