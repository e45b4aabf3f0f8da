"""The process that checks documents: questions on standard input, answers on standard output, limits on itself.

Each message is a length (4 octets, big-endian) and that much JSON; a question's blobs follow it. The parent is
`okienko.core.verifying`; nobody else starts this.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

FRAME = struct.Struct(">I")
MOST_FRAME = 1 << 28


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the parent closes the pipe."""
    start = _read(questions)
    if start is None:
        return
    try:
        verifier = _load(start)
    except Exception as error:
        _write(answers, {"misconfigured": _say(error)})
        return
    # After loading: what the plugin itself needs is not the document's fault.
    _limit(int(start["memory"]))
    _write(answers, {"ready": True})
    while (question := _read(questions)) is not None:
        blobs = [questions.read(length) for length in question["blobs"]]
        _write(answers, _answer(verifier, question, blobs))


def _answer(verifier: Any, question: Mapping[str, Any], blobs: list[bytes]) -> dict[str, Any]:
    from okienko.plugins.errors import OkienkoError

    try:
        if question["do"] == "trust":
            return {"files": verifier.trust_files() if hasattr(verifier, "trust_files") else []}
        at = datetime.fromisoformat(question["at"])
        detached = blobs[1] if question["detached"] else None
        found = verifier.verify(blobs[0], question["filename"], at=at, detached=detached)
        application = verifier.read_application(found.signed)
        return {"verification": found.to_wire(), "application": application.to_wire()}
    except OkienkoError as error:
        return {"misconfigured": str(error)}


def _load(start: Mapping[str, Any]) -> Any:
    from okienko.plugins.context import PluginContext
    from okienko.plugins.manager import Plugins

    context = PluginContext(home=Path(start["home"]), environ=start["environ"])
    plugins = Plugins.load(context, only=[start["plugin"]], required=[start["plugin"]])
    return plugins.signature_verifiers[start["verifier"]]


def _say(error: Exception) -> str:
    from okienko.plugins.errors import OkienkoError

    return str(error) if isinstance(error, OkienkoError) else f"the verifier cannot be loaded: {type(error).__name__}"


def _limit(memory: int) -> None:
    """No more memory than that, no core file, no file written, no new process or thread storm."""
    try:
        import resource
    except ImportError:
        # Windows knows no such limits; the time limit of the parent remains.
        return
    for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _read(stream: BinaryIO) -> dict[str, Any] | None:
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (length,) = FRAME.unpack(head)
    message: dict[str, Any] = json.loads(stream.read(length))
    return message


def _write(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    frame = json.dumps(message).encode()
    stream.write(FRAME.pack(len(frame)) + frame)
    stream.flush()


def answer_once(answer: Callable[[Mapping[str, Any], list[bytes]], dict[str, Any]]) -> None:
    """One question, one answer, under the limit of memory that the question names. What `answer` raises is `failed`."""
    answers = _own_answers()
    question = _read(sys.stdin.buffer)
    if question is None:
        return
    blobs = [sys.stdin.buffer.read(length) for length in question["blobs"]]
    _limit(int(question["memory"]))
    try:
        found = answer(question, blobs)
    except Exception as error:  # whatever the document did to it
        found = {"failed": type(error).__name__}
    _write(answers, found)


def _own_answers() -> BinaryIO:
    """Standard output; a plugin's or library's print() must not end up among the answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr
    return answers


def main() -> None:
    """Entry point of `python -m okienko.core.verifyworker`."""
    answers = _own_answers()
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
