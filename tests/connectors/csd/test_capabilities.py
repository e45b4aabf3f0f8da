"""The table of docs/csd.md says of each connector here what it declares: always, by the mapping, by a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.csd.zammad import zammadhands
from connectors.csd.znuny import znunyhands
from okienko.plugins.csd import Capability

CSD = (Path(__file__).resolve().parents[3] / "docs" / "csd.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("hands", [zammadhands, znunyhands], ids=["zammad", "znuny"])
def test_the_table_is_true(hands: object, tmp_path: Path) -> None:
    lines = hands.MAPPING.splitlines()  # type: ignore[attr-defined]  # a module
    left = [line for line in lines if not line.startswith(("pending =", "low =", "normal =", "high =", "critical ="))]
    whole = hands.connector(tmp_path)  # type: ignore[attr-defined]  # a module
    (tmp_path / "poor.toml").write_text("\n".join(left), encoding="utf-8")
    settings = whole._settings.model_copy(update={"mapping": tmp_path / "poor.toml"})
    unmapped = type(whole)(settings)
    bare = type(whole)(settings.model_copy(update={"webhook_secret": None}))
    expected = [
        "yes" if capability in bare.capabilities
        else "set up" if capability in unmapped.capabilities
        else "mapped" if capability in whole.capabilities
        else "no"
        for capability in Capability
    ]  # fmt: skip
    (row,) = [line for line in CSD.splitlines() if line.startswith(f"| `{whole.name}` |")]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == expected
