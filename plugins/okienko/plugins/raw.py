"""The bytes of something taken in, in memory or in a temporary file, without a caller having to know which."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
"""Octets moved at a time."""


class RawContent:
    """Bytes that can be read any number of times.

    Small contents are held in memory, large ones in a file that the creator owns and removes. `size` is in octets.
    """

    __slots__ = ("_data", "_path", "size")

    def __init__(self, data: bytes | None = None, *, path: Path | None = None) -> None:
        if (data is None) == (path is None):
            raise TypeError("RawContent takes either data or path")
        self._data = data
        self._path = path
        self.size = len(data) if data is not None else path.stat().st_size if path is not None else 0

    @property
    def in_memory(self) -> bool:
        """Whether `read()` costs nothing."""
        return self._data is not None

    @property
    def path(self) -> Path | None:
        """The file that holds the bytes, or None when they are in memory."""
        return self._path

    def open(self) -> BinaryIO:
        """A fresh binary stream at the start; the caller closes it."""
        return io.BytesIO(self._data) if self._data is not None else self._open_path()

    def read(self) -> bytes:
        """All bytes at once. For contents that may be large, use `open` or `chunks`."""
        if self._data is not None:
            return self._data
        with self._open_path() as stream:
            return stream.read()

    def head(self, limit: int) -> bytes:
        """At most `limit` octets from the start."""
        with self.open() as stream:
            return stream.read(limit)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The bytes in pieces of at most `size` octets."""
        with self.open() as stream:
            while piece := stream.read(size):
                yield piece

    def _open_path(self) -> BinaryIO:
        if self._path is None:
            raise TypeError("this content is in memory")
        return self._path.open("rb")
