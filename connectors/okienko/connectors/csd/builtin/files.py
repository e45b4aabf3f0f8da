"""A file's way into the register: piece by piece, measured as it passes."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from okienko.connectors.csd.builtin import statements
from okienko.plugins.csd import NewFile
from okienko.plugins.csdtexts import file_name, storable
from okienko.plugins.errors import PermanentError

PIECE = 256 * 1024


async def store(connection: AsyncConnection, number: str, file: NewFile, now: datetime) -> bool:
    """Put the file in, in the caller's transaction. False: it is there already, or there is no such ticket.

    Raises PermanentError when the content is not what was announced; then nothing may be committed.
    """
    added = await connection.scalar(
        statements.ADD_FILE,
        {"number": number, "filename": file_name(file.filename), "media_type": storable(file.media_type),
         "size": file.size, "sha256": file.sha256, "now": now},
    )  # fmt: skip
    if added is None:
        return False
    size, digest, place = 0, hashlib.sha256(), 0
    with await asyncio.to_thread(file.open) as stream:
        while piece := await asyncio.to_thread(stream.read, PIECE):
            size += len(piece)
            if size > file.size:
                break
            digest.update(piece)
            await connection.execute(statements.ADD_CHUNK, {"file": added, "place": place, "data": piece})
            place += 1
    if size != file.size or digest.hexdigest() != file.sha256:
        raise PermanentError(
            f"a file for ticket {number} is not what was announced ({file.size} octets): it was changed or cut on its way"
        )
    await connection.execute(statements.TOUCH, {"number": number, "now": now})
    return True
