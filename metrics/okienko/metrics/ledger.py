"""Figures that must agree with the database, as Prometheus metrics: a pure mapping from one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Ledger:
    """One consistent reading of the database."""

    received: int = 0
    cased: int = 0
    merged: int = 0
    suppressed: int = 0
    """Duplicates included."""
    parked: int = 0
    queue_depth: dict[str, int] = field(default_factory=dict)
    queue_oldest_seconds: dict[str, float] = field(default_factory=dict)
    """Age of the oldest job that is due, in seconds."""
    queue_failed: dict[str, int] = field(default_factory=dict)
    cases: dict[tuple[str, str], int] = field(default_factory=dict)
    """By kind and state."""
    actions_waiting: int = 0
    audit_entries: int = 0
    audit_intact: bool | None = None
    """By the last verification; None when there was none yet."""
    audit_verified_at: float | None = None
    """Unix time."""
    audit_anchored_at: float | None = None
    """Unix time."""

    @property
    def balance(self) -> int:
        """Messages that came in and are not accounted for: 0 when the queue is idle."""
        return self.received - self.cased - self.merged - self.suppressed - self.parked


def families(ledger: Ledger) -> Iterator[Metric]:
    """The ledger as metric families."""
    yield _gauge(
        "okienko_mail_balance", "Received minus cased, merged, suppressed and parked: 0 at rest", [((), ledger.balance)]
    )
    accounts = (("received", ledger.received), ("cased", ledger.cased), ("merged", ledger.merged))
    ends = (("suppressed", ledger.suppressed), ("parked", ledger.parked))
    yield _gauge(
        "okienko_mail_ledger_messages",
        "Messages on record, by account",
        [((k,), v) for k, v in accounts + ends],
        ["account"],
    )
    yield _gauge(
        "okienko_queue_jobs", "Jobs waiting or in work", [((k,), v) for k, v in ledger.queue_depth.items()], ["job"]
    )
    yield _gauge(
        "okienko_queue_oldest_job_age_seconds", "Age of the oldest job that is due",
        [((k,), v) for k, v in ledger.queue_oldest_seconds.items()], ["job"],
    )  # fmt: skip
    yield _gauge(
        "okienko_queue_failed_jobs",
        "Jobs that failed and are held",
        [((k,), v) for k, v in ledger.queue_failed.items()],
        ["job"],
    )
    yield _gauge("okienko_cases", "Cases on record, by kind and state", list(ledger.cases.items()), ["kind", "state"])
    yield _gauge(
        "okienko_reset_actions_waiting", "Reset actions that wait for an administrator", [((), ledger.actions_waiting)]
    )
    yield CounterMetricFamily("okienko_audit_entries", "Entries of the audit chain", value=ledger.audit_entries)
    # Nothing is told before the first verification: an alert on a missing value differs from one on a broken chain.
    audit = (
        ("okienko_audit_chain_intact", "1 if the audit chain was whole when it was last verified", ledger.audit_intact),
        (
            "okienko_audit_last_verification_timestamp_seconds",
            "When the audit was last verified",
            ledger.audit_verified_at,
        ),
        ("okienko_audit_last_anchor_timestamp_seconds", "When the audit was last anchored", ledger.audit_anchored_at),
    )
    for name, text, value in audit:
        yield _gauge(name, text, [] if value is None else [((), value)])


def _gauge(
    name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], labels: list[str] | None = None
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels or [])
    for key, value in values:
        family.add_metric(list(key), value)
    return family


class Snapshot(Collector):
    """A collector for one reading; a scrape makes one and asks it once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """The families of the reading."""
        return families(self._ledger)
