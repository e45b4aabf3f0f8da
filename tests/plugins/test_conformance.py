"""The conformance kit finds what it is there to find: each planted fault fails the check that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import pytest
from okienko.plugins.errors import *
from okienko.plugins.ports import *
from okienko.plugins.testing.doubles import *
from okienko.plugins.testing.conformance import *
from okienko.schemas import *
import asyncio, itertools
"""

CSD = """
class Faulty(MemoryCsd):
    {0}
class TestFaulty(CsdConformance):
    @pytest.fixture
    def backend(self): return Faulty()
"""
CHANNEL = """
class Faulty(MemoryChannel):
    {0}
class TestFaulty(ChannelConformance):
    @pytest.fixture
    def backend(self): return Faulty()
    @pytest.fixture
    def sample(self): return InboundMessage(subject="s", text="t").model_dump_json().encode()
"""
IDENTITY = """
class Faulty(MemoryIdentity):
    {0}
class TestFaulty(IdentityConformance):
    @pytest.fixture
    def backend(self): return Faulty()
"""
POLICY = """
class Faulty:
    name = "faulty"
    {0}
class TestFaulty(PolicyConformance):
    @pytest.fixture
    def backend(self): return Faulty()
"""

FAULTS = [
    # A second ticket for the same case.
    (CSD, "async def create(self, rs):\n        for r in rs: self.tickets.pop(r.correlation_id, None)\n"
     "        self.n = getattr(self, 'n', 0) + 1000\n"
     "        refs = await super().create(rs)\n"
     "        for r in rs: self.tickets[r.correlation_id].ref = refs[r.correlation_id] = CsdRef(backend='memory', number=f'X{next(self.c)}')\n"
     "        return refs\n    c = itertools.count()", "test_create_twice"),
    # A ticket that is not found again by its correlation id.
    (CSD, "async def find(self, ids): return {}", "test_create_then_find"),
    # A start that empties the register.
    (CSD, "async def start(self): self.tickets.clear()", "test_start_twice"),
    # Two workers, two tickets.
    (CSD, "async def create(self, rs):\n        new = [r for r in rs if r.correlation_id not in self.tickets]\n"
     "        await asyncio.sleep(0)\n        for r in new: self.tickets.pop(r.correlation_id, None)\n"
     "        refs = await super().create(rs)\n        for r in new:\n"
     "            self.tickets[r.correlation_id].ref = refs[r.correlation_id] = CsdRef(backend='memory', number=f'X{next(self.c)}')\n"
     "        return refs\n    c = itertools.count()", "test_created_at_once"),
    # Closing something unknown looks like a success.
    (CSD, "async def close(self, ref, solution): pass", "test_unknown_ticket"),
    # Reopening an open ticket is an error.
    (CSD, "async def reopen(self, ref, reason):\n        if not self._ticket(ref).closed: raise PermanentError('open')\n"
     "        await super().reopen(ref, reason)", "test_close_and_reopen"),
    # NUL in a subject breaks it.
    (CSD, "async def create(self, rs):\n        for r in rs:\n            if chr(0) in r.subject: raise ValueError\n"
     "        return await super().create(rs)", "test_odd_texts"),
    # A check that tries nothing.
    (CSD, "async def check(self): return []", "test_check"),
    # A bad finding without a cure.
    (CSD, "async def check(self): return [Finding('x', Severity.ERROR, 'broken')]", "test_check"),
    # The parser lets its own exceptions out.
    (CHANNEL, "def parse(self, envelope, raw): return InboundMessage.model_validate_json(raw.read())", "test_parse_anything"),
    (CHANNEL, "def parse(self, envelope, raw): return InboundMessage.model_validate_json(raw.read())", "test_parse_cut_sample"),
    # The same bytes, two messages.
    (CHANNEL, "c = itertools.count()\n    def parse(self, e, raw):\n        return super().parse(e, raw).model_copy(update={'subject': str(next(self.c))})",
     "test_parse_sample"),
    # NUL gets through.
    (CHANNEL, "def parse(self, e, raw): return super().parse(e, raw).model_copy(update={'text': chr(0)})", "test_parse_sample"),
    # It cannot be stopped.
    (CHANNEL, "async def run(self, intake):\n        try: await asyncio.sleep(60)\n        finally: await asyncio.sleep(60)",
     "test_run_ends_when_cancelled"),
    # Any index opens something.
    (CHANNEL, "def open_attachment(self, e, raw, index):\n        import io\n        return io.BytesIO()", "test_attachments"),
    # An attachment of another size than stated.
    (CHANNEL, "def parse(self, e, raw):\n        a = Attachment(index=0, filename='a', content_type='text/plain', size=9, sha256='0' * 64)\n"
     "        return super().parse(e, raw).model_copy(update={'attachments': (a,)})\n"
     "    def open_attachment(self, e, raw, index):\n        import io\n        if index: raise IndexError\n        return io.BytesIO(b'x')",
     "test_attachments"),
    # Everyone has an account.
    (IDENTITY, "async def find_by_login(self, login): return AccountFacts(known=True, exists=True)", "test_unknown_login"),
    # A wildcard finds somebody.
    (IDENTITY, "async def find_by_login(self, login): return AccountFacts(known=True, exists='*' in login)", "test_unknown_login"),
    # A directory that a strange login throws off.
    (IDENTITY, "async def find_by_login(self, login):\n        login.encode('ascii')\n        return AccountFacts(known=True, exists=False)",
     "test_unknown_login"),
    # It says that it did what it cannot do.
    (IDENTITY, "can_execute = False\n    async def execute(self, action): pass", "test_execute_by_hand"),
    # It raises for a message without a sender.
    (POLICY, "def judge(self, m, f): return Silence(m.sender.address and 'x')", "test_always_answers"),
    # It merges into a case that nobody spoke of.
    (POLICY, "def judge(self, m, f):\n        import uuid\n        return Merge(uuid.UUID(int=99), 'number')", "test_merges_into_known_cases_only"),
    # It remembers.
    (POLICY, "n = 0\n    def judge(self, m, f):\n        self.n += 1\n        return Silence('odd') if self.n % 2 else None", "test_pure"),
    # Its reason quotes the message.
    (POLICY, "def judge(self, m, f): return Silence('about ' + m.subject[:60] + ' end')", "test_reasons_are_few"),
]  # fmt: skip


@pytest.mark.slow
def test_each_planted_fault_is_found(tmp_path: Path) -> None:
    for number, (frame, fault, _) in enumerate(FAULTS):
        (tmp_path / f"test_fault_{number:02}.py").write_text(HEAD + frame.format(fault), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    lines = done.stdout.splitlines()
    missed = []
    for number, (_, _, check) in enumerate(FAULTS):
        mine = [line for line in lines if f"test_fault_{number:02}.py" in line]
        assert any(line.startswith("PASSED") for line in mine), (
            f"fault {number} breaks everything:\n{done.stdout[-3000:]}"
        )
        if not any(line.startswith(("FAILED", "ERROR")) and f"::{check}" in line for line in mine):
            missed.append((number, check))
    assert missed == []
