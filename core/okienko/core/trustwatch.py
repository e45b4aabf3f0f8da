"""The ages of trusted list and CRLs as metrics, looked up now and then in a process that ends again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from okienko.core.verifying import Verifying
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import OkienkoError

log = structlog.get_logger(__name__)

INTERVAL = 3600.0
_KINDS = ("crl", "trusted_list")


async def watch_trust(verifying: Verifying, interval: float = INTERVAL) -> None:
    """Look until cancelled. Files that are wrong are logged; nothing is logged where no trust is set up."""
    while True:
        # Its own worker, and not kept: a service that checks nothing keeps its memory.
        once = replace(verifying, _idle=[], _places=None)
        try:
            publish(await once.trust_status())
        except OkienkoError as error:
            log.error("trust files cannot be read", action="trust", problem=str(error))  # noqa: TRY400  the message says all
        except Exception:
            log.exception("the look at the trust files failed", action="trust")
        finally:
            await once.close()
        await asyncio.sleep(interval)


def publish(files: Iterable[Mapping[str, Any]]) -> None:
    """Set the gauges from what `Verifying.trust_status` returned."""
    files = list(files)
    for kind in _KINDS:
        mine = [file for file in files if file["kind"] == kind]
        wrong = [file for file in mine if file["state"] not in ("ok", "soon")]
        metrics.TRUST_WRONG.labels(kind).set(len(wrong))
        for gauge, key in ((metrics.TRUST_ISSUED, "issued"), (metrics.TRUST_UNTIL, "until")):
            moments = [datetime.fromisoformat(file[key]).timestamp() for file in mine if file[key]]
            if moments:
                gauge.labels(kind).set(min(moments))
        for file in wrong:
            log.warning("a trust file is wrong", action="trust", kind=kind, state=file["state"], name=file["name"])
