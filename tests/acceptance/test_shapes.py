"""200 mails of every shape, and mutants of them, through the real service."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from acceptance.service import installation
from corpus import build_corpus
from mutate import mutant

MUTANTS = int(os.environ.get("OKIENKO_TEST_INTAKE_MUTANTS", "20000"))


def test_200_mails_have_200_outcomes_and_then_200_duplicates(tmp_path: Path) -> None:
    for name, mail in build_corpus(200):
        (tmp_path / name).write_bytes(mail)
    with installation() as place:
        first = place.json_lines("intake", str(tmp_path), "--json")
        assert len(first) == 200
        assert {line["outcome"] for line in first} <= {"cased", "merged", "suppressed"}
        before = len(place.json_lines("cases", "--json", "--limit", "1000"))
        second = place.json_lines("intake", str(tmp_path), "--json")
        assert {line["outcome"] for line in second} == {"duplicate"}
        assert len(place.json_lines("cases", "--json", "--limit", "1000")) == before


@pytest.mark.timeout(1000)
def test_every_mutant_has_an_outcome(tmp_path: Path) -> None:
    chance = random.Random(11)
    corpus = [mail for _, mail in build_corpus(50)]
    for n in range(MUTANTS):
        (tmp_path / f"{n:06}.eml").write_bytes(mutant(chance, corpus))
    with installation(OKIENKO_LOG_LEVEL="ERROR") as place:
        done = place.run("intake", str(tmp_path), "--json", seconds=800)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["source"] for line in lines] == [f"{n:06}.eml" for n in range(MUTANTS)]
        outcomes = Counter(line["outcome"] for line in lines)
        assert set(outcomes) <= {"cased", "merged", "duplicate", "suppressed", "parked"}
        parked = place.json_lines("parked", "list", "--json")
        print(f"{MUTANTS} mutants: {dict(outcomes)}; parked: {Counter(item['reason'] for item in parked)}")
        # What is no mail is unreadable, and an answer to what is no address is refused. A defect would be a mistake of ours, and so
        # would be anything that the register does not take.
        fine = {("process", "unreadable"), ("notify", "refused")}
        assert {(item["job"], item["reason"]) for item in parked} <= fine
        assert sum(item["job"] == "process" for item in parked) == outcomes["parked"]
        with place.serving():
            assert place.metric("okienko_mail_balance") == 0
            assert place.sql("SELECT count(*) FROM envelope WHERE outcome <> 'received'") == str(MUTANTS)
            # A reset action's expiry waits for its day; nothing else is left.
            assert place.sql("SELECT count(*) FROM pgqueuer WHERE entrypoint <> 'expire'") == "0"
        # Wounds that leave nothing to decide would test little.
        assert outcomes["cased"] > MUTANTS / 2
