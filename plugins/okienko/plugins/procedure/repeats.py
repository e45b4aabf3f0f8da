"""Regular expressions that some texts would keep busy for ever, found before any text is."""

from __future__ import annotations

import re

_ENDLESS = re.compile(r"[*+]|\{\d*,\}")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()]|[*+]|\{\d*,\}|[^\\\[()*+{]|\{", re.DOTALL)


def endless_in_endless(pattern: str) -> str | None:
    """The first group like `(a+)*` in a valid pattern: endlessly repeated, with an endless repeat within. None: there is none.

    Such a group can match one text in exponentially many ways, and the `re` module tries them all.
    """
    open_groups: list[tuple[int, bool]] = []
    endless_inside = False
    closed: tuple[int, bool] | None = None
    for match in _TOKEN.finditer(pattern):
        sign = match[0]
        if sign == "(":
            open_groups.append((match.start(), endless_inside))
            endless_inside, closed = False, None
        elif sign == ")" and open_groups:
            start, outside = open_groups.pop()
            closed = start, endless_inside
            endless_inside = outside or endless_inside
        elif _ENDLESS.fullmatch(sign):
            if closed is not None and closed[1]:
                return pattern[closed[0] : match.end()]
            endless_inside, closed = True, None
        else:
            closed = None
    return None
