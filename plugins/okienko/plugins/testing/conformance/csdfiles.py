"""Checks of attachments."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import asyncio
import io
from typing import BinaryIO

import pytest

from okienko.plugins.csd import Capability, CsdBackend, NewFile, RemoteFile, TicketGoneError, digest_of
from okienko.plugins.testing.conformance.csdbase import CsdChecks, insist, needs, new_file
from okienko.plugins.testing.conformance.csdcreate import FAULTS
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef

NAMES = ["Wniosek ąęłżź.pdf", "skan 🙂.png", "a b (1).tar.gz", "bez-rozszerzenia"]
HARD_NAMES = [
    'cudzy"słów.txt',
    "dwie\r\nlinie: x.txt",
    "../../etc/passwd",
    "C:\\a\\b.txt",
    "x" * 300 + ".txt",
    "",
    "nul\x00.txt",
]
"""Names that a system may write otherwise."""


class FileChecks(CsdChecks):
    """Attach, and see what is attached."""

    @needs(Capability.ATTACHMENTS)
    async def test_attach(self, backend: CsdBackend) -> None:
        """Name, size and, where it is told, the digest are those of the file."""
        ref = await self.make(backend)
        for name in NAMES:
            await backend.attach(ref, new_file(name, f"treść pliku {name}".encode()))
        files = await self.files(backend, ref)
        assert [file.filename for file in files] == NAMES
        for file in files:
            content = f"treść pliku {file.filename}".encode()
            assert file.size == len(content)
            assert file.sha256 in (None, digest_of(content))
        assert len({file.id for file in files}) == len(NAMES)

    @needs(Capability.ATTACHMENTS)
    async def test_attach_twice(self, backend: CsdBackend) -> None:
        """The same content under the same name is one file; another content, another name or another ticket is another."""
        ref, other = await self.make(backend), await self.make(backend)
        for _ in range(2):
            await backend.attach(ref, new_file("skan.pdf", b"pierwszy"))
        assert len(await self.files(backend, ref)) == 1
        for _ in range(2):
            await backend.attach(ref, new_file("skan.pdf", b"dwa lub"))
            await backend.attach(ref, new_file("skan.pdf", b"drugi__"))
        await backend.attach(ref, new_file("kopia.pdf", b"pierwszy"))
        await backend.attach(other, new_file("skan.pdf", b"pierwszy"))
        files = await self.files(backend, ref)
        assert sorted((f.filename, f.size) for f in files) == [
            ("kopia.pdf", 8), ("skan.pdf", 7), ("skan.pdf", 7), ("skan.pdf", 8),
        ]  # fmt: skip
        assert len(await self.files(backend, other)) == 1

    @needs(Capability.ATTACHMENTS)
    async def test_attach_at_once(self, backend: CsdBackend) -> None:
        """Two workers with one file make one."""
        ref = await self.make(backend)
        await asyncio.gather(*(backend.attach(ref, new_file("skan.pdf", b"raz")) for _ in range(3)))
        assert len(await self.files(backend, ref)) == 1

    @needs(Capability.ATTACHMENTS)
    async def test_attach_nothing(self, backend: CsdBackend) -> None:
        """A file of no octets is a file."""
        ref = await self.make(backend)
        for _ in range(2):
            await backend.attach(ref, new_file("pusty.txt", b"", "text/plain"))
        assert [(f.filename, f.size) for f in await self.files(backend, ref)] == [("pusty.txt", 0)]

    @needs(Capability.ATTACHMENTS)
    async def test_attach_hard_names(self, backend: CsdBackend) -> None:
        """Names that no file system likes are taken, perhaps changed, and twice is still once."""
        ref = await self.make(backend)
        for _ in range(2):
            for place, name in enumerate(HARD_NAMES):
                await backend.attach(ref, new_file(name, f"{place}".encode() * 10))
        assert len(await self.files(backend, ref)) == len(HARD_NAMES)

    @needs(Capability.ATTACHMENTS)
    async def test_attach_large(self, backend: CsdBackend) -> None:
        """Five megabytes arrive whole, whatever pieces they are read in."""
        ref = await self.make(backend)
        content = bytes(range(256)) * 4096 * 5
        opened: list[Pieces] = []

        def open_again() -> BinaryIO:
            opened.append(Pieces(content))
            return opened[-1]

        file = NewFile("duży.bin", "application/octet-stream", len(content), digest_of(content), open_again)
        for _ in range(2):
            await backend.attach(ref, file)
        (stored,) = await self.files(backend, ref)
        assert stored.size == len(content)
        assert stored.sha256 in (None, digest_of(content))
        assert opened, "the content was never read"
        assert all(stream.closed for stream in opened), "a stream was left open"

    @needs(Capability.ATTACHMENTS)
    @pytest.mark.parametrize("fault", FAULTS)
    async def test_attach_survives(self, backend: CsdBackend, csd_workshop: CsdWorkshop, fault: Fault) -> None:
        """However a request fails, trying again gives one file."""
        ref = await self.make(backend)
        await csd_workshop.order(fault)
        await insist(lambda: backend.attach(ref, new_file("skan.pdf", b"raz")))
        assert [(f.filename, f.size) for f in await self.files(backend, ref)] == [("skan.pdf", 3)]

    @needs(Capability.ATTACHMENTS)
    async def test_foreign_file(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """A file that somebody added is seen; adding the same from here adds none."""
        ref = await self.make(backend)
        await csd_workshop.attach(ref, "od Ewy.txt", b"z CSD")
        await backend.attach(ref, new_file("od Ewy.txt", b"z CSD"))
        assert [(f.filename, f.size) for f in await self.files(backend, ref)] == [("od Ewy.txt", 5)]

    @needs(Capability.ATTACHMENTS)
    async def test_attach_to_nothing(self, backend: CsdBackend) -> None:
        """There is no such ticket."""
        await self.make(backend)
        with pytest.raises(TicketGoneError):
            await backend.attach(CsdRef(backend=backend.name, number="999999999", id="999999999"), new_file("a", b"a"))

    async def files(self, backend: CsdBackend, ref: CsdRef) -> tuple[RemoteFile, ...]:
        """What is attached."""
        return (await self.read(backend, ref)).files


class Pieces(io.BytesIO):
    """Gives at most 64 KiB at a time, as a stream from a database or a pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        """At most a piece, unless everything is asked for."""
        return super().read(-1 if size is None or size < 0 else min(size, 1 << 16))
