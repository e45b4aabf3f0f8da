"""The HTTP client of connectors: TLS, limits, tokens and retries, against real sockets."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import respx
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from okienko.plugins.addresses import safe_url
from okienko.plugins.context import utc_now
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import Credentials, HttpApi, Limits, harmless, is_text
from rigs.certificates import certificates


class Peer(ThreadingHTTPServer):
    """Answers by path; `seen` holds the paths and Authorization fields."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.go = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *args: object) -> None:
        """A client that does not trust us is no error of ours."""


class Handler(BaseHTTPRequestHandler):
    server: Peer

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization", "")))
        if self.path == "/slow":
            self.server.go.wait(20)
        if self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            while not self.server.go.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()
            return
        body = b'{"access_token": "t%d", "expires_in": 10}' % len(self.server.seen)
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  a name that http.server calls

    def log_message(self, *args: object) -> None:
        """Silent."""


@contextmanager
def peer(context: ssl.SSLContext | None = None) -> Iterator[Peer]:
    server = Peer()
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


async def test_tls_is_verified(tmp_path: Path) -> None:
    certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with peer(context) as server:
        url = f"https://localhost:{server.server_address[1]}"
        stranger = HttpApi(url, Credentials())
        with pytest.raises(MisconfiguredError, match="not trusted; name its CA in the setting CA_FILE"):
            await stranger.request("GET", "/x")
        await stranger.close()
        friend = HttpApi(url, Credentials(), ca_file=tmp_path / "ca.pem")
        assert (await friend.request("GET", "/none")).status == 404
        await friend.close()


def test_a_bad_ca_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in (tmp_path / "ca.pem", tmp_path / "nothing.pem"):
        with pytest.raises(MisconfiguredError, match="CA_FILE"):
            HttpApi("https://id.example", Credentials(), ca_file=file)


@pytest.mark.parametrize("path", ["/slow", "/drip"])
@pytest.mark.timeout(60)
async def test_the_whole_answer_has_to_come_in_time(path: str) -> None:
    with peer() as server:
        limits = Limits(total=0.3, attempts=1)
        api = HttpApi(f"http://127.0.0.1:{server.server_address[1]}", Credentials(), limits=limits)
        with pytest.raises(TransientError, match=r"no answer within 0\.3 s"):
            await api.request("GET", path)
        await api.close()


async def test_the_token_is_sent_to_the_api_and_the_secret_to_the_token_endpoint_only() -> None:
    with peer() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        known = Credentials(
            token_url=f"{url}/token", client_id="okienko", client_secret=SecretStr("sekret"), scope="users"
        )
        now = 0.0
        api = HttpApi(url, known, clock=lambda: now)
        for moment in (0.0, 4.9, 5.1):
            now = moment
            await api.request("GET", "/x")
        await api.close()
        paths = [path for path, _ in server.seen]
        assert paths == ["/token", "/x", "/x", "/token", "/x"], "a token of ten seconds is renewed after five"
        assert [auth[:6] for _, auth in server.seen] == ["Basic ", "Bearer", "Bearer", "Basic ", "Bearer"]


async def test_a_body_over_the_limit() -> None:
    with peer() as server:
        api = HttpApi(f"http://127.0.0.1:{server.server_address[1]}", Credentials(), limits=Limits(max_body=10))
        with pytest.raises(PermanentError, match="larger than 10 octets"):
            await api.request("GET", "/x")
        await api.close()


@pytest.mark.parametrize(
    "url",
    ["http://id.example", "ftp://127.0.0.1", "https://", "https://u:p@id.example", "https://id.example?x=1",
     "https://id.example/#x", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "id.example", ""],
)  # fmt: skip
def test_unsafe_addresses(url: str) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        safe_url(url)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://id.example/scim", "http://localhost:8080", "http://[::1]:1", "http://127.0.0.2"]
)
def test_safe_addresses(url: str) -> None:
    assert safe_url(url) == url


@settings(deadline=None)
@given(st.text(max_size=300), st.from_regex(r"\d{11}", fullmatch=True), st.text(max_size=300))
def test_no_pesel_in_what_is_quoted(before: str, pesel: str, after: str) -> None:
    told = harmless(f"{before}{pesel}{after}")
    assert pesel not in told
    assert "\n" not in told


def test_what_is_quoted() -> None:
    assert harmless("no jan@poczta.example,\x1b[0m\r\n85811500129!") == "no <address> [0m <number>!"
    assert "withheld" in harmless("the password HASLO1 is weak", "haslo1")
    assert harmless("x" * 1000) == "x" * 200
    assert is_text("ż")
    assert not is_text("\ud83d")


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (lambda now: str(int(now.timestamp()) + 90), 80, 90),
        (lambda now: (now + timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%SZ"), 80, 90),
        (lambda now: str(int(now.timestamp()) + 90_000), 3600, 3600),
        (lambda now: str(int(now.timestamp()) - 90), None, None),
        (lambda now: "30", None, None),
        (lambda now: "9" * 30, None, None),
        (lambda now: "soon", None, None),
    ],
)
async def test_the_reset_of_a_quota_in_place_of_retry_after(
    text: Callable[[datetime], str], least: float | None, most: float | None
) -> None:
    """ServiceNow writes Unix seconds, Jira ISO 8601; what is past or no time says nothing."""
    with respx.mock(base_url="https://api.example") as router:
        router.get("/x").mock(return_value=httpx.Response(429, headers={"X-RateLimit-Reset": text(utc_now())}))
        api = HttpApi("https://api.example", Credentials())
        with pytest.raises(TransientError) as caught:
            await api.request("GET", "/x")
        await api.close()
    wait = caught.value.retry_after
    assert wait is None if least is None or most is None else wait is not None and least <= wait <= most


@pytest.mark.parametrize("token", ["zażółć", "two\nlines", "nul\x00"])
def test_a_token_that_no_header_can_carry_is_told_at_once(token: str) -> None:
    with pytest.raises(MisconfiguredError, match="copy it anew") as caught:
        HttpApi("https://id.example", Credentials(token=SecretStr(token)))
    assert token not in str(caught.value)
