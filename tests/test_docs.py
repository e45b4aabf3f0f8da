"""The documents tell everything there is: settings, metrics, commands. A missing row is printed as it has to be written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.main import get_command

from okienko.core.cli.app import app
from okienko.metrics import catalogue
from okienko.metrics.ledger import Ledger, families
from okienko.plugins import PluginSettings

ROOT = Path(__file__).resolve().parents[1]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def settings_classes() -> list[type[PluginSettings]]:
    """The core's and every built-in plugin's, found as Python knows them, not as somebody listed them."""
    for point in entry_points(group="okienko"):
        if point.dist is not None and point.dist.name == "okienko":
            point.load()
    ours = [c for c in leaves(PluginSettings) if c.__module__.startswith("okienko.")]
    return sorted(ours, key=lambda c: str(c.model_config["env_prefix"]))


def leaves(cls: type[PluginSettings]) -> Iterator[type[PluginSettings]]:
    """The classes that are used; what stands between them and the base only saves writing."""
    for sub in cls.__subclasses__():
        yield from leaves(sub) if sub.__subclasses__() else [sub]


def default_of(field: FieldInfo) -> str:
    """A setting's default as the table shows it."""
    if field.default_factory is not None and field.annotation is Path:
        return "the platform's user data folder"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or isinstance(value, SecretStr):
        return "unset"
    if isinstance(value, list | frozenset):
        value = sorted(map(str, value)) if isinstance(value, frozenset) else list(map(str, value))
    if isinstance(value, list | dict):
        return "`" + str(value).replace("'", '"') + "`"
    return f"`{value}`"


def setting_rows() -> Iterator[str]:
    for cls in settings_classes():
        for name, field in cls.model_fields.items():
            assert field.description, f"{cls.__name__}.{name} has no description"
            variable = f"{cls.model_config['env_prefix']}{name}".upper()
            text = field.description.replace("|", "\\|")
            yield f"| `{variable}` | {default_of(field)} | {text} |"


def metric_rows() -> Iterator[str]:
    # Some are told only once there is something to tell.
    ledger = Ledger(audit_intact=True, audit_verified_at=1.0, audit_anchored_at=1.0)
    labels = {"okienko_mail_ledger_messages": "account", "okienko_cases": "kind, state"}
    for metric in (*catalogue.REGISTRY.collect(), *families(ledger)):
        yield metric_row(metric, labels.get(metric.name, "job" if metric.name.startswith("okienko_queue_") else ""))


def metric_row(metric: Metric, labels: str) -> str:
    collector = catalogue.REGISTRY._names_to_collectors.get(metric.name)
    names = ", ".join(getattr(collector, "_labelnames", ())) or labels or "–"
    suffix = "_total" if metric.type == "counter" else ""
    return f"| `{metric.name}{suffix}` | {metric.type} | {names} | {metric.documentation} |"


@pytest.mark.parametrize("row", list(setting_rows()))
def test_every_setting_is_in_the_operating_guide(row: str) -> None:
    assert told(row, columns=2), f"docs/operating.md lacks this row, in words of your own: {row}"


@pytest.mark.parametrize("row", list(metric_rows()))
def test_every_metric_is_in_the_operating_guide(row: str) -> None:
    assert told(row, columns=3), f"docs/operating.md lacks this row, in words of your own: {row}"


def told(row: str, *, columns: int) -> bool:
    """Whether a row begins with the same cells and has a meaning after them; how that is worded is the author's."""
    head = " | ".join(row.split(" | ")[:columns]) + " | "
    return any(line.startswith(head) and len(line) > len(head) + 8 for line in OPERATING.splitlines())


def test_no_document_speaks_of_a_setting_or_metric_that_is_not_there() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    known = {row.split("`")[1] for row in setting_rows()} | set(of_the_tests())
    prefixes = {str(c.model_config["env_prefix"]) for c in settings_classes()}
    spoken = {name for name in re.findall(r"\bOKIENKO_[A-Z_]+[A-Z]\b(?!_|…)", text) if f"{name}_" not in prefixes}
    assert {
        n for n in spoken if n.removesuffix("_FILE") not in known and n not in known and not _of_an_example(n)
    } == set()
    metrics = {row.split("`")[1] for row in metric_rows()}
    spoken = set(re.findall(r"`(okienko_[a-z_]+(?:_total|_seconds|_bytes|_up|_balance|_jobs|_cases))\b", text))
    assert spoken <= metrics


def of_the_tests() -> Iterator[str]:
    """Variables that only the test suite reads."""
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__):
            yield from re.findall(r"\bOKIENKO_TEST_[A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8"))


def _of_an_example(name: str) -> bool:
    return name.startswith(("OKIENKO_PAPER", "OKIENKO_VIP", "OKIENKO_MYCSD"))


def test_every_command_is_in_the_operating_guide() -> None:
    command = get_command(app)
    names = []
    for name, sub in command.commands.items():  # type: ignore[attr-defined]
        names += [f"{name} {inner}" for inner in sub.commands] if hasattr(sub, "commands") else [name]
    assert [name for name in names if f"`okienko {name}" not in OPERATING] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\":]+)\"", text)
    assert [t for pair in targets for t in pair if t and not (path.parent / t).exists()] == []
