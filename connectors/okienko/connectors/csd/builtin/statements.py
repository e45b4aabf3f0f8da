"""The register's statements. A batch is one statement, whatever its size.

Every change of a ticket draws a number from `change_seq`; `changes` tells tickets in the order of these numbers. A number that is
drawn is seen by others only after its commit, perhaps after a later one, so that a reader could pass it by. Therefore who draws
holds the gate (an advisory lock) shared until the commit, and who reads holds it alone: the reader sees every number up to the
last. Readers hold it for one indexed look, so that nobody waits noticeably.
"""

from __future__ import annotations

from sqlalchemy import DateTime, bindparam, text

_NOW = bindparam("now", type_=DateTime(timezone=True))
_SHARED = "gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(hashtext('okienko csd_builtin changes')))"
_TOUCH = "changed = nextval('csd_builtin.change_seq'), updated_at = GREATEST(updated_at, :now)"
ERASED = "[usunięto]"

# Numbers are drawn in the order of the batch; rows go in by id, so that two machines with the same cases cannot
# deadlock. The GREATEST keeps lpad from cutting a number that has outgrown its digits.
CREATE = text(f"""
    WITH {_SHARED}, wanted AS MATERIALIZED (
        SELECT w.*, nextval('csd_builtin.number_seq')::text AS serial
        FROM (
            SELECT * FROM unnest(
                CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:procedures AS text[]), CAST(:subjects AS text[]),
                CAST(:descriptions AS text[]), CAST(:requesters AS text[]), CAST(:names AS text[]),
                CAST(:channels AS text[]), CAST(:priorities AS text[]), CAST(:case_numbers AS text[]),
                CAST(:opened AS timestamptz[])
            ) WITH ORDINALITY AS u (id, kind, procedure, subject, description, requester, requester_name, channel, priority,
                                    case_number, opened_at, place)
            WHERE NOT EXISTS (SELECT FROM csd_builtin.ticket t WHERE t.correlation_id = u.id)
            ORDER BY place
        ) AS w
    )
    INSERT INTO csd_builtin.ticket
        (correlation_id, number, kind, procedure, subject, description, requester, requester_name, channel, priority, case_number,
         opened_at, created_at, updated_at, changed)
    SELECT id, CAST(:prefix AS text) || lpad(serial, GREATEST(CAST(:digits AS int), length(serial)), '0'),
           kind, procedure, subject, description, requester, requester_name, channel, priority, case_number,
           opened_at, :now, :now, nextval('csd_builtin.change_seq')
    FROM gate CROSS JOIN wanted ORDER BY id
    ON CONFLICT (correlation_id) DO NOTHING
    RETURNING correlation_id, number
""").bindparams(_NOW)  # noqa: S608  the parts are constants above
FIND = text("SELECT correlation_id, number FROM csd_builtin.ticket WHERE correlation_id = ANY(CAST(:ids AS uuid[]))")

# Each of these answers with one row when the ticket exists and with none when it does not.
CLOSE = text(f"""
    WITH {_SHARED}, changed AS (
        UPDATE csd_builtin.ticket SET status = 'closed', solution = :solution, closed_at = :now, {_TOUCH}
        FROM gate WHERE number = :number AND status <> 'closed'
    )
    SELECT true FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)  # noqa: S608  the parts are constants above
REOPEN = text(f"""
    WITH {_SHARED}, changed AS (
        UPDATE csd_builtin.ticket SET status = 'open', closed_at = NULL, {_TOUCH}
        FROM gate WHERE number = :number AND status = 'closed' RETURNING number, changed
    ), noted AS (
        INSERT INTO csd_builtin.note (number, key, text, at, place)
        SELECT number, 'reopened ' || CAST(gen_random_uuid() AS text), :reason, :now, changed FROM changed
    )
    SELECT true FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)  # noqa: S608  the parts are constants above
COMMENT = text(f"""
    WITH {_SHARED}, added AS (
        INSERT INTO csd_builtin.note (number, key, text, at, public, place)
        SELECT number, :key, :text, :now, :public, nextval('csd_builtin.change_seq')
        FROM gate CROSS JOIN csd_builtin.ticket WHERE number = :number
        ON CONFLICT DO NOTHING RETURNING number
    ), changed AS (
        UPDATE csd_builtin.ticket t SET {_TOUCH} FROM gate, added WHERE t.number = added.number
    )
    SELECT true FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)  # noqa: S608  the parts are constants above
ERASE = text(f"""
    WITH {_SHARED}, emptied AS (
        UPDATE csd_builtin.ticket
        SET subject = :erased, description = :erased, requester = NULL, requester_name = NULL,
            solution = CASE WHEN solution IS NOT NULL THEN :erased END, {_TOUCH}
        FROM gate WHERE number = :number
    ), silenced AS (
        UPDATE csd_builtin.note SET text = :erased WHERE number = :number
    ), shredded AS (
        DELETE FROM csd_builtin.file WHERE number = :number
    )
    SELECT true FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)  # noqa: S608  the parts are constants above
