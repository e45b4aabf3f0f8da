"""Prometheus' practice: names, units, help, and labels from closed sets."""

from __future__ import annotations

import re

import pytest
from prometheus_client.core import Metric

from okienko.metrics import catalogue
from okienko.metrics.ledger import Ledger, families

LEDGER = Ledger(
    received=9, cased=3, merged=2, suppressed=1, parked=1, queue_depth={"process": 1}, queue_failed={"process": 0},
    queue_oldest_seconds={"process": 0.5}, cases={("ticket", "registered"): 3}, actions_waiting=1,
)  # fmt: skip
FAMILIES = [*catalogue.REGISTRY.collect(), *families(LEDGER)]
CLOSED = frozenset(
    {
        "account",
        "backend",
        "channel",
        "decision",
        "job",
        "kind",
        "outcome",
        "plugin",
        "reason",
        "result",
        "state",
        "version",
        "le",
    }
)
"""Labels whose values come from an enum of ours or from the list of what is installed: never an address, a case, a subject."""
UNITS = re.compile(r"_(milliseconds|ms|minutes|hours|days|kb|kilobytes|mb|percent)(_|$)")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_name_and_help(family: Metric) -> None:
    assert re.fullmatch(r"okienko_[a-z][a-z0-9_]*[a-z0-9]", family.name)
    assert not UNITS.search(family.name), "base units only"
    assert family.documentation
    assert not family.documentation.endswith(".")
    assert family.name not in family.documentation
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), "the suffix is the exporter's"
    for sample in family.samples:
        if family.type == "counter":
            assert sample.name.endswith(("_total", "_created"))
        else:
            assert not sample.name.endswith("_total")
        assert set(sample.labels) <= CLOSED


@pytest.mark.parametrize(("ending", "kind"), [("_seconds", "histogram"), ("_bytes", "histogram")])
def test_histograms_say_their_unit(ending: str, kind: str) -> None:
    for family in FAMILIES:
        if family.type == kind:
            assert family.name.endswith(("_seconds", "_bytes"))


def test_every_family_once() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))


def test_the_ledger_is_mapped_whole() -> None:
    values = {
        (sample.name, *sample.labels.values()): sample.value for family in families(LEDGER) for sample in family.samples
    }
    assert values[("okienko_mail_balance",)] == 2
    assert values[("okienko_mail_ledger_messages", "received")] == 9
    assert values[("okienko_queue_jobs", "process")] == 1
    assert values[("okienko_queue_oldest_job_age_seconds", "process")] == 0.5
    assert values[("okienko_cases", "ticket", "registered")] == 3
    assert values[("okienko_reset_actions_waiting",)] == 1
