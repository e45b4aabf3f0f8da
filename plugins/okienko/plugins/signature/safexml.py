"""XML from strangers: no DTD, no entities, no network, a limit of depth (OWASP XXE; lxml's FAQ on hostile input)."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from okienko.plugins.signature.problems import Code, Refused

_DECLARATION = re.compile(
    rb"\A<\?xml version=(['\"])1\.0\1(?: encoding=(['\"])([A-Za-z0-9._-]+)\2)?(?: standalone=(['\"])(?:yes|no)\4)? ?\?>"
)
_ENCODINGS = frozenset(
    name.encode()
    for n in ("utf-8", "utf-16", "iso-8859-1", "iso-8859-2", "windows-1250", "us-ascii")
    for name in (n, n.upper())
)
"""Encodings as the usual writers spell them. UTF-7 and its kind would let bytes mean what no viewer shows."""


def parse_xml(document: bytes, *, max_depth: int) -> Any:
    """The root element. Raises Refused: unreadable, with a document type, or nested too deeply."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=True,
        remove_blank_text=False, remove_comments=False, remove_pis=False, strip_cdata=False,
    )  # fmt: skip
    start = document.removeprefix(b"\xef\xbb\xbf")
    if start.startswith(b"<?xml"):
        found = _DECLARATION.match(start)
        if found is None or (found[3] is not None and found[3] not in _ENCODINGS):
            raise Refused(Code.UNREADABLE, "its XML declaration is unusual")
    try:
        root = etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError, AssertionError):
        raise Refused(Code.UNREADABLE, "it is not well-formed XML") from None
    tree = root.getroottree()
    if tree.docinfo.doctype or tree.docinfo.internalDTD is not None:
        raise Refused(Code.UNREADABLE, "it holds a document type definition, which is never read")
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > max_depth:
            raise Refused(Code.TOO_COMPLEX, "its XML is nested too deeply")
    return root
