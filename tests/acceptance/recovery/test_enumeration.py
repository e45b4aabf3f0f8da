"""Nobody learns from outside whether an account exists: not by what is answered, nor how often, nor when.

Thousands of requests, shuffled, in waves as a busy day brings them. The clock runs from the durable commit that the sender's
server gets its 250 for, to the hand-over of mail 1. Two kinds of account are told apart by their times when a request of the
one kind tends to be answered sooner than one of the other: the share of pairs in which it is (AUC) is 0.5 for no difference.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.recovery.letters import DOMAIN, YEAR, citizen, letter_a
from acceptance.recovery.peers import slapd
from acceptance.recovery.stage import Stage, stage
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName
from rigs import slapd as rig
from rigs.postgres import Postgres

EACH = int(os.environ.get("OKIENKO_TEST_ENUMERATION", "2000"))
"""Requests of each class."""
CLASSES = ("none", "present", "locked", "disabled", "mismatch")
AUC = 0.55
_WAVE = 50
_LOCKED = {"locked": "20261101000000Z", "disabled": "000001010000Z"}


def address(kind: str, number: int) -> str:
    """Of the same length for all, and of no meaning in itself."""
    return f"o{CLASSES.index(kind)}{number:06}@{DOMAIN}"


@pytest.fixture
async def desk(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Stage]:
    with slapd() as peer:
        await asyncio.to_thread(_populate, peer.hands)
        async with stage(postgres, tmp_path, peer.environ) as running:
            yield running


def _populate(hands: Any) -> None:
    """Accounts for all but those who have none."""
    admin = hands.admin()
    for kind, number in itertools.product(CLASSES[1:], range(EACH)):
        login, family = address(kind, number), "Niebyły" if kind == "mismatch" else "Próbny"
        entry = {
            "objectClass": ["inetOrgPerson", "puescAccount"], "cn": ["Jan"], "givenName": ["Jan"], "sn": [family],
            "mail": [login], "employeeNumber": [str(YEAR + (kind == "mismatch"))], "pesel": [citizen().pesel],
        }  # fmt: skip
        dn = f"uid={login.partition('@')[0]},{rig.PEOPLE}"
        admin.add_s(dn, [(name, [value.encode() for value in values]) for name, values in entry.items()])
        if kind in _LOCKED:
            admin.modify_s(dn, [(2, "pwdAccountLockedTime", [_LOCKED[kind].encode()])])


@pytest.mark.needs_slapd
@pytest.mark.slow
@pytest.mark.timeout(500)
async def test_no_account_can_be_told_from_another_or_from_none(desk: Stage) -> None:
    requests = list(itertools.product(CLASSES, range(EACH)))
    random.Random(20261124).shuffle(requests)
    for start in range(0, len(requests), _WAVE):
        wave = requests[start : start + _WAVE]
        await asyncio.gather(*(_take_in(desk, kind, number) for kind, number in wave))
        await _all_sent(desk, start + len(wave))
    sql = "SELECT count(*) FROM event WHERE type = 'assessed'"

    async def all_assessed() -> bool:
        return bool(await desk.value(sql) == len(requests))

    await desk.sooner_or_later(all_assessed)

    # The house itself knows better.
    found = await desk.rows(
        "SELECT substr(requester_address, 2, 1)::int AS kind, count(a.id) AS actions, count(DISTINCT c.id) AS cases FROM cases c "
        "LEFT JOIN reset_action a ON a.case_id = c.id GROUP BY 1 ORDER BY 1"
    )
    assert [(row["cases"], row["actions"]) for row in found] == [
        (EACH, EACH if kind in ("present", "locked") else 0) for kind in CLASSES
    ]

    _same_answers(desk)
    times = await _times(desk)
    assert {kind: len(found) for kind, found in times.items()} == dict.fromkeys(CLASSES, EACH)
    scores = {f"{a}/{b}": auc(times[a], times[b]) for a, b in itertools.combinations(CLASSES, 2)}
    worst = max(scores.items(), key=lambda item: item[1])
    print(f"told apart best: {worst[0]}, AUC {worst[1]:.4f} with {EACH} requests each")  # pytest -rP shows it
    # With few requests even twins differ by chance: four standard deviations of that are let through.
    chance = 4 * ((2 * EACH + 1) / (12 * EACH * EACH)) ** 0.5
    assert worst[1] <= max(AUC, 0.5 + chance), scores


async def _take_in(desk: Stage, kind: str, number: int) -> None:
    mail = letter_a(address(kind, number))
    item = RawItem(ChannelName.EMAIL, "email", "test", RawContent(mail), mail_from=address(kind, number))
    await desk.service.intake.accept(item)


async def _all_sent(desk: Stage, count: int) -> None:
    async def look() -> bool:
        return bool(await desk.value("SELECT count(*) FROM notification WHERE state = 'sent'") >= count)

    await desk.sooner_or_later(look)


def _same_answers(desk: Stage) -> None:
    """One mail for each request, the same octets for all but for what is the request's own."""
    answers: Counter[bytes] = Counter()
    receivers: Counter[bytes] = Counter()
    for file in (desk.home / "outbox").iterdir():
        mail = file.read_bytes()
        (to,) = re.findall(rb"^To: .*?(o\d{7}@[\w.]+)", mail, re.MULTILINE | re.DOTALL)
        receivers[to] += 1
        for own in (
            to,
            rb"ZGL\d{9}",
            rb"(?m)^Message-ID: .*$",
            rb"(?m)^Date: .*$",
            rb"(?m)^(In-Reply-To|References): .*$",
        ):
            mail = re.sub(own, b"*", mail)
        answers[_decoded_words(mail)] += 1
    assert set(receivers.values()) == {1}
    assert len(receivers) == len(CLASSES) * EACH
    assert len(answers) == 1, [text.decode()[:500] for text in answers]


