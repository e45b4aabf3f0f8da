"""The conformance kit finds what it is there to find: each planted fault fails the check that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
HEAD = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import pytest
from okienko.plugins.errors import *
from okienko.plugins.ports import *
from okienko.plugins.identity import *
from okienko.plugins.testing import *
from okienko.plugins.testing.conformance import *
from okienko.schemas import *
from plugins.memory_workshop import Broken, Workshop
import asyncio, itertools
from dataclasses import replace
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
    @pytest.fixture
    def workshop(self, backend): return Workshop(backend)
    @pytest.fixture
    def unreachable(self): return Broken(TransientError("nothing answers"))
    @pytest.fixture
    def refused(self): return Broken(MisconfiguredError("wrong credentials"))
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
    (IDENTITY, "async def find_by_login(self, login): return next((a.shown() for a in self.accounts.values()), None)", "test_unknown_login"),
    # A wildcard finds somebody.
    (IDENTITY, "async def find_by_login(self, login):\n"
     "        return next((a.shown() for a in self.accounts.values() if '*' in login), None) or await super().find_by_login(login)",
     "test_unknown_login"),
    # A directory that a strange login throws off.
    (IDENTITY, "async def find_by_login(self, login):\n        login.encode('ascii')\n        return await super().find_by_login(login)",
     "test_unknown_login"),
    # A search for a part of the login.
    (IDENTITY, "async def find_by_login(self, login):\n        if not login.strip(): return None\n"
     "        return next((a.shown() for a in self.accounts.values() if login.lower() in a.login.lower()), None)",
     "test_nearly_the_same_login"),
    # Upper case is another login.
    (IDENTITY, "async def find_by_login(self, login): return next((a.shown() for a in self.accounts.values() if a.login == login), None)",
     "test_found_by_login"),
    # It says that it did what it cannot do.
    (IDENTITY, "def __init__(self): super().__init__(set(Operation) - {Operation.UNLOCK})\n"
     "    async def unlock(self, expected): return Done(changed=True)", "test_operations_are_told_truly"),
    # It finds everybody by any number.
    (IDENTITY, "async def find_by_pesel(self, pesel): return tuple(a.shown() for a in self.accounts.values())", "test_found_by_pesel"),
    # It reports a change where there was nothing to do.
    (IDENTITY, "async def unlock(self, expected): return replace(await super().unlock(expected), changed=True, fields=('locked',))", "test_unlock"),
    # Unlocking switches on what an administrator switched off.
    (IDENTITY, "async def unlock(self, expected):\n        self._expected(expected).flags.discard(AccountFlag.DISABLED)\n"
     "        return await super().unlock(expected)", "test_disabled_stays_disabled"),
    # The person's own new password has to be changed at once.
    (IDENTITY, "async def set_password(self, expected, password):\n        stored = self._expected(expected)\n"
     "        must = stored.flags & {AccountFlag.MUST_CHANGE}\n        done = await super().set_password(expected, password)\n"
     "        stored.flags |= must\n        return replace(done, after=stored.shown())", "test_set_password_that_must_change"),
    # The refusal quotes the password.
    (IDENTITY, "async def set_password(self, expected, password):\n        try: return await super().set_password(expected, password)\n"
     "        except PasswordRefusedError: raise PasswordRefusedError('refused: ' + password.get_secret_value()) from None",
     "test_refused_password"),
    # A result that shows the password.
    (IDENTITY, "async def set_password(self, expected, password):\n"
     "        return replace(await super().set_password(expected, password), fields=(password.get_secret_value(),))", "test_set_password"),
    # The login was changed elsewhere meanwhile, and nobody looks.
    (IDENTITY, "def _compare(self, stored, expected): pass", "test_stale"),
    (IDENTITY, "def _compare(self, stored, expected): pass", "test_wrong_person"),
    # Somebody else's login is taken over.
    (IDENTITY, "async def change_login(self, expected, new_login):\n        stored = self._expected(expected)\n        stored.login = new_login\n"
     "        return self._done(stored, 'login')", "test_taken_login"),
    # Compared first, written later.
    (IDENTITY, "async def change_login(self, expected, new_login):\n        stored = self._stored(expected.ref)\n"
     "        if same_login(stored.login, new_login): return Done(changed=False, after=stored.shown())\n"
     "        self._compare(stored, expected)\n"
     "        if any(same_login(a.login, new_login) for a in self.accounts.values()): raise LoginTakenError('taken')\n"
     "        await asyncio.sleep(0)\n        stored.login = new_login\n        return self._done(stored, 'login')", "test_race_for_a_login"),
    # An account made anew with the same login is taken for the one that was approved.
    (IDENTITY, "async def unlock(self, expected):\n"
     "        stored = next(a for a in self.accounts.values() if same_login(a.login, expected.login))\n"
     "        return await super().unlock(Expected(stored.ref, stored.login))", "test_gone"),
    # A check that tries nothing.
    (IDENTITY, "async def check(self): return []", "test_check"),
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
