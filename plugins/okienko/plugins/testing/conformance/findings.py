"""What every port's `check` must give."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

from okienko.plugins.ports import Finding, Severity


def assert_findings(found: list[Finding]) -> None:
    """Each finding says what was tried and how it went, and the bad ones what to do."""
    assert found, "check() tried nothing: an empty answer looks like a success"
    for finding in found:
        assert isinstance(finding, Finding)
        assert finding.subject
        assert finding.message
        assert finding.severity is Severity.OK or finding.cure, f"{finding.subject}: a bad finding needs a cure"
