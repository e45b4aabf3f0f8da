"""Links: in the store a marker, on the way out a token that only the receiver sees."""

from __future__ import annotations

from uuid import uuid4

import pytest

from okienko.core.actions.links import LinkKind, Links
from okienko.plugins.errors import PermanentError

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
BASE = "https://pomoc.example"


@pytest.mark.parametrize("kind", LinkKind)
def test_the_marker_becomes_the_link_of_this_message_only(kind: LinkKind) -> None:
    links, one, other = Links(KEY, f"{BASE}/"), uuid4(), uuid4()
    text = f"Proszę:\n{links.marker(kind, one)}\nDziękujemy."
    token = links.token(kind, one)
    assert token not in text
    assert links.fill(text, one) == f"Proszę:\n{BASE}/{kind.value}/{token}\nDziękujemy."
    assert links.fill(text, other) == text


def test_no_two_links_are_alike() -> None:
    ids = [uuid4() for _ in range(3)]
    tokens = {Links(key, BASE).token(kind, one) for key in (KEY, OTHER) for kind in LinkKind for one in ids}
    assert len(tokens) == 12
    assert all(len(token) == 43 for token in tokens)
    assert len({Links(KEY, BASE).fingerprint(token) for token in tokens}) == 12


def test_what_waits_when_keys_are_rotated_goes_out_with_its_own_token() -> None:
    """Its fingerprint was stored before: another token would be a dead link."""
    before, message = Links(KEY, BASE), uuid4()
    waiting = before.marker(LinkKind.ACTIVATE, message)
    after = Links(OTHER, BASE, [OTHER, KEY])
    assert after.fill(waiting, message).endswith(before.token(LinkKind.ACTIVATE, message))
    fresh = after.marker(LinkKind.ACTIVATE, message)
    assert after.fill(fresh, message).endswith(after.token(LinkKind.ACTIVATE, message))


def test_no_mail_goes_out_with_a_dead_link() -> None:
    message = uuid4()
    waiting = Links(KEY, BASE).marker(LinkKind.ACTIVATE, message)
    with pytest.raises(PermanentError, match="pruned"):
        Links(OTHER, BASE).fill(f"Proszę: {waiting}", message)


def test_the_marker_tells_nothing_about_the_key() -> None:
    marker = Links(KEY, BASE).marker(LinkKind.STOP, uuid4())
    assert KEY.hex()[:16] not in marker


def test_a_short_key_is_refused() -> None:
    for keys in ((KEY[:31], ()), (KEY, [OTHER[:8]])):
        with pytest.raises(ValueError, match="at least 32"):
            Links(keys[0], BASE, keys[1])
