"""The audit chain, the keys of cases, and which keyring belongs to the database."""

from hashlib import sha256
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)

APPEND_ONLY = """
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only: % of % refused', TG_OP, TG_TABLE_NAME;
END $$
"""
FORWARD_ONLY = """
CREATE FUNCTION audit_head_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.chain <> OLD.chain OR NEW.seq <= OLD.seq THEN
        RAISE EXCEPTION 'the head of the audit only goes forward';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("case_id", sa.Uuid),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False, comment="Of a closed set; see okienko.core.audit.entries"),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column(
            "personal", sa.LargeBinary, comment="Sealed under the case's key; the hash covers a commitment to it"
        ),
        sa.Column("prev", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_entry"),
        comment="Append-only and hash-chained: a trigger refuses UPDATE, DELETE and TRUNCATE",
    )
    op.create_index(
        "ix_audit_entry_case_id_seq", "audit_entry", ["case_id", "seq"], postgresql_where=sa.text("case_id IS NOT NULL")
    )
    op.create_index(
        "ix_audit_entry_own", "audit_entry", ["action", "seq"],
        postgresql_where=sa.text("action IN ('verified', 'anchored')"),
    )  # fmt: skip
    op.create_table(
        "audit_head",
        sa.Column("one", sa.Boolean, server_default=sa.true(), nullable=False),
        sa.Column("chain", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_audit_head"),
        sa.CheckConstraint("one", name="one_row"),
        comment="The end of the chain: one row, locked by who appends",
    )
    op.create_table(
        "case_key",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("case_id", sa.Uuid, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, comment="The data key under the master key; NULL once erased"),
        sa.Column("master", sa.Text, comment="Id of the master key"),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("erased_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_case_key"),
        sa.CheckConstraint("(wrapped IS NULL) = (erased_at IS NOT NULL)", name="erased"),
    )
    op.create_index("ix_case_key_case_id", "case_key", ["case_id"])
    live = sa.text("wrapped IS NOT NULL")
    op.create_index("uq_case_key_live", "case_key", ["case_id"], unique=True, postgresql_where=live)
    op.create_index("ix_case_key_master", "case_key", ["master"], postgresql_where=live)
    op.create_table(
        "keyring",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False, comment="vault or anchor"),
        sa.Column("made_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keyring"),
        comment="Which keys belong to this database, by their ids; the keys themselves are never here",
    )
    # Every commit rewrites this row in place: room in the page keeps that cheap.
    op.execute("ALTER TABLE audit_head SET (fillfactor = 10)")
    chain = uuid4()
    # Frozen here as in okienko.core.audit.chain.genesis.
    beginning = sha256(b"okienko audit chain v1\0" + chain.bytes).hexdigest()
    op.execute(f"INSERT INTO audit_head (chain, seq, hash) VALUES ('{chain}', 0, '\\x{beginning}')")  # noqa: S608  a UUID and hex
    op.execute(APPEND_ONLY)
    op.execute(FORWARD_ONLY)
    op.execute(
        "CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()"
    )
    op.execute(
        "CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()"
    )
    op.execute(
        "CREATE TRIGGER audit_head_forward BEFORE UPDATE ON audit_head "
        "FOR EACH ROW EXECUTE FUNCTION audit_head_goes_forward()"
    )


def downgrade() -> None:
    for table in ("audit_entry", "audit_head", "case_key", "keyring"):
        op.drop_table(table)
    op.execute("DROP FUNCTION audit_is_append_only()")
    op.execute("DROP FUNCTION audit_head_goes_forward()")
