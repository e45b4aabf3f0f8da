"""Procedure A through the service over Keycloak: it mails the link itself, so that mail 3 is not ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import respx

from acceptance.recovery.letters import letter_a
from acceptance.recovery.stage import ANNA, stage
from okienko.core.actions.activation import LinkSpentError
from rigs.keycloak import OLD, ROOT, Keycloak
from rigs.postgres import Postgres

ENVIRON = {
    "OKIENKO_IDENTITY": "keycloak", "OKIENKO_IDENTITY_KEYCLOAK_URL": ROOT, "OKIENKO_IDENTITY_KEYCLOAK_REALM": "urzad",
    "OKIENKO_IDENTITY_KEYCLOAK_CLIENT_ID": "okienko", "OKIENKO_IDENTITY_KEYCLOAK_CLIENT_SECRET": "sekret",
    "OKIENKO_IDENTITY_KEYCLOAK_BIRTH_YEAR_ATTRIBUTE": "rok",
}  # fmt: skip


async def test_keycloak_mails_the_link(postgres: Postgres, tmp_path: Path) -> None:
    peer = Keycloak()
    peer.users["id-jan"]["attributes"]["rok"] = ["1980"]
    peer.lock.update(disabled=True, numFailures=5)
    with respx.mock(assert_all_called=False) as router:
        router.route(host="sso.example").mock(side_effect=peer)
        async with stage(postgres, tmp_path, ENVIRON) as desk:
            case = await desk.arrives(
                letter_a(OLD, results="mx.okienko.invalid; dmarc=pass header.from=poczta.example")
            )
            action = await desk.action(case)
            assert action.frozen.steps == ("unlock", "activate")
            assert not peer.calls("PUT")
            await desk.approve(action, ANNA)
            await desk.closed(case)
            sql = "SELECT 1 FROM event WHERE case_id = $1 AND type = 'activation_sent' AND data->>'by' = 'keycloak'"
            await desk.sooner_or_later(lambda: desk.value(sql, case))
            # The link and its lifetime are Keycloak's, the mail goes out once, and after mail 2.
            ((path, body),) = peer.calls("PUT")
            assert path == "/users/id-jan/execute-actions-email"
            assert body == ["UPDATE_PASSWORD", "VERIFY_EMAIL"]
            (query,) = [q for method, p, q, _ in peer.seen if method == "PUT" and p.endswith(path)]
            assert query["lifespan"] == [str(24 * 3600)]
            assert not peer.lock["disabled"]
            kinds = [kind for kind in await desk.events(case) if kind in ("closed", "activation_sent")]
            assert kinds == ["closed", "activation_sent"]
            one, two = desk.mails(OLD)
            assert "zarejestrowane" in str(one["Subject"])
            assert "zamknięte" in str(two["Subject"])
            assert not await desk.rows("SELECT 1 FROM notification WHERE case_id = $1 AND kind = 'activation'", case)
            # A job that comes twice sends nothing twice.
            again = await asyncio.gather(
                *(desk.service.recovery.execution.activate([action.frozen.action_id]) for _ in range(2))
            )
            assert len(peer.calls("PUT")) == 1, again
            with pytest.raises(LinkSpentError):
                await desk.service.recovery.activation.look_up("x" * 43)
