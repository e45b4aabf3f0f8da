"""Reading a mapping file that is wrong: every mistake in its form is found, and what remains can still be tried against the CSD.

A line that is wrong is emptied and what is missing is put in, so that one mistake hides no other and lines keep their numbers.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from okienko.plugins.csdmapping import CsdMapping, FieldMapping, MappingFile, StateMapping
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.toml_lines import line_of

_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_BARE = re.compile(r"""\s*([A-Za-z0-9_-]+)\s*=\s*([^\s"'\[{#][^"'#]*?)\s*""")
"""A text without its quotation marks."""
_MOST = 100
"""Rounds of mending: more mistakes than lines of any sensible file."""
_KEYS = {
    (): [*CsdMapping.model_fields],
    ("states",): [*StateMapping.model_fields],
    ("fields",): [info.alias or name for name, info in FieldMapping.model_fields.items()],
}


def mapping_path(environ: Mapping[str, str], backend: str) -> Path | None:
    """The mapping file of that CSD's connector, by its setting MAPPING; None when there is none."""
    given = {name.upper(): value for name, value in environ.items()}.get(f"OKIENKO_CSD_{backend.upper()}_MAPPING")
    return Path(given) if given else None


@dataclass
class Mended:
    """The file as far as it can be used."""

    path: Path
    lines: list[str]
    origin: list[int] = field(default_factory=list)
    """The number in the file of each line; 0: it was put in."""
    findings: list[Finding] = field(default_factory=list)
    whole: MappingFile | None = None
    """None: too much is missing to try the rest."""

    def report(self, line: int, message: str, cure: str) -> None:
        """Note a mistake at a line of `lines`."""
        self.findings.append(Finding(self.place(line), Severity.ERROR, message, cure))

    def place(self, line: int) -> str:
        """`mapping.toml:12`, by the numbers of the file."""
        known = [number for number in self.origin[:line] if number]
        return f"{self.path.name}:{known[-1] if known else 1}"

    def empty(self, line: int) -> bool:
        """Empty a line, and with the head of a table all of it. False: it is empty."""
        if not self.lines[line - 1].strip():
            return False
        table = self.lines[line - 1].lstrip().startswith("[")
        self.lines[line - 1] = ""
        while table and line < len(self.lines) and not self.lines[line].lstrip().startswith("["):
            self.lines[line] = ""
            line += 1
        return True

    def put_in(self, after: int, text: str) -> None:
        """Put a line in after another."""
        self.lines.insert(after, text)
        self.origin.insert(after, 0)


def mend(path: Path) -> Mended:
    """Read the file. Raises MisconfiguredError when it cannot be read at all."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MisconfiguredError(f"cannot read the mapping {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MisconfiguredError(f"the mapping {path} is not UTF-8 text") from None
    lines = text.splitlines()
    mended = Mended(path, lines, list(range(1, len(lines) + 1)))
    for _ in range(_MOST):
        current = "\n".join(mended.lines)
        try:
            data = tomllib.loads(current)
        except tomllib.TOMLDecodeError as error:
            if not _syntax(mended, str(error)):
                return mended
            continue
        try:
            mended.whole = MappingFile(CsdMapping.model_validate(data), path, current)
        except ValidationError as error:
            # One at a time, those that can be mended first: each changes the lines.
            wrong = sorted((dict(one) for one in error.errors(include_url=False)), key=_beyond_mending)
            if not _form(mended, current, data, wrong[0]):
                for one in wrong[1:]:
                    _form(mended, current, data, one)
                return mended
            continue
        return mended
    return mended


def _syntax(mended: Mended, problem: str) -> bool:
    found = _AT.search(problem)
    line = int(found[1]) if found and found[1] else len(mended.lines)
    # An unfinished text or list is told of where the file ends or the next line begins.
    while line > 1 and not mended.lines[line - 1].strip():
        line -= 1
    if mended.place(line) not in {finding.subject for finding in mended.findings}:
        cure = 'write it as key = "value", texts in quotation marks'
        mended.report(line, f"this is no TOML: {_AT.sub('', problem)}", cure)
        if bare := _BARE.fullmatch(mended.lines[line - 1]):
            mended.lines[line - 1] = f"{bare[1]} = {_quoted(bare[2])}"
            return True
    return mended.empty(line)


def _form(mended: Mended, text: str, data: dict[str, Any], error: dict[str, Any]) -> bool:
    """Report one mistake and take it out. False: the rest cannot be used without what is missing."""
    where: Sequence[str | int] = error["loc"]
    name, kind = str(where[-1]) if where else "", error["type"]
    line = line_of(text, where)
    if kind == "extra_forbidden":
        known = _KEYS.get(tuple(part for part in where[:-1] if isinstance(part, str)), [])
        near = difflib.get_close_matches(name, known, n=1)
        cure = f"did you mean {near[0]!r}?" if near else f"take it out; known are: {', '.join(known)}"
        mended.report(line, f"there is no key {name!r}", cure)
        return mended.empty(line)
    if tuple(where) == ("states",) and kind == "value_error":
        return _missing_states(mended, text, data)
    if kind == "missing":
        table = ".".join(str(part) for part in where[:-1] if isinstance(part, str))
        cure = f"add {name} = … " + (f"under [{table}]" if table else "at the beginning of the file")
        if where[0] == "states":
            cure = "add the table [states.write] with open and closed"
        mended.report(line, f"{'.'.join(str(part) for part in where if isinstance(part, str))!r} is missing", cure)
        if where[0] == "fields":
            return mended.empty(line)
        if tuple(where) == ("correlation",):
            mended.put_in(0, 'correlation = "missing"')
            return True
        return False
    expected = (error.get("ctx") or {}).get("expected")
    cure = f"write {expected}" if expected else "see the key in docs/csd-mapping.md"
    mended.report(line, f"{'.'.join(map(str, where))}: {error['msg']}", cure)
    return mended.empty(line)


def _beyond_mending(error: dict[str, Any]) -> bool:
    return bool(error["type"] == "missing" and error["loc"][0] == "states")


def _missing_states(mended: Mended, text: str, data: dict[str, Any]) -> bool:
    write = data["states"].get("write", {})
    line = line_of(text, ("states", "write"))
    for name in ("open", "closed"):
        if name not in write:
            mended.report(line, f"no state is written for {name}", f"add {name} = … under [states.write]")
            # No system has it; what is said of a line that is not in the file is left out.
            mended.put_in(line, f'{name} = "missing {name}"')
    return True


def _quoted(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
