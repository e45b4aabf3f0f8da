"""A large message without its long bodies: small enough to parse, with marks that say where the bytes are.

The standard parser holds a message several times over. For a large one it is given a skeleton instead: between boundary
lines only the first KEEP octets are kept and the rest is one marker line with its offsets in the original.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import IO, BinaryIO, cast

from okienko.plugins.raw import CHUNK, RawContent

KEEP = 64 << 10
"""Octets kept after each boundary line: a part's header, and the text people write."""
_LINE = 64 << 10


class Skeleton:
    """The reduced bytes of a message and the way back to the original ones."""

    def __init__(self, raw: RawContent) -> None:
        self.raw = raw
        self._nonce = os.urandom(16).hex()
        self.marker = re.compile(rf"okienko-{self._nonce}-(\d+)-(\d+)\r?\n?".encode())
        self.data = self._reduce()

    def _reduce(self) -> bytes:
        out: list[bytes] = []
        kept, offset, cut_from = 0, 0, -1
        with self.raw.open() as stream:
            while line := stream.readline(_LINE):
                if line.startswith(b"--"):
                    if cut_from >= 0:
                        out.append(self._mark(cut_from, offset))
                        cut_from = -1
                    kept = 0
                if cut_from < 0 and kept > KEEP:
                    cut_from = offset
                if cut_from < 0:
                    out.append(line)
                    kept += len(line)
                offset += len(line)
        if cut_from >= 0:
            out.append(self._mark(cut_from, offset))
        return b"".join(out)

    def _mark(self, start: int, end: int) -> bytes:
        return f"okienko-{self._nonce}-{start}-{end}\r\n".encode()

    def has_marker(self, data: bytes) -> bool:
        """Whether something was left out of `data`."""
        return self._nonce.encode() in data

    def restore(self, data: bytes) -> BinaryIO:
        """A stream of `data` with what was left out put back; on disk when it is large."""
        out: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=CHUNK)
        position = 0
        with self.raw.open() as stream:
            for match in self.marker.finditer(data):
                out.write(data[position : match.start()])
                start, left = int(match[1]), int(match[2]) - int(match[1])
                stream.seek(start)
                while left and (piece := stream.read(min(CHUNK, left))):
                    out.write(piece)
                    left -= len(piece)
                position = match.end()
        out.write(data[position:])
        out.seek(0)
        return cast("BinaryIO", out)