LINK = text("""
    WITH both_there AS (
        SELECT least(a.number, b.number) AS number, greatest(a.number, b.number) AS other
        FROM csd_builtin.ticket a, csd_builtin.ticket b WHERE a.number = :number AND b.number = :other
    ), linked AS (
        INSERT INTO csd_builtin.link (number, other) SELECT number, other FROM both_there ON CONFLICT DO NOTHING
    )
    SELECT true FROM both_there
""")

CHANGE = text(f"""
    WITH {_SHARED}, written AS (
        UPDATE csd_builtin.ticket
        SET subject = COALESCE(CAST(:subject AS text), subject), priority = COALESCE(CAST(:priority AS text), priority),
            queue = COALESCE(CAST(:queue AS text), queue), assignee = COALESCE(CAST(:assignee AS text), assignee),
            status = COALESCE(CAST(:status AS text), status),
            closed_at = CASE WHEN CAST(:status AS text) IS NULL THEN closed_at
                             WHEN CAST(:status AS text) = 'closed' THEN COALESCE(closed_at, :now) END,
            {_TOUCH}
        FROM gate
        WHERE number = :number AND (CAST(:version AS bigint) IS NULL OR changed = CAST(:version AS bigint))
        RETURNING number
    )
    SELECT EXISTS (SELECT FROM written) FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)  # noqa: S608  the parts are constants above
"""False: there is another version. No row: there is no ticket."""

GET = text("""
    SELECT t.number, t.correlation_id, t.status, t.subject, t.solution, t.created_at, t.opened_at, t.closed_at, t.updated_at,
           t.priority, t.queue, t.assignee, t.channel, t.case_number, t.changed,
           t.kind AS matter, t.procedure, t.requester, p.kind, p.id, p.key, p.text, p.at, p.public, p.size, p.sha256
    FROM csd_builtin.ticket t LEFT JOIN (
        SELECT 'note' AS kind, place, CAST(place AS text) AS id, key, text, at, public, 0 AS size, '' AS sha256
        FROM csd_builtin.note WHERE number = :number
        UNION ALL
        SELECT 'file', id, CAST(id AS text), '', filename, at, false, size, sha256
        FROM csd_builtin.file WHERE number = :number
    ) AS p ON true
    WHERE t.number = :number ORDER BY p.at, p.place, p.key
""")

GATE = text("SELECT pg_advisory_xact_lock(hashtext('okienko csd_builtin changes'))")
LATEST = text("SELECT COALESCE(max(changed), 0) FROM csd_builtin.ticket WHERE changed > 0")
SINCE = text("""
    SELECT number, changed FROM csd_builtin.ticket WHERE changed > :cursor AND changed > 0 ORDER BY changed LIMIT :limit
""")

# A file goes in piece by piece in one transaction. A second writer of the same waits at the unique key and finds it done.
ADD_FILE = text("""
    INSERT INTO csd_builtin.file (number, filename, media_type, size, sha256, at)
    SELECT number, :filename, :media_type, :size, :sha256, :now FROM csd_builtin.ticket WHERE number = :number
    ON CONFLICT DO NOTHING RETURNING id
""").bindparams(_NOW)
ADD_CHUNK = text("INSERT INTO csd_builtin.file_chunk (file, place, data) VALUES (:file, :place, :data)")
READ_CHUNK = text("""
    SELECT c.data FROM csd_builtin.file f JOIN csd_builtin.file_chunk c ON c.file = f.id
    WHERE f.number = :number AND f.id = :file AND c.place = :place
""")
TOUCH = text(f"""
    WITH {_SHARED}
    UPDATE csd_builtin.ticket SET {_TOUCH} FROM gate WHERE number = :number
""").bindparams(_NOW)  # noqa: S608  the parts are constants above
EXISTS = text("SELECT true FROM csd_builtin.ticket WHERE number = :number")
COUNT = text("SELECT count(*) FROM csd_builtin.ticket")
