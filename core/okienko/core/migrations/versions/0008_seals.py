"""Seals on proposals, approvals and activation links; a nonce in an action's digest; open actions are approved anew."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0008"
down_revision = "0007"

_SEALED = {
    "reset_action": "HMAC of the proposal under a key that is not here; see okienko.core.actions.seals",
    "reset_approval": "HMAC of the approval; without a right one it does not count",
    "activation": "HMAC that ties the link to its action",
}
_CUT = "the upgrade to sealed approvals came while it was carried out: look at the account"


def upgrade() -> None:
    comment = "Part of the digest, so that it confirms no guess once this is erased"
    op.add_column("reset_action", sa.Column("nonce", sa.LargeBinary, comment=comment))
    for table, comment in _SEALED.items():
        op.add_column(table, sa.Column("seal", sa.LargeBinary, comment=comment))
        op.add_column(
            table, sa.Column("sealed_by", sa.Text, comment="Id of the anchor key that the seal's key comes from")
        )
    for name, kind, default, comment in (
        ("names", ARRAY(sa.Text), "{}", "Every name of the person"),
        ("decision", sa.Text, "", "SHA-256 of the decision that was shown"),
    ):
        op.add_column("reset_approval", sa.Column(name, kind, nullable=False, server_default=default, comment=comment))
    # Nobody can tell an approval of before from one that was put into the table: what is open is approved anew.
    op.execute(
        "DELETE FROM reset_approval WHERE action_id IN (SELECT id FROM reset_action WHERE state IN ('waiting', 'cooling', 'ready'))"
    )
    op.execute(
        "UPDATE reset_action SET state = 'waiting', not_before = NULL, stop_sha256 = NULL WHERE state IN ('cooling', 'ready')"
    )
    op.execute(
        "UPDATE cases SET state = 'human_review' WHERE state = 'registered' "
        "AND id IN (SELECT case_id FROM reset_action WHERE state = 'executing')"
    )
    op.execute(
        f"UPDATE reset_action SET state = 'failed', reason = '{_CUT}', ended_at = now(), ended_by = 'okienko' "  # noqa: S608  a constant
        "WHERE state = 'executing'"
    )


def downgrade() -> None:
    # The older program knows no nonce and would take each action for one that was tampered with: what is open ends.
    op.execute(
        "UPDATE cases SET state = 'human_review' WHERE state = 'registered' AND id IN (SELECT case_id FROM reset_action "
        "WHERE nonce IS NOT NULL AND state IN ('waiting', 'cooling', 'ready', 'executing'))"
    )
    op.execute(
        "UPDATE reset_action SET state = 'expired', reason = 'downgrade', ended_at = now(), ended_by = 'okienko' "
        "WHERE state IN ('waiting', 'cooling', 'ready', 'executing') AND nonce IS NOT NULL"
    )
    # Without the nonce the digest is that of nothing, as after an erasure.
    op.execute("UPDATE reset_action SET digest = '' WHERE nonce IS NOT NULL")
    for name in ("names", "decision"):
        op.drop_column("reset_approval", name)
    for table in _SEALED:
        op.drop_column(table, "seal")
        op.drop_column(table, "sealed_by")
    op.drop_column("reset_action", "nonce")
