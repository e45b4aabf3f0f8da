"""200 mails of every shape, and mutants of them, through the real service."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from acceptance.service import installation
from corpus import build_corpus, mutant

MUTANTS = int(os.environ.get("OKIENKO_TEST_INTAKE_MUTANTS", "500"))


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


@pytest.mark.timeout(900)
def test_every_mutant_has_an_outcome(tmp_path: Path) -> None:
    chance = random.Random(11)
    corpus = [mail for _, mail in build_corpus(50)]
    for n in range(MUTANTS):
        (tmp_path / f"{n:06}.eml").write_bytes(mutant(chance, chance.choice(corpus)))
    with installation() as place:
        lines = place.json_lines("intake", str(tmp_path), "--json")
        assert len(lines) == MUTANTS
        assert {line["outcome"] for line in lines} <= {"cased", "merged", "duplicate", "suppressed", "parked"}
        reasons = {item["reason"] for item in place.json_lines("parked", "list", "--json")}
        assert "defect" not in reasons
