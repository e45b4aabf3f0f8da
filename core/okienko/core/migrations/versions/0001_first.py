"""The first schema, frozen: it does not follow the metadata, or later migrations would find their work done already."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

APPEND_ONLY = """
CREATE FUNCTION event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event table is append-only: % refused', TG_OP;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("procedure", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("mailbox", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("requester_name", sa.Text(), nullable=True),
        sa.Column("requester_address", sa.Text(), nullable=True),
        sa.Column("person", postgresql.JSONB(), nullable=True),
        sa.Column("decision", postgresql.JSONB(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("origin_message_id", sa.Text(), nullable=True),
        sa.Column("silenced", sa.Text(), nullable=True, comment="Why no automatic answer is sent, or NULL"),
        sa.Column("csd_backend", sa.Text(), nullable=True),
        sa.Column("csd_number", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("seq", name=op.f("uq_cases_seq")),
    )
    op.create_index("ix_cases_csd_number", "cases", ["csd_number"], unique=False)
    op.create_index("ix_cases_opened_at", "cases", ["opened_at"], unique=False)
    op.create_index(
        "ix_cases_unanswered",
        "cases",
        ["requester_address"],
        unique=False,
        postgresql_where=sa.text("state = 'decided'"),
    )
    op.create_table(
        "envelope",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("mailbox", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("mail_from", sa.Text(), nullable=True),
        sa.Column("rcpt_to", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_envelope")),
    )
    op.create_index("ix_envelope_case_id", "envelope", ["case_id"], unique=False)
    op.create_index(
        "ix_envelope_unfinished", "envelope", ["seq"], unique=False, postgresql_where=sa.text("outcome = 'received'")
    )
    op.create_index(
        "uq_envelope_source_external_id",
        "envelope",
        ["source", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        comment="Append-only: a trigger refuses UPDATE and DELETE",
    )
    op.create_index("ix_event_case_id_id", "event", ["case_id", "id"], unique=False)
    op.create_table(
        "seen",
        sa.Column("mailbox", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("envelope_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", "key", name=op.f("pk_seen")),
        comment="What makes a message the same message: hashes of its Message-ID and of its content",
    )
    op.create_table(
        "thread_ref",
        sa.Column("mailbox", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", "ref", "case_id", name=op.f("pk_thread_ref")),
        comment="Every Message-ID that a case's mails carry or name, so that siblings of a mail never seen find it",
    )
    op.create_table(
        "case_message",
        sa.Column("envelope_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False, comment="opened or merged"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_message_case_id")),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelope.id"], name=op.f("fk_case_message_envelope_id")),
        sa.PrimaryKeyConstraint("envelope_id", name=op.f("pk_case_message")),
    )
    op.create_index(op.f("ix_case_message_case_id"), "case_message", ["case_id"], unique=False)
    op.create_table(
        "closing",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("solution", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_closing_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closing")),
        comment="Requests to close a case; the CSD is told by a job",
    )
    op.create_index(op.f("ix_closing_case_id"), "closing", ["case_id"], unique=False)
    op.create_table(
        "envelope_chunk",
        sa.Column("envelope_id", sa.Uuid(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["envelope_id"], ["envelope.id"], name=op.f("fk_envelope_chunk_envelope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("envelope_id", "n", name=op.f("pk_envelope_chunk")),
    )
    op.create_table(
        "notification",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("to_name", sa.Text(), nullable=False),
        sa.Column("to_address", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("in_reply_to", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False, comment="queued, sent or failed"),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_notification_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
        sa.UniqueConstraint("message_id", name=op.f("uq_notification_message_id")),
    )
    op.create_index(op.f("ix_notification_case_id"), "notification", ["case_id"], unique=False)
    op.create_index("ix_notification_to_address_created_at", "notification", ["to_address", "created_at"], unique=False)
    op.create_table(
        "parked",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job", sa.Text(), nullable=False, comment="The kind of job that could not be done"),
        sa.Column(
            "ref", sa.Uuid(), nullable=False, comment="What the job is about: an envelope, a case or a notification"
        ),
        sa.Column("envelope_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False, comment="Of a closed set; see okienko.core.parking"),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="parked, replayed or dropped"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelope.id"], name=op.f("fk_parked_envelope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parked")),
    )
    op.create_index(op.f("ix_parked_envelope_id"), "parked", ["envelope_id"], unique=False)
    op.create_index("ix_parked_open", "parked", ["at"], unique=False, postgresql_where=sa.text("state = 'parked'"))
    op.create_table(
        "reset_action",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("procedure", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("must_check", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_reset_action_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reset_action")),
        sa.UniqueConstraint("case_id", name=op.f("uq_reset_action_case_id")),
    )
    op.create_index(
        "ix_reset_action_waiting",
        "reset_action",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    # Mail is mostly base64 and text: compressing it costs more than it saves.
    op.execute("ALTER TABLE envelope ALTER raw SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE envelope_chunk ALTER data SET STORAGE EXTERNAL")
    op.execute(APPEND_ONLY)
    op.execute(
        "CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event "
        "FOR EACH STATEMENT EXECUTE FUNCTION event_is_append_only()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER event_append_only ON event")
    op.execute("DROP FUNCTION event_is_append_only()")
    for table in (
        "reset_action",
        "parked",
        "notification",
        "envelope_chunk",
        "closing",
        "case_message",
        "thread_ref",
        "seen",
        "event",
        "envelope",
        "cases",
    ):
        op.drop_table(table)
