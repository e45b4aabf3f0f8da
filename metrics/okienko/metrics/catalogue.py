"""The metrics of one process. Names follow Prometheus' practice; every label's values come from a closed set.

What must be right with any number of processes and after restarts (balance, queue, cases) is not counted here but read
from the database at scrape time: see `okienko.metrics.ledger`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

INTAKE_RECEIVED = Counter(
    "okienko_intake_received", "Messages durably taken in, by channel", ["channel"], registry=REGISTRY
)
INTAKE_REFUSED = Counter(
    "okienko_intake_refused",
    "Messages refused at the door, by channel and reason",
    ["channel", "reason"],
    registry=REGISTRY,
)
MESSAGES = Counter("okienko_messages", "Messages processed, by outcome", ["outcome"], registry=REGISTRY)
CASES_OPENED = Counter(
    "okienko_cases_opened", "Cases opened, by kind and decision", ["kind", "decision"], registry=REGISTRY
)
REGISTRATIONS = Counter(
    "okienko_csd_registrations",
    "Registrations in the CSD, by backend and result",
    ["backend", "result"],
    registry=REGISTRY,
)
CSD_OUTBOX = Counter(
    "okienko_csd_outbox", "What the CSD was told of cases, by kind and result", ["kind", "result"], registry=REGISTRY
)
CSD_PULLS = Counter("okienko_csd_pulls", "Tickets read because they may have changed", registry=REGISTRY)
CSD_CONFLICTS = Counter(
    "okienko_csd_conflicts",
    "Fields that both sides changed, by field and winner",
    ["field", "winner"],
    registry=REGISTRY,
)
CSD_NOTICES = Counter("okienko_csd_notices", "Notices of the CSD by webhook, by result", ["result"], registry=REGISTRY)
NOTIFICATIONS = Counter(
    "okienko_notifications", "Messages to people, by kind and result", ["kind", "result"], registry=REGISTRY
)
LIMITS = Counter("okienko_limits_reached", "Limits that somebody came up against", ["limit"], registry=REGISTRY)
PARKED = Counter("okienko_parked", "Work parked for a person, by job and reason", ["job", "reason"], registry=REGISTRY)
APPROVALS_FORGED = Counter(
    "okienko_approvals_forged",
    "Approvals that were found with a missing or wrong seal, and not counted",
    registry=REGISTRY,
)
BREAKER_OPEN = Gauge(
    "okienko_csd_breaker_open",
    "1 while this process leaves the CSD alone because it does not answer",
    ["backend"],
    registry=REGISTRY,
)
BREAKER_TRIPS = Counter(
    "okienko_csd_breaker_trips", "How often this process began to leave the CSD alone", ["backend"], registry=REGISTRY
)
RETRIES = Counter("okienko_job_retries", "Jobs put back after a transient failure", ["job"], registry=REGISTRY)
STEP_SECONDS = Histogram(
    "okienko_step_duration_seconds",
    "Time from a job's start to its commit; jobs of one batch share it",
    ["job"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
MESSAGE_BYTES = Histogram(
    "okienko_message_size_bytes",
    "Size of messages processed",
    buckets=(1 << 10, 1 << 13, 1 << 16, 1 << 19, 1 << 22, 1 << 25, 1 << 28),
    registry=REGISTRY,
)
VERIFICATIONS = Counter(
    "okienko_signature_checks",
    "Signed documents checked, by format and result",
    ["format", "result"],
    registry=REGISTRY,
)
TRUST_ISSUED = Gauge(
    "okienko_trust_issued_timestamp_seconds",
    "When the oldest trust file of this kind was issued (crl, trusted_list); its age is time() minus this",
    ["kind"],
    registry=REGISTRY,
)
TRUST_UNTIL = Gauge(
    "okienko_trust_next_update_timestamp_seconds",
    "When the first trust file of this kind runs out; signatures are refused from then on",
    ["kind"],
    registry=REGISTRY,
)
TRUST_WRONG = Gauge(
    "okienko_trust_files_wrong",
    "Trust files that are missing, expired or refused, by kind",
    ["kind"],
    registry=REGISTRY,
)
PLUGIN_UP = Gauge("okienko_plugin_up", "1 if the plugin is loaded and works", ["plugin"], registry=REGISTRY)
BUILD_INFO = Gauge("okienko_build_info", "Always 1; the version is in the label", ["version"], registry=REGISTRY)
DATABASE_UP = Gauge("okienko_database_up", "1 if the database answered the last scrape", registry=REGISTRY)
