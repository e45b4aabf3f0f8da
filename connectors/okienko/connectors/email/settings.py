"""Settings of the e-mail connector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginSettings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LISTEN = r"^(unix:/.+|.*:\d{1,5})$"


class EmailSettings(PluginSettings):
    """`OKIENKO_EMAIL_…`. Nothing listens and no mailbox is read unless it is named here."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_EMAIL_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    address: str = Field(
        default="helpdesk@okienko.invalid", pattern=r"^[^@\s<>]+@[^@\s<>]+$", description="Our address in From:"
    )
    display_name: str = Field(default="Help Desk", description="Our name in From:")

    lmtp_listen: str | None = Field(
        default=None, pattern=_LISTEN, description="host:port or unix:/path of the LMTP listener; unset: none"
    )
    smtp_listen: str | None = Field(
        default=None, pattern=_LISTEN, description="host:port or unix:/path of the SMTP listener; unset: none"
    )
    smtp_tls_cert: Path | None = Field(
        default=None, description="Certificate chain (PEM) for STARTTLS on the SMTP listener"
    )
    smtp_tls_key: Path | None = Field(default=None, description="Private key (PEM) for STARTTLS")
    max_size: int = Field(default=50 << 20, gt=0, description="Largest message at the listeners, in octets (552 above)")
    max_recipients: int = Field(default=100, ge=1, le=1000, description="Most recipients of one message (452 above)")
    max_connections: int = Field(default=200, ge=1, description="Most connections at one time (421 above)")
    max_bad_commands: int = Field(default=20, ge=1, description="Wrong commands before a client is hung up on (421)")
    idle_timeout: float = Field(
        default=300.0, gt=0, description="Seconds that a client may be silent (RFC 5321, 4.5.3.2: five minutes)"
    )
    message_timeout: float = Field(
        default=1800.0, gt=0, description="Seconds that one message may take to come, however busily it drips (421)"
    )
    accept_timeout: float = Field(
        default=60.0, gt=0, description="Seconds that storing one message may take before the client hears 451"
    )
    spool_threshold: int = Field(default=1 << 20, gt=0, description="Larger messages wait in a file, not in memory")
    mailboxes: dict[str, str] = Field(
        default_factory=dict, description="Recipient address -> mailbox; when set, other recipients are refused (550)"
    )

    imap_host: str | None = Field(default=None, description="IMAP server; unset: no mailbox is read")
    imap_port: int = Field(default=993, ge=1, le=65535, description="Its port")
    imap_tls: Literal["tls", "starttls", "none"] = Field(default="tls", description="none only on this machine")
    imap_ca: Path | None = Field(default=None, description="CA certificates (PEM) of the server; unset: the system's")
    imap_user: str | None = Field(default=None, description="Login")
    imap_password: SecretStr | None = Field(default=None, description="Password; or use imap_token_file")
    imap_token_file: Path | None = Field(
        default=None, description="File with an OAuth 2 access token, read at each login (XOAUTH2)"
    )
    imap_folder: str = Field(default="INBOX", description="Folder that is read")
    imap_processed: str = Field(default="Processed", description="Folder that a mail moves to once it is stored")
    imap_failed: str = Field(default="Failed", description="Folder for mails that can never be stored")
    imap_idle_seconds: float = Field(
        default=240.0, gt=0, le=1700, description="Longest IDLE before it is renewed (RFC 2177: below 29 minutes)"
    )
    imap_poll_seconds: float = Field(default=30.0, gt=0, description="Time between looks when the server has no IDLE")
    imap_timeout: float = Field(default=30.0, gt=0, description="Time limit of one IMAP command, in seconds")
    imap_mailbox: str = Field(default="default", description="Mailbox name of what is read there")

    outbox_dir: Path | None = Field(
        default=None, description="Folder for outgoing .eml files; unset: outbox in the home folder"
    )
    relay_host: str | None = Field(
        default=None, description="SMTP relay; unset: mails are written to the outbox folder"
    )
    relay_port: int = Field(default=587, ge=1, le=65535, description="Its port")
    relay_tls: Literal["tls", "starttls", "none"] = Field(default="starttls", description="none only on this machine")
    relay_ca: Path | None = Field(default=None, description="CA certificates (PEM) of the relay; unset: the system's")
    relay_user: str | None = Field(default=None, description="Login at the relay")
    relay_password: SecretStr | None = Field(default=None, description="Password at the relay")
    relay_sender: str = Field(
        default="",
        pattern=r"^([^@\s<>]+@[^@\s<>]+)?$",
        description="Reverse-path of our mails; empty: the null one (RFC 3834), which a submission service may refuse",
    )
    send_timeout: float = Field(default=20.0, gt=0, description="Time limit of one SMTP step, in seconds")

    @field_validator("mailboxes")
    @classmethod
    def _lower(cls, value: dict[str, str]) -> dict[str, str]:
        # Local parts are case-sensitive by the letter of RFC 5321 (2.4), and by no help desk's practice.
        return {address.lower(): mailbox for address, mailbox in value.items()}

    @model_validator(mode="after")
    def _consistent(self) -> EmailSettings:
        for what, host, tls in (("imap", self.imap_host, self.imap_tls), ("relay", self.relay_host, self.relay_tls)):
            if host is not None and tls == "none" and host not in LOOPBACK:
                raise ValueError(f"{what}_tls=none is allowed only for a server on this machine, not for {host}")
        if self.imap_host and not (self.imap_user and (self.imap_password or self.imap_token_file)):
            raise ValueError("imap_host needs imap_user and either imap_password or imap_token_file")
        if bool(self.smtp_tls_cert) != bool(self.smtp_tls_key):
            raise ValueError("smtp_tls_cert and smtp_tls_key are set together")
        if bool(self.relay_user) != bool(self.relay_password):
            raise ValueError("relay_user and relay_password are set together")
        return self
