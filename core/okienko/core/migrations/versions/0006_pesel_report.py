"""What was found about a PESEL conflict, frozen with the action that follows from it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "reset_action",
        sa.Column("report", sa.Text, comment="Of a PESEL conflict, as it was frozen; the number is masked"),
    )


def downgrade() -> None:
    # The older program knows neither the step nor the report: what is under way ends, and a person looks at its case.
    op.execute(
        "UPDATE cases SET state = 'human_review' WHERE state = 'registered' AND id IN (SELECT case_id FROM reset_action "
        "WHERE report IS NOT NULL AND state IN ('waiting', 'cooling', 'ready', 'executing'))"
    )
    op.execute(
        "UPDATE reset_action SET state = 'expired', ended_at = now(), ended_by = 'okienko' "
        "WHERE report IS NOT NULL AND state IN ('waiting', 'cooling', 'ready', 'executing')"
    )
    # Without the report the digest is that of nothing, as after an erasure.
    op.execute("UPDATE reset_action SET steps = ARRAY['by_hand'], digest = '' WHERE report IS NOT NULL")
    op.drop_column("reset_action", "report")
