"""The CSD, both ways: an outbox per case, what was agreed last, notes from there, conflicts, and how far the CSD was asked."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0009"
down_revision = "0008"

_TIME = sa.DateTime(timezone=True)
_TEXTS = ARRAY(sa.Text)


def upgrade() -> None:
    for column in (
        sa.Column(
            "csd_id", sa.Text, comment="The CSD's own key of the ticket, where it is another one than the number"
        ),
        sa.Column("priority", sa.Text, nullable=False, server_default="normal"),
        sa.Column("queue", sa.Text),
        sa.Column("assignee", sa.Text),
        sa.Column("edited_at", _TIME, comment="When a person last changed a field here"),
    ):
        op.add_column("cases", column)
    _outbox()
    _shadow()
    op.create_table(
        "csd_note",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("case_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, comment="note or file"),
        sa.Column("remote_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False, comment="What was written, or the file's name"),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("public", sa.Boolean, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_csd_note_case_id"),
        sa.PrimaryKeyConstraint("id", name="pk_csd_note"),
        sa.UniqueConstraint("case_id", "kind", "remote_id", name="uq_csd_note_case_id_kind_remote_id"),
        comment="What people wrote and added in the CSD",
    )
    op.create_table(
        "csd_conflict",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("case_id", sa.Uuid, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("base", sa.Text, comment="What was agreed last"),
        sa.Column("okienko", sa.Text),
        sa.Column("csd", sa.Text),
        sa.Column("winner", sa.Text, nullable=False, comment="okienko or csd"),
        sa.Column("rule", sa.Text, nullable=False, comment="csd, okienko, newest, open_action, removed or merged"),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False, comment="The same conflict found again is no second one"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_csd_conflict_case_id"),
        sa.PrimaryKeyConstraint("id", name="pk_csd_conflict"),
        sa.UniqueConstraint("case_id", "key", name="uq_csd_conflict_case_id_key"),
        comment="Fields that both sides changed, with both values and who won",
    )
    op.create_table(
        "csd_cursor",
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text, nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("backend", name="pk_csd_cursor"),
        comment="How far a CSD was asked what has changed",
    )


def _outbox() -> None:
    op.create_table(
        "csd_outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("case_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("ref", sa.Uuid, comment="The envelope to tell of, or the case to link"),
        sa.Column("text", sa.Text, comment="Of a note of okienko's own; tells nothing of the person"),
        sa.Column("state", sa.Text, nullable=False, comment="waiting, done, parked or dropped"),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("parked_id", sa.BigInteger),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_csd_outbox_case_id"),
        sa.PrimaryKeyConstraint("id", name="pk_csd_outbox"),
        comment="What the CSD has to be told of a case, in order",
    )
    op.create_index(
        "ix_csd_outbox_open",
        "csd_outbox",
        ["case_id", "id"],
        postgresql_where=sa.text("state IN ('waiting', 'parked')"),
    )
    op.create_index(
        "uq_csd_outbox_ref", "csd_outbox", ["case_id", "kind", "ref"], unique=True, postgresql_where=sa.text("ref IS NOT NULL")
    )  # fmt: skip
    # A request to close that no job has carried out yet, whatever becomes of its job.
    op.execute(
        "INSERT INTO csd_outbox (case_id, kind, state, at) "
        "SELECT case_id, 'close', 'waiting', min(at) FROM closing WHERE done_at IS NULL GROUP BY case_id"
    )


def _shadow() -> None:
    op.create_table(
        "csd_shadow",
        sa.Column("case_id", sa.Uuid, nullable=False),
        sa.Column("fields", JSONB, nullable=False, comment="As both sides had them last"),
        sa.Column(
            "sent", JSONB, nullable=False, server_default="{}", comment="Values on their way to the CSD since then"
        ),
        sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
        sa.Column("version", sa.Text),
        sa.Column("notes", _TEXTS, nullable=False, server_default="{}", comment="Ids of the notes that are known"),
        sa.Column(
            "files", _TEXTS, nullable=False, server_default="{}", comment="Files that are known, by hash, id and name"
        ),
        sa.Column("followed", sa.Text, comment="Number of the ticket that ours was merged into"),
        sa.Column("followed_id", sa.Text),
        sa.Column("lost", sa.Text, comment="removed or merged: there is no ticket to keep in step with"),
        sa.Column(
            "news", sa.BigInteger, nullable=False, server_default="0", comment="How often the CSD said: it changed"
        ),
        sa.Column("news_read", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("agreed_at", _TIME),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_csd_shadow_case_id"),
        sa.PrimaryKeyConstraint("case_id", name="pk_csd_shadow"),
        comment="What okienko and the CSD agreed on last, for each case with a ticket",
    )
    op.create_index("ix_csd_shadow_news", "csd_shadow", ["case_id"], postgresql_where=sa.text("news > news_read"))
    op.create_index(
        "ix_csd_shadow_followed", "csd_shadow", ["followed"], postgresql_where=sa.text("followed IS NOT NULL")
    )
    # As the older program wrote them: open, whatever the case waits for, until it closed them.
    op.execute(
        "INSERT INTO csd_shadow (case_id, fields) SELECT id, jsonb_build_object("
        "'status', CASE state WHEN 'closed' THEN 'closed' ELSE 'open' END, 'subject', subject, 'priority', priority"
        ") FROM cases WHERE csd_number IS NOT NULL"
    )


def downgrade() -> None:
    # The older program closes by its own table, and notes a further mail by a job that is gone: those notes are not made.
    for table in ("csd_cursor", "csd_conflict", "csd_note", "csd_shadow", "csd_outbox"):
        op.drop_table(table)
    for name in ("csd_id", "priority", "queue", "assignee", "edited_at"):
        op.drop_column("cases", name)
