"""A natural person as a message or an account names them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from okienko.schemas.base import Model
from okienko.schemas.pesel import Pesel

BirthYear = Annotated[int, Field(ge=1880, le=2100)]


class Person(Model):
    """Who a request speaks of. Every part may be missing; what was claimed is kept as it was written."""

    given_name: str | None = Field(default=None, description="Given name(s), as written (perhaps in the genitive)")
    family_name: str | None = Field(default=None, description="Family name, as written (perhaps in the genitive)")
    birth_year: BirthYear | None = None
    pesel: Pesel | None = Field(default=None, repr=False)