def _decoded_words(mail: bytes) -> bytes:
    """The number of the case stands in the subject too, in encoded words."""
    head, _, body = mail.partition(b"\r\n\r\n")
    from email import message_from_bytes, policy

    subject = str(message_from_bytes(head, policy=policy.default)["Subject"])
    head = re.sub(rb"(?m)^Subject: .*\r\n(?:[ \t].*\r\n)*", b"", head)
    return re.sub(r"ZGL\d{9}", "*", subject).encode() + b"\n" + head + b"\n" + body


async def _times(desk: Stage) -> dict[str, list[float]]:
    """From the commit of the intake to the moment at which the mail lay in the outbox: `sent_at` is one for a whole batch."""
    rows = await desk.rows(
        "SELECT n.id, substr(n.to_address, 2, 1)::int AS kind, extract(epoch FROM e.received_at)::float8 AS began "
        "FROM notification n JOIN case_message m ON m.case_id = n.case_id JOIN envelope e ON e.id = m.envelope_id"
    )
    outbox = desk.home / "outbox"
    times: dict[str, list[float]] = {kind: [] for kind in CLASSES}
    for row in rows:
        times[CLASSES[row["kind"]]].append((outbox / f"{row['id']}.eml").stat().st_mtime_ns / 1e9 - row["began"])
    return times


def auc(one: list[float], other: list[float]) -> float:
    """How well the two are told apart: 0.5 not at all, 1 always, whichever is the slower one. Ranks, ties shared."""
    both = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    ranks, start = 0.0, 0
    while start < len(both):
        end = start
        while end < len(both) and both[end][0] == both[start][0]:
            end += 1
        ranks += (start + end + 1) / 2 * sum(1 for _, which in both[start:end] if which == 0)
        start = end
    score = (ranks - len(one) * (len(one) + 1) / 2) / (len(one) * len(other))
    return max(score, 1 - score)


def test_the_measure_tells_apart_what_differs() -> None:
    chance = random.Random(1)
    same = [[chance.gauss(100, 10) for _ in range(2000)] for _ in range(2)]
    later = [value + 4 for value in same[1]]
    assert auc(*same) < 0.53
    assert auc(same[0], later) > 0.58
    assert auc([1.0] * 9, [1.0] * 9) == 0.5
    assert auc([1.0] * 9, [2.0] * 9) == auc([2.0] * 9, [1.0] * 9) == 1.0
