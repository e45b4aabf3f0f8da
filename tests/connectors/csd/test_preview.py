"""What each connector foretells of a case: in the system's words, or the line of the mapping that has no answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.csd.test_rest_conformance import EXAMPLE, connector
from okienko.connectors.csd.glpi.mapping import preview_of as glpi
from okienko.connectors.csd.jira_sm.mapping import preview_of as jira
from okienko.connectors.csd.rt.preview import preview_of as rt
from okienko.connectors.csd.servicenow.mapping import preview_of as servicenow
from okienko.connectors.csd.servicenow.mapping import raw_of as servicenow_raw
from okienko.connectors.csd.zammad.mapping import preview_of as zammad
from okienko.connectors.csd.znuny.mapping import preview_of as znuny
from okienko.plugins.csd import RawTicket, Registration
from okienko.plugins.csdmapping import MappingError, MappingFile, load_mapping
from okienko.plugins.testing.conformance.csd import registration
from okienko.schemas import CaseKind, Procedure

WHOLE = """\
correlation = "customfield_10100"
[queues]
unlock = "Konta pilne"
recovery = "Konta"
[types]
service_request = "request"
recovery = "incident"
[states.write]
open = "new"
closed = "closed"
[priorities]
normal = "{normal}"
[[fields]]
name = "Source"
from = "channel"
values = {{ phone = "Telephone" }}
"""
RECOVERY = registration()
UNLOCK = replace(RECOVERY, kind=CaseKind.SERVICE_REQUEST, procedure=Procedure.UNLOCK)
COMPLAINT = replace(RECOVERY, kind=CaseKind.COMPLAINT, procedure=None)
Preview = Callable[[Registration, MappingFile], RawTicket]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], MappingFile]:
    def made(normal: str) -> MappingFile:
        (tmp_path / "new.toml").write_text(WHOLE.format(normal=normal), encoding="utf-8")
        return load_mapping(tmp_path / "new.toml")

    return made


@pytest.mark.parametrize(
    ("preview", "normal", "kind", "priority", "status"),
    [
        (rt, "30", None, "30", None),
        (znuny, "3 normal", "request", "3 normal", "new"),
        (zammad, "2 normal", "request", "2 normal", "new"),
        (servicenow, " 2 / 3", "request", "2/3", "new"),
        (jira, "Medium", "request", "Medium", None),
        (glpi, "3", "request", "medium", None),
    ],
)
def test_the_heads_of_the_mapping(
    file: Callable[[str], MappingFile],
    preview: Preview,
    normal: str,
    kind: str | None,
    priority: str,
    status: str | None,
) -> None:
    told = preview(UNLOCK, file(normal))
    assert (told.queue, told.type, told.priority, told.status) == ("Konta pilne", kind, priority, status)
    assert told.subject == UNLOCK.subject
    assert told.fields == {"customfield_10100": str(UNLOCK.correlation_id)}, "a value without a line writes nothing"


@pytest.mark.parametrize(
    ("preview", "case", "normal", "line"),
    [
        (rt, COMPLAINT, "30", "new.toml:2: no queue for complaint: add it, or default"),
        (rt, RECOVERY, "high", "new.toml:12: the priority 'high' of the mapping is no number"),
        (znuny, COMPLAINT, "3 normal", "new.toml:2: no queue for complaint: add it, or default"),
        (zammad, COMPLAINT, "2 normal", "new.toml:2: no group for complaint: add it, or default"),
        (jira, COMPLAINT, "Medium", "new.toml:2: no project for complaint: add it, or default"),
        (glpi, RECOVERY, "normal", "new.toml:12: GLPI has no 'normal': write one of: very low, low, medium"),
    ],
)
def test_the_line_that_has_no_answer(
    file: Callable[[str], MappingFile], preview: Preview, case: Registration, normal: str, line: str
) -> None:
    with pytest.raises(MappingError) as refused:
        preview(case, file(normal))
    assert str(refused.value).startswith(line)
    finding = refused.value.finding
    assert str(refused.value) == f"{finding.subject}: {finding.message}: {finding.cure}"


def test_jira_needs_a_type_too(file: Callable[[str], MappingFile]) -> None:
    whole = file("Medium")
    untyped = replace(whole, mapping=whole.mapping.model_copy(update={"types": {}}))
    with pytest.raises(MappingError, match=r"new.toml:5: no issue type for recovery: add it, or default"):
        jira(RECOVERY, untyped)


def test_servicenow_tells_a_group_as_the_mapping_names_it(file: Callable[[str], MappingFile]) -> None:
    mapping = file("2").mapping
    group = "0123456789abcdef0123456789abcdef"
    record = {"assignment_group": group, "assignment_group.name": "Konta", "priority": "2"}
    assert servicenow_raw(record, mapping).queue == "Konta"
    by_id = mapping.model_copy(update={"queues": {"default": group}})
    assert servicenow_raw(record, by_id).queue == group


async def test_a_template_of_the_rest_connector_that_does_not_work_with_the_case(tmp_path: Path) -> None:
    """The server of the address is never asked."""
    text = EXAMPLE.read_text(encoding="utf-8").replace("{{ correlation_id }}", "{{ procedure.upper() }}")
    (tmp_path / "rejestr.toml").write_text(text, encoding="utf-8")
    backend = connector("https://rejestr.invalid", mapping=tmp_path / "rejestr.toml")
    told = backend.preview(UNLOCK)
    assert (told.subject, told.requester, told.type, told.status) == (UNLOCK.subject, UNLOCK.requester, None, None)
    with pytest.raises(MappingError, match=r"rejestr.toml:43: the template '\{\{ procedure.upper\(\) \}\}'"):
        backend.preview(COMPLAINT)
