"""What was found about a PESEL conflict, frozen with the action that follows from it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "reset_action",
        sa.Column("report", sa.Text, comment="Of a PESEL conflict, as it was frozen; the number is masked"),
    )


def downgrade() -> None:
    # The older program knows neither the step nor the report: whoever has it open refuses it there, or did it by hand.
    op.execute(
        "UPDATE reset_action SET state = 'expired' WHERE report IS NOT NULL AND state IN ('waiting', 'cooling', 'ready', 'executing')"
    )
    op.execute("UPDATE reset_action SET steps = ARRAY['by_hand'] WHERE 'release_pesel' = ANY(steps)")
    op.drop_column("reset_action", "report")
