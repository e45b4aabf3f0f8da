"""Signed documents are checked in processes of their own, with limits of memory and time.

A document comes from a stranger and goes through parsers of PDF, XML, ASN.1 and ZIP. Whatever it does to them, the service sees
a report: a worker that hangs is killed, one that crashes is replaced. A worker gets the verifier's own settings and nothing else
of the environment, and it starts with the first document, so a service that checks none pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from okienko.core.verifyworker import FRAME, MOST_FRAME
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.signature.problems import Code, problem
from okienko.plugins.signatures import Application, SignatureFormat, SignatureReport, Verification
from okienko.schemas import Attachment

log = structlog.get_logger(__name__)

MEMORY_LIMIT = 1 << 30
"""Address space of a worker, in octets. Its libraries alone map about 350 MB."""
TIME_LIMIT = 20.0
_START_LIMIT = 30.0
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that a worker process gets of our environment."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a worker found."""

    verification: Verification
    application: Application
    """Out of the signed octets; empty when the signature is not intact."""
    attachment: Attachment | None = None
    """The document, where it is one of a mail's."""
    typed: tuple[str, ...] = ()
    """What of the application was typed by a person: names of its fields."""


class _Died(Exception):  # noqa: N818  a finding about a worker
    pass


@dataclass
class _Worker:
    process: Process

    async def ask(self, header: dict[str, Any], *blobs: bytes) -> dict[str, Any]:
        """One question and its answer. Raises _Died when the process ends or talks nonsense."""
        assert self.process.stdin is not None  # noqa: S101  both pipes were asked for
        assert self.process.stdout is not None  # noqa: S101
        try:
            frame = json.dumps(header | {"blobs": [len(blob) for blob in blobs]}).encode()
            self.process.stdin.write(FRAME.pack(len(frame)) + frame + b"".join(blobs))
            await self.process.stdin.drain()
            (length,) = FRAME.unpack(await self.process.stdout.readexactly(FRAME.size))
            if length > MOST_FRAME:
                raise _Died
            answer = json.loads(await self.process.stdout.readexactly(length))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            raise _Died from None
        if not isinstance(answer, dict):
            raise _Died
        return answer

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@dataclass
class Verifying:
    """Checks documents in at most `workers` processes at a time.

    `plugin` names the entry point whose verifier `verifier` is; its variables (`OKIENKO_<PLUGIN>_…`) go to the workers.
    """

    environ: Mapping[str, str]
    home: Path
    plugin: str = "signature"
    verifier: str = "signature"
    workers: int = 1
    time_limit: float = TIME_LIMIT
    memory_limit: int = MEMORY_LIMIT
    _idle: list[_Worker] = field(default_factory=list, repr=False)
    _places: asyncio.Semaphore | None = field(default=None, repr=False)

    @property
    def configured(self) -> bool:
        """Whether the verifier has any settings; without, it trusts nobody."""
        return bool(self._own_environ())

    async def verify(self, document: bytes, filename: str, at: datetime, *, detached: bytes | None = None) -> Checked:
        """Check one document. What is wrong with it, or with the worker that met it, is in the report.

        Raises MisconfiguredError when the verifier cannot be loaded or a trust file cannot be read.
        """
        question = {"do": "verify", "filename": filename, "at": at.isoformat(), "detached": detached is not None}
        blobs = [document] if detached is None else [document, detached]
        try:
            answer = await self._ask(question, blobs, self.time_limit)
            verification = Verification.from_wire(answer["verification"])
            application = Application.from_wire(answer["application"])
        except TimeoutError:
            return _failed(Code.TIMED_OUT)
        except (_Died, KeyError, TypeError, ValueError):
            return _failed(Code.CRASHED)
        report = verification.report
        metrics.VERIFICATIONS.labels(report.format.value, "valid" if report.valid else "invalid").inc()
        return Checked(verification, application)

    async def trust_status(self) -> list[dict[str, Any]]:
        """The trust files with their ages, as `okienko trust status` shows them. Raises MisconfiguredError."""
        try:
            answer = await self._ask({"do": "trust"}, [], self.time_limit)
        except (TimeoutError, _Died):
            raise MisconfiguredError("the trust files cannot be read within the limits of memory and time") from None
        files: list[dict[str, Any]] = answer["files"]
        return files

    async def close(self) -> None:
        """End all workers."""
        idle, self._idle = self._idle, []
        for worker in idle:
            await worker.end()

    async def _ask(self, question: dict[str, Any], blobs: list[bytes], seconds: float) -> dict[str, Any]:
        if self._places is None:
            self._places = asyncio.Semaphore(self.workers)
        async with self._places:
            worker = self._idle.pop() if self._idle else await self._start()
            well = False
            try:
                async with asyncio.timeout(seconds):
                    answer = await worker.ask(question, *blobs)
                well = True
            except (TimeoutError, _Died) as error:
                log.warning(
                    "a document ended its worker", action="verify", reason=type(error).__name__.strip("_").lower()
                )
                raise
            finally:
                # Also when we are cancelled: its answer would be taken for that to the next question.
                if well:
                    self._idle.append(worker)
                else:
                    await worker.end()
        if "misconfigured" in answer:
            raise MisconfiguredError(str(answer["misconfigured"]))
        return answer

    def _own_environ(self) -> dict[str, str]:
        prefix = f"OKIENKO_{self.plugin}_".upper()
        return {name: value for name, value in self.environ.items() if name.upper().startswith(prefix)}

    async def _start(self) -> _Worker:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "okienko.core.verifyworker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={name: value for name in PASSED_ON if (value := os.environ.get(name)) is not None},
                limit=1 << 20, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            # No memory or no process left at this moment.
            log.warning("no worker can be started", action="verify", reason=error.strerror)
            raise _Died from None
        worker = _Worker(process)
        start = {
            "environ": self._own_environ(), "home": str(self.home), "plugin": self.plugin, "verifier": self.verifier,
            "memory": self.memory_limit,
        }  # fmt: skip
        try:
            async with asyncio.timeout(_START_LIMIT):
                answer = await worker.ask(start)
        except (TimeoutError, _Died):
            await worker.end()
            raise MisconfiguredError(
                "the process that checks signatures does not start: see `okienko plugins`"
            ) from None
        except BaseException:
            await worker.end()
            raise
        if "misconfigured" in answer:
            await worker.end()
            raise MisconfiguredError(str(answer["misconfigured"]))
        return worker


def _failed(code: Code) -> Checked:
    metrics.VERIFICATIONS.labels(SignatureFormat.NONE.value, code.value).inc()
    report = SignatureReport(valid=False, format=SignatureFormat.NONE, problems=(problem(code),))
    return Checked(Verification(report), Application())
