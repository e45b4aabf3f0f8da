"""Validly signed applications whose data a person types beside their picture."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0004"
down_revision = "0003"

_TIME = sa.DateTime(timezone=True)
_TEXTS = ARRAY(sa.Text)


def upgrade() -> None:
    op.create_table(
        "signed_application",
        sa.Column("case_id", sa.Uuid, nullable=False),
        sa.Column("envelope_id", sa.Uuid, nullable=False),
        sa.Column("attachment", sa.Integer, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False, comment="Of the document that the data are typed from"),
        sa.Column("missing", _TEXTS, nullable=False, comment="Data that could not be read out of signed octets"),
        sa.Column("state", sa.Text, nullable=False, comment="unread, typed (to be assessed) or assessed"),
        sa.Column("revision", sa.Integer, nullable=False, comment="How often it was typed"),
        sa.Column(
            "typists",
            _TEXTS,
            nullable=False,
            comment="Lasting names and addresses of those who typed: they never approve",
        ),
        sa.Column("typed", sa.LargeBinary, comment="What was typed, sealed under the case's key"),
        sa.Column("noted_at", _TIME, nullable=False),
        sa.Column("typed_at", _TIME),
        sa.Column("typed_by", sa.Text),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_signed_application_case_id"),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelope.id"], name="fk_signed_application_envelope_id"),
        sa.PrimaryKeyConstraint("case_id", name="pk_signed_application"),
        comment="Validly signed applications whose data could not be read in full",
    )
    op.create_index("ix_signed_application_state", "signed_application", ["state", "noted_at", "case_id"])
    op.create_index("ix_signed_application_envelope_id", "signed_application", ["envelope_id"])


def downgrade() -> None:
    # The older program does not know this end; a refusal is what it says of an action that nobody will carry out.
    op.execute("UPDATE reset_action SET state = 'refused' WHERE state = 'superseded'")
    op.drop_table("signed_application")
