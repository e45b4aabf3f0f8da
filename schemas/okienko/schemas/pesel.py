"""PESEL, the Polish personal number, as a guarded value.

Source: the act on the population register (ustawa o ewidencji ludności), art. 15: eleven digits YYMMDDZZZXQ; the
century is coded in the month (1800-1899 +80, 1900-1999 +0, 2000-2099 +20, 2100-2199 +40, 2200-2299 +60); Q is a check
digit with the weights 1 3 7 9 1 3 7 9 1 3.
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_WEIGHTS = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
_CENTURY_BY_MONTH_OFFSET = {80: 1800, 0: 1900, 20: 2000, 40: 2100, 60: 2200}


class Pesel:
    """A valid PESEL that never shows itself: `repr`, `str`, `format`, JSON and errors give a mask.

    `Pesel("02070803628")` raises ValueError (without the digits) when the text is not eleven ASCII digits, the
    check digit is wrong, or the coded date does not exist. `reveal()` is the one way to the digits.
    """

    __slots__ = ("_digits",)

    def __init__(self, digits: str) -> None:
        problem = _problem(digits)
        if problem:
            raise ValueError(problem)
        self._digits = digits

    def reveal(self) -> str:
        """The eleven digits, for a backend that must have them. Never log or print the result."""
        return self._digits

    @property
    def masked(self) -> str:
        """The mask that people and logs see: the last two digits only."""
        return "*********" + self._digits[-2:]

    @property
    def birth_date(self) -> dt.date:
        """The date of birth that the number codes."""
        return _birth_date(self._digits)

    def __repr__(self) -> str:
        return f"Pesel({self.masked})"

    def __str__(self) -> str:
        return self.masked

    def __format__(self, spec: str) -> str:
        return format(self.masked, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pesel) and hmac.compare_digest(self._digits, other._digits)

    def __hash__(self) -> int:
        return hash(("Pesel", self._digits))

    def __reduce__(self) -> Any:
        raise TypeError("a Pesel is not pickled: hand over the case id and read the value where it is needed")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Sealed first: pydantic's errors carry the input along, into errors() and json() too.
        return core_schema.chain_schema(
            [
                core_schema.no_info_plain_validator_function(_Sealed),
                core_schema.no_info_plain_validator_function(cls._validate),
            ],
            serialization=core_schema.plain_serializer_function_ser_schema(lambda v: v.masked),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "description": "PESEL; written out as a mask", "examples": ["*********28"]}

    @classmethod
    def _validate(cls, sealed: _Sealed) -> Pesel:
        value = sealed.value
        if isinstance(value, Pesel):
            return value
        if not isinstance(value, str):
            raise PydanticCustomError("pesel", "a PESEL is text of eleven digits")
        try:
            return cls(value)
        except ValueError as error:
            raise PydanticCustomError("pesel", "{problem}", {"problem": str(error)}) from None


_ELEVEN_DIGITS = re.compile(r"(?<![0-9])[0-9]{11}(?![0-9])")


def mask_pesels(text: str) -> str:
    """The text with every PESEL in it masked, for columns that are kept in the open. Other numbers of eleven digits stay."""
    return _ELEVEN_DIGITS.sub(lambda found: found[0] if _problem(found[0]) else Pesel(found[0]).masked, text)


class _Sealed:
    """A value that an error may carry, but not show."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "(withheld)"


def _problem(digits: str) -> str | None:
    if len(digits) != 11 or not (digits.isascii() and digits.isdigit()):
        return "not a PESEL: eleven digits are needed"
    if sum(w * int(d) for w, d in zip(_WEIGHTS, digits, strict=False)) % 10 != (10 - int(digits[10])) % 10:
        return "not a PESEL: the check digit does not agree"
    try:
        _birth_date(digits)
    except ValueError:
        return "not a PESEL: the date of birth it codes does not exist"
    return None


def _birth_date(digits: str) -> dt.date:
    coded_month = int(digits[2:4])
    offset = coded_month // 20 * 20
    return dt.date(_CENTURY_BY_MONTH_OFFSET[offset] + int(digits[:2]), coded_month - offset, int(digits[4:6]))
