"""The tables. Alembic's migrations make them; a test holds the two against each other."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_TIME = sa.DateTime(timezone=True)

envelope = sa.Table(
    "envelope",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("connector", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("mailbox", sa.Text, nullable=False),
    sa.Column("external_id", sa.Text),
    sa.Column("mail_from", sa.Text),
    sa.Column("rcpt_to", ARRAY(sa.Text), nullable=False),
    sa.Column("received_at", _TIME, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    # NULL when the bytes are in envelope_chunk.
    sa.Column("raw", sa.LargeBinary),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("case_id", sa.Uuid),
    sa.Column("finished_at", _TIME),
    sa.Index("uq_envelope_source_external_id", "source", "external_id", unique=True, postgresql_where=sa.text("external_id IS NOT NULL")),
    sa.Index("ix_envelope_unfinished", "seq", postgresql_where=sa.text("outcome = 'received'")),
    sa.Index("ix_envelope_case_id", "case_id"),
)  # fmt: skip

envelope_chunk = sa.Table(
    "envelope_chunk",
    metadata,
    sa.Column("envelope_id", sa.Uuid, sa.ForeignKey("envelope.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

seen = sa.Table(
    "seen",
    metadata,
    sa.Column("mailbox", sa.Text, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("envelope_id", sa.Uuid, nullable=False),
    comment="What makes a message the same message: hashes of its Message-ID and of its content",
)

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("procedure", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("connector", sa.Text, nullable=False),
    sa.Column("mailbox", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("requester_name", sa.Text),
    sa.Column("requester_address", sa.Text),
    sa.Column("person", JSONB),
    sa.Column("decision", JSONB, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("origin_message_id", sa.Text),
    sa.Column("silenced", sa.Text, comment="Why no automatic answer is sent, or NULL"),
    sa.Column("csd_backend", sa.Text),
    sa.Column("csd_number", sa.Text),
    sa.Column("opened_at", _TIME, nullable=False),
    sa.Column("closed_at", _TIME),
    sa.Column("request_key", sa.LargeBinary, comment="What a recovery request asks, as a keyed hash; see okienko.core.repeats"),
    sa.Column("repeats", sa.Integer, nullable=False, server_default="0", comment="How often the same request came again"),
    sa.Column("held_by", sa.Uuid, comment="The open reset action for the same account, because of which there is none of its own"),
    sa.Column("csd_id", sa.Text, comment="The CSD's own key of the ticket, where it is another one than the number"),
    sa.Column("priority", sa.Text, nullable=False, server_default="normal"),
    sa.Column("queue", sa.Text),
    sa.Column("assignee", sa.Text),
    sa.Column("edited_at", _TIME, comment="When a person last changed a field here"),
    sa.Column("number", sa.Text, comment="okienko's own lasting number, once it was used"),
    sa.Column("acknowledged_at", _TIME, comment="When the person was told `number`, before the CSD gave one"),
    sa.Column("asked_at", _TIME, comment="When the CSD was last asked to create its ticket"),
    sa.Index("ix_cases_csd_number", "csd_number"),
    sa.Index("ix_cases_number", "number"),
    sa.Index("ix_cases_waiting", "seq", postgresql_where=sa.text("state = 'decided'")),
    sa.Index("ix_cases_opened_at", "opened_at"),
    sa.Index("ix_cases_unanswered", "requester_address", postgresql_where=sa.text("state = 'decided'")),
    sa.Index("ix_cases_request_key", "request_key", postgresql_where=sa.text("request_key IS NOT NULL AND state <> 'closed'")),
    sa.Index("ix_cases_held_by", "held_by", postgresql_where=sa.text("held_by IS NOT NULL")),
)  # fmt: skip

case_message = sa.Table(
    "case_message",
    metadata,
    sa.Column("envelope_id", sa.Uuid, sa.ForeignKey("envelope.id"), primary_key=True),
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), nullable=False, index=True),
    sa.Column("role", sa.Text, nullable=False, comment="opened, merged or repeated"),
    sa.Column("at", _TIME, nullable=False),
)

thread_ref = sa.Table(
    "thread_ref",
    metadata,
    sa.Column("mailbox", sa.Text, primary_key=True),
    sa.Column("ref", sa.Text, primary_key=True),
    sa.Column("case_id", sa.Uuid, primary_key=True),
    comment="Every Message-ID that a case's mails carry or name, so that siblings of a mail never seen find it",
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("case_id", sa.Uuid, nullable=False),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("data", JSONB, nullable=False),
    sa.Index("ix_event_case_id_id", "case_id", "id"),
    comment="Append-only: a trigger refuses UPDATE and DELETE",
)

notification = sa.Table(
    "notification",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), index=True, comment="NULL: to the people who run okienko"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("connector", sa.Text, nullable=False),
    sa.Column("to_name", sa.Text, nullable=False),
    sa.Column("to_address", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False, unique=True),
    sa.Column("in_reply_to", sa.Text),
    sa.Column("state", sa.Text, nullable=False, comment="queued, sent or failed"),
    sa.Column("problem", sa.Text),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("sent_at", _TIME),
    sa.Index("ix_notification_to_address_created_at", "to_address", "created_at"),
)

reset_action = sa.Table(
    "reset_action",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), nullable=False, index=True),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("procedure", sa.Text, nullable=False),
    sa.Column("risk", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("account_ref", sa.Text),
    sa.Column("old_login", sa.Text, nullable=False),
    sa.Column("new_login", sa.Text),
    sa.Column("steps", ARRAY(sa.Text), nullable=False),
    sa.Column("must_check", ARRAY(sa.Text), nullable=False),
    sa.Column("decision_sha256", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, comment="Of all that is approved; checked against the columns before execution"),
    sa.Column("handlers", ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("expires_at", _TIME, nullable=False),
    sa.Column("not_before", _TIME),
    sa.Column("reason", sa.Text),
    sa.Column("stop_sha256", sa.LargeBinary, comment="Of the stop link's token, while the holder may stop the action"),
    sa.Column("report", sa.Text, comment="Of a PESEL conflict, as it was frozen; the number is masked"),
    sa.Column("ended_at", _TIME),
    sa.Column("ended_by", sa.Text),
    sa.Column("nonce", sa.LargeBinary, comment="Part of the digest, so that it confirms no guess once this is erased"),
    sa.Column("seal", sa.LargeBinary, comment="HMAC of the proposal under a key that is not here; see okienko.core.actions.seals"),
    sa.Column("sealed_by", sa.Text, comment="Id of the anchor key that the seal's key comes from"),
    sa.Index("ix_reset_action_waiting", "created_at", postgresql_where=sa.text("state = 'waiting'")),
    sa.Index("ix_reset_action_due", "expires_at", postgresql_where=sa.text("state IN ('waiting', 'cooling', 'ready')")),
    sa.Index(
        "uq_reset_action_open", "case_id", unique=True,
        postgresql_where=sa.text("state IN ('waiting', 'cooling', 'ready', 'executing')"),
    ),
    # NULL accounts, of actions by hand without a look-up, are all different.
    sa.Index(
        "uq_reset_action_account", "backend", "account_ref", unique=True,
        postgresql_where=sa.text("state IN ('waiting', 'cooling', 'ready', 'executing')"),
    ),
)  # fmt: skip

reset_approval = sa.Table(
    "reset_approval",
    metadata,
    sa.Column("action_id", sa.Uuid, sa.ForeignKey("reset_action.id"), primary_key=True),
    sa.Column("who", sa.Text, primary_key=True),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("checked", ARRAY(sa.Text), nullable=False),
    sa.Column("seal", sa.LargeBinary, comment="HMAC of the approval; without a right one it does not count"),
    sa.Column("sealed_by", sa.Text, comment="Id of the anchor key that the seal's key comes from"),
    sa.Column("names", ARRAY(sa.Text), nullable=False, server_default="{}", comment="Every name of the person"),
    sa.Column("decision", sa.Text, nullable=False, server_default="", comment="SHA-256 of the decision that was shown"),
)

signed_application = sa.Table(
    "signed_application",
    metadata,
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), primary_key=True),
    sa.Column("envelope_id", sa.Uuid, sa.ForeignKey("envelope.id"), nullable=False),
    sa.Column("attachment", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False, comment="Of the document that the data are typed from"),
    sa.Column("missing", ARRAY(sa.Text), nullable=False, comment="Data that could not be read out of signed octets"),
    sa.Column("state", sa.Text, nullable=False, comment="unread, typed (to be assessed) or assessed"),
    sa.Column("revision", sa.Integer, nullable=False, comment="How often it was typed"),
    sa.Column(
        "typists",
        ARRAY(sa.Text),
        nullable=False,
        comment="Lasting names and addresses of those who typed: they never approve",
    ),
    sa.Column("typed", sa.LargeBinary, comment="What was typed, sealed under the case's key"),
    sa.Column("noted_at", _TIME, nullable=False),
    sa.Column("typed_at", _TIME),
    sa.Column("typed_by", sa.Text),
    sa.Index("ix_signed_application_state", "state", "noted_at", "case_id"),
    sa.Index("ix_signed_application_envelope_id", "envelope_id"),
    comment="Validly signed applications whose data could not be read in full",
)

activation = sa.Table(
    "activation",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("action_id", sa.Uuid, sa.ForeignKey("reset_action.id"), nullable=False, unique=True),
    sa.Column("token_sha256", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("expires_at", _TIME, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("used_at", _TIME),
    sa.Column("seal", sa.LargeBinary, comment="HMAC that ties the link to its action"),
    sa.Column("sealed_by", sa.Text, comment="Id of the anchor key that the seal's key comes from"),
    comment="Links by which a person sets a new password; the token itself is nowhere",
)

web_session = sa.Table(
    "web_session",
    metadata,
    sa.Column("token_sha256", sa.LargeBinary, primary_key=True),
    sa.Column("who", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("emails", ARRAY(sa.Text), nullable=False),
    sa.Column("roles", ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("seen_at", _TIME, nullable=False),
    sa.Column("authenticated_at", _TIME, comment="When the person last proved who they are; NULL: nobody said"),
    sa.Column(
        "checked_at", _TIME, nullable=False, server_default=sa.func.now(), comment="When the roles were last heard of"
    ),
    sa.Column("id_token", sa.LargeBinary, comment="Sealed under the session's token, for the sign-out at the provider"),
)

local_admin = sa.Table(
    "local_admin",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("password", sa.Text, nullable=False, comment="Argon2id, in PHC format"),
    sa.Column("roles", ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False, comment="Wrong passwords since the last right one"),
    sa.Column("locked_until", _TIME),
    comment="Administrators of an installation without an identity provider",
)

invitation = sa.Table(
    "invitation",
    metadata,
    sa.Column("token_sha256", sa.LargeBinary, primary_key=True),
    sa.Column("roles", ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("expires_at", _TIME, nullable=False),
    sa.Column("used_at", _TIME),
    comment="One-time links by which a local administrator sets themself up",
)

parked = sa.Table(
    "parked",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("job", sa.Text, nullable=False, comment="The kind of job that could not be done"),
    sa.Column("ref", sa.Uuid, nullable=False, comment="What the job is about: an envelope, a case or a notification"),
    sa.Column("envelope_id", sa.Uuid, sa.ForeignKey("envelope.id"), index=True),
    sa.Column("reason", sa.Text, nullable=False, comment="Of a closed set; see okienko.core.parking"),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("state", sa.Text, nullable=False, comment="parked, replayed or dropped"),
    sa.Column("ended_at", _TIME),
    sa.Column("ended_by", sa.Text),
    sa.Index("ix_parked_open", "at", postgresql_where=sa.text("state = 'parked'")),
    sa.Index("ix_parked_ref", "ref"),
)

closing = sa.Table(
    "closing",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), nullable=False, index=True),
    sa.Column("solution", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("done_at", _TIME),
    comment="Requests to close a case; the CSD is told by a job",
)

csd_outbox = sa.Table(
    "csd_outbox",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ref", sa.Uuid, comment="The envelope to tell of, or the case to link"),
    sa.Column("text", sa.Text, comment="Of a note of okienko's own; tells nothing of the person"),
    sa.Column("state", sa.Text, nullable=False, comment="waiting, done, parked or dropped"),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("ended_at", _TIME),
    sa.Column("parked_id", sa.BigInteger),
    sa.Index("ix_csd_outbox_open", "case_id", "id", postgresql_where=sa.text("state IN ('waiting', 'parked')")),
    sa.Index("uq_csd_outbox_ref", "case_id", "kind", "ref", unique=True, postgresql_where=sa.text("ref IS NOT NULL")),
    comment="What the CSD has to be told of a case, in order",
)

csd_shadow = sa.Table(
    "csd_shadow",
    metadata,
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), primary_key=True),
    sa.Column("fields", JSONB, nullable=False, comment="As both sides had them last"),
    sa.Column("sent", JSONB, nullable=False, server_default="{}", comment="Values on their way to the CSD since then"),
    sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
    sa.Column("version", sa.Text),
    sa.Column("notes", ARRAY(sa.Text), nullable=False, server_default="{}", comment="Ids of the notes that are known"),
    sa.Column("files", ARRAY(sa.Text), nullable=False, server_default="{}", comment="Files that are known, by hash, id and name"),
    sa.Column("followed", sa.Text, comment="Number of the ticket that ours was merged into"),
    sa.Column("followed_id", sa.Text),
    sa.Column("lost", sa.Text, comment="removed or merged: there is no ticket to keep in step with"),
    sa.Column("news", sa.BigInteger, nullable=False, server_default="0", comment="How often the CSD said: it changed"),
    sa.Column("news_read", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("agreed_at", _TIME),
    sa.Index("ix_csd_shadow_news", "case_id", postgresql_where=sa.text("news > news_read")),
    sa.Index("ix_csd_shadow_followed", "followed", postgresql_where=sa.text("followed IS NOT NULL")),
    comment="What okienko and the CSD agreed on last, for each case with a ticket",
)  # fmt: skip

csd_note = sa.Table(
    "csd_note",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False, comment="note or file"),
    sa.Column("remote_id", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False, comment="What was written, or the file's name"),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("public", sa.Boolean, nullable=False),
    sa.Column("at", _TIME, nullable=False),
    sa.UniqueConstraint("case_id", "kind", "remote_id"),
    comment="What people wrote and added in the CSD",
)

csd_conflict = sa.Table(
    "csd_conflict",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("case_id", sa.Uuid, sa.ForeignKey("cases.id"), nullable=False),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("base", sa.Text, comment="What was agreed last"),
    sa.Column("okienko", sa.Text),
    sa.Column("csd", sa.Text),
    sa.Column("winner", sa.Text, nullable=False, comment="okienko or csd"),
    sa.Column("rule", sa.Text, nullable=False, comment="csd, okienko, newest, open_action, removed or merged"),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False, comment="The same conflict found again is no second one"),
    sa.UniqueConstraint("case_id", "key"),
    comment="Fields that both sides changed, with both values and who won",
)

csd_cursor = sa.Table(
    "csd_cursor",
    metadata,
    sa.Column("backend", sa.Text, primary_key=True),
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("asked_at", _TIME, nullable=False),
    comment="How far a CSD was asked what has changed",
)

audit_entry = sa.Table(
    "audit_entry",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", _TIME, nullable=False),
    # No foreign key: its lock would be taken after the chain's head, and the audit outlives what it tells of.
    sa.Column("case_id", sa.Uuid),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False, comment="Of a closed set; see okienko.core.audit.entries"),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("data", JSONB, nullable=False),
    sa.Column("personal", sa.LargeBinary, comment="Sealed under the case's key; the hash covers a commitment to it"),
    sa.Column("prev", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Index("ix_audit_entry_case_id_seq", "case_id", "seq", postgresql_where=sa.text("case_id IS NOT NULL")),
    sa.Index("ix_audit_entry_own", "action", "seq", postgresql_where=sa.text("action IN ('verified', 'anchored')")),
    comment="Append-only and hash-chained: a trigger refuses UPDATE, DELETE and TRUNCATE",
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("one", sa.Boolean, sa.CheckConstraint("one", name="one_row"), primary_key=True, server_default=sa.true()),
    sa.Column("chain", sa.Uuid, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    comment="The end of the chain: one row, locked by who appends",
)

case_key = sa.Table(
    "case_key",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("case_id", sa.Uuid, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, comment="The data key under the master key; NULL once erased"),
    sa.Column("master", sa.Text, comment="Id of the master key"),
    sa.Column("made_at", _TIME, nullable=False),
    sa.Column("erased_at", _TIME),
    sa.CheckConstraint("(wrapped IS NULL) = (erased_at IS NOT NULL)", name="erased"),
    sa.Index("ix_case_key_case_id", "case_id"),
    sa.Index("uq_case_key_live", "case_id", unique=True, postgresql_where=sa.text("wrapped IS NOT NULL")),
    sa.Index("ix_case_key_master", "master", postgresql_where=sa.text("wrapped IS NOT NULL")),
)

keyring = sa.Table(
    "keyring",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False, comment="vault or anchor"),
    sa.Column("made_at", _TIME, nullable=False),
    comment="Which keys belong to this database, by their ids; the keys themselves are never here",
)

allowance = sa.Table(
    "allowance",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("spent_until", _TIME, nullable=False, index=True),
    comment="How much of a limit somebody has used up; a row whose time is over says nothing and goes",
)

pace = sa.Table(
    "pace",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("next_at", _TIME, nullable=False),
    sa.Column("held_until", _TIME, nullable=False),
    comment="One row for each system whose requests are counted: when the next may be sent",
)
