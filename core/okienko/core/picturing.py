"""Pictures of signed documents, made in a process of its own for each question, with limits of memory and time.

Neither the service nor the processes that check signatures ever run the renderer: a document that takes it over has only itself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from okienko.core.verifying import PASSED_ON
from okienko.core.verifyworker import FRAME
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.signature.kinds import MOST_TEXT, Kind

log = structlog.get_logger(__name__)

MEMORY_LIMIT = 768 << 20
TIME_LIMIT = 20.0
_MOST_ANSWER = 16 << 20


class NoPictureError(PermanentError):
    """The document has no such picture, or it cannot be made within the limits."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One part of a document, as far as it can be shown."""

    kind: Kind
    pages: int
    """Of a PDF or an image; each has a picture."""
    text: str
    cut: bool
    """Whether there is more than that."""


@dataclass
class Picturing:
    """Asks one process after the other, at most `at_once` at a time."""

    at_once: int = 1
    time_limit: float = TIME_LIMIT
    memory_limit: int = MEMORY_LIMIT
    _places: asyncio.Semaphore | None = field(default=None, repr=False)

    async def parts(self, files: Sequence[bytes]) -> tuple[Seen, ...]:
        """What there is to see in signed files. Raises NoPictureError, TransientError when no process starts."""
        answer = await self._ask({"do": "parts"}, files)
        try:
            return tuple(
                Seen(Kind(part["kind"]), int(part["pages"]), str(part["text"])[:MOST_TEXT], bool(part["cut"]))
                for part in answer["parts"]
            )
        except (KeyError, TypeError, ValueError):
            raise _failed("nonsense") from None

    async def page(self, files: Sequence[bytes], part: int, page: int) -> bytes:
        """One page as a PNG, counted from 0. Raises NoPictureError, TransientError when no process starts."""
        answer = await self._ask({"do": "page", "part": part, "page": page}, files)
        try:
            png = base64.b64decode(answer["png"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise _failed("nonsense") from None
        # Whoever took the process over may have sent anything; a browser that is told PNG takes nothing else (nosniff).
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            raise _failed("nonsense")
        return png

    async def _ask(self, question: dict[str, Any], blobs: Sequence[bytes]) -> dict[str, Any]:
        if self._places is None:
            self._places = asyncio.Semaphore(self.at_once)
        async with self._places:
            return await self._in_a_process(question, blobs)

    async def _in_a_process(self, question: dict[str, Any], blobs: Sequence[bytes]) -> dict[str, Any]:
        frame = json.dumps(question | {"memory": self.memory_limit, "blobs": [len(blob) for blob in blobs]}).encode()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "okienko.core.pictureworker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={name: value for name in PASSED_ON if (value := os.environ.get(name)) is not None},
                limit=1 << 20, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise TransientError(f"no process can be started now ({error.strerror}): try again in a moment") from None
        assert process.stdin is not None  # noqa: S101  both pipes were asked for
        assert process.stdout is not None  # noqa: S101
        try:
            async with asyncio.timeout(self.time_limit):
                for octets in (FRAME.pack(len(frame)), frame, *blobs):
                    process.stdin.write(octets)
                await process.stdin.drain()
                (length,) = FRAME.unpack(await process.stdout.readexactly(FRAME.size))
                if length > _MOST_ANSWER:
                    raise _failed("too_large")
                answer = json.loads(await process.stdout.readexactly(length))
        except TimeoutError:
            raise _failed("timed_out") from None
        except (OSError, asyncio.IncompleteReadError, ValueError):
            raise _failed("crashed") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if not isinstance(answer, dict) or "failed" in answer:
            raise _failed("refused")
        return answer


def _failed(why: str) -> NoPictureError:
    log.warning("no picture was made of a document", action="picture", reason=why)
    return NoPictureError("the document cannot be shown: download it, and look at it in a safe place")
