"""okienko's own case numbers, when a person was given one, the shared pace, and what finds the cases that wait for a ticket."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("cases", sa.Column("number", sa.Text, comment="okienko's own lasting number, once it was used"))
    op.add_column(
        "cases",
        sa.Column("acknowledged_at", _TIME, comment="When the person was told `number`, before the CSD gave one"),
    )
    op.add_column("cases", sa.Column("asked_at", _TIME, comment="When the CSD was last asked to create its ticket"))
    op.create_index("ix_cases_number", "cases", ["number"])
    op.create_index("ix_cases_waiting", "cases", ["seq"], postgresql_where=sa.text("state = 'decided'"))
    op.create_index("ix_parked_ref", "parked", ["ref"])
    op.create_table(
        "pace",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("held_until", _TIME, nullable=False),
        comment="One row for each system whose requests are counted: when the next may be sent",
    )


def downgrade() -> None:
    # The older program does not know this message; the one with the CSD's number will come.
    op.execute(
        "UPDATE notification SET state = 'failed', problem = 'downgrade' WHERE kind = 'received' AND state = 'queued'"
    )
    op.drop_table("pace")
    op.drop_index("ix_parked_ref", "parked")
    op.drop_index("ix_cases_waiting", "cases")
    op.drop_index("ix_cases_number", "cases")
    op.drop_column("cases", "asked_at")
    op.drop_column("cases", "acknowledged_at")
    op.drop_column("cases", "number")
