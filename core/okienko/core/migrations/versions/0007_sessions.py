"""Mails about no case; when a person proved who they are, and when their roles were last heard of."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.alter_column("notification", "case_id", nullable=True, comment="NULL: to the people who run okienko")
    op.add_column(
        "web_session",
        sa.Column("authenticated_at", _TIME, comment="When the person last proved who they are; NULL: nobody said"),
    )
    # The default is for processes of the older program that still run.
    op.add_column(
        "web_session",
        sa.Column(
            "checked_at",
            _TIME,
            nullable=False,
            server_default=sa.func.now(),
            comment="When the roles were last heard of",
        ),
    )
    op.execute("UPDATE web_session SET checked_at = created_at")
    op.add_column(
        "web_session",
        sa.Column(
            "id_token", sa.LargeBinary, comment="Sealed under the session's token, for the sign-out at the provider"
        ),
    )


def downgrade() -> None:
    for name in ("id_token", "checked_at", "authenticated_at"):
        op.drop_column("web_session", name)
    # The older program knows no mail without a case.
    op.execute("DELETE FROM parked WHERE job = 'notify' AND ref IN (SELECT id FROM notification WHERE case_id IS NULL)")
    op.execute("DELETE FROM notification WHERE case_id IS NULL")
    op.alter_column("notification", "case_id", nullable=False, comment=None)
