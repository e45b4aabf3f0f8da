"""Limits: the same request again, further requests for an account, and allowances that all processes share."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TIME = sa.DateTime(timezone=True)
_ROLE = "opened or merged"
_ROLES = "opened, merged or repeated"


def upgrade() -> None:
    op.add_column(
        "cases",
        sa.Column(
            "request_key",
            sa.LargeBinary,
            comment="What a recovery request asks, as a keyed hash; see okienko.core.repeats",
        ),
    )
    op.add_column(
        "cases",
        sa.Column(
            "repeats", sa.Integer, nullable=False, server_default="0", comment="How often the same request came again"
        ),
    )
    op.add_column(
        "cases",
        sa.Column(
            "held_by",
            sa.Uuid,
            comment="The open reset action for the same account, because of which there is none of its own",
        ),
    )
    op.create_index(
        "ix_cases_request_key",
        "cases",
        ["request_key"],
        postgresql_where=sa.text("request_key IS NOT NULL AND state <> 'closed'"),
    )
    op.create_index("ix_cases_held_by", "cases", ["held_by"], postgresql_where=sa.text("held_by IS NOT NULL"))
    op.alter_column("case_message", "role", existing_comment=_ROLE, comment=_ROLES)
    op.create_table(
        "allowance",
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("spent_until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_allowance"),
        comment="How much of a limit somebody has used up; a row whose time is over says nothing and goes",
    )
    op.create_index("ix_allowance_spent_until", "allowance", ["spent_until"])


def downgrade() -> None:
    op.drop_table("allowance")
    # The older program counts what was merged by this word.
    op.execute("UPDATE case_message SET role = 'merged' WHERE role = 'repeated'")
    op.alter_column("case_message", "role", existing_comment=_ROLES, comment=_ROLE)
    op.drop_index("ix_cases_held_by", "cases")
    op.drop_index("ix_cases_request_key", "cases")
    for name in ("held_by", "repeats", "request_key"):
        op.drop_column("cases", name)
