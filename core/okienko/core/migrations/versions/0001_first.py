"""The first schema.

Later migrations say what changes; this one makes the tables as a frozen copy of SQL would, from the metadata of its time.
"""

from alembic import op

from okienko.core.schema import metadata

revision = "0001"
down_revision = None

TABLES = (
    "envelope", "envelope_chunk", "seen", "cases", "case_message", "thread_ref", "event", "notification", "reset_action",
    "parked", "closing",
)  # fmt: skip
"""The tables of its time; later ones come with their migrations."""

APPEND_ONLY = """
CREATE FUNCTION event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event table is append-only: % refused', TG_OP;
END $$
"""


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES])
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
    metadata.drop_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES])
