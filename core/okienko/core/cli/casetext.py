"""One case as text: everything the person on night duty needs, from top to bottom."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from okienko.core.cli.output import clean
from okienko.core.parking import Parked

_LEAD = re.compile(r"  (?:ok |NO | \? ) \S+ +|  [a-z]+ {3,}|  [\d-]{10} [\d:]{8}  | *")
"""What the lines under a wrapped line are indented by: a rule's mark and name, a field's name, a time."""
_MARKS = {"met": "ok ", "unmet": "NO ", "unknown": " ? "}
_DECISIONS = {
    "met": "every rule is met",
    "unmet": "refused: {unmet} not met",
    "human": "a person must decide: {unknown} could not be checked by okienko",
    None: "no rule applies",
}
_STATES = {
    "decided": "decided, waits for its number from the CSD",
    "registered": "registered in the CSD, being worked on there",
    "awaiting_requester": "the person was told what is missing; we wait for a new message",
    "human_review": "a person must look",
    "closed": "nothing is left to do",
    "reopened": "open again: the person wrote after it was closed",
}


def describe(shown: Mapping[str, Any], actions: Sequence[Any], parked: Sequence[Parked], width: int) -> str:
    """The case of `desk.show_case` with its reset actions and what of it is parked, wrapped to `width` columns."""
    lines: list[str] = []
    for line in (
        *_head(shown["case"]),
        *_rules(shown["case"]),
        *_waiting(shown, actions, parked),
        *_csd(shown["csd"]),
        *_time_line(shown),
    ):
        indent = " " * len(_LEAD.match(line)[0])  # type: ignore[index]  # it matches every line
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(lines) + "\n"


def _head(case: Mapping[str, Any]) -> Iterator[str]:
    yield f"{number_of(case)}  {clean(case['subject']) or '(no subject)'}"
    yield ""
    what = " / ".join(filter(None, (case["kind"], case["procedure"])))
    requester, person = case["requester"], case["person"]
    yield f"  kind      {what}, by {case['channel']} to mailbox {clean(case['mailbox'])}"
    yield f"  state     {case['state']}: {_STATES.get(case['state'], '')}"
    if requester:
        yield f"  from      {clean(requester.get('name') or '')} <{clean(requester.get('address'))}>".replace(
            "   <", "  <"
        )
    if person:
        name = " ".join(clean(person[part]) for part in ("given_name", "family_name") if person.get(part))
        born = f", born {person['birth_year']}" if person.get("birth_year") else ""
        pesel = ", PESEL given (not shown)" if person.get("pesel") else ""
        yield f"  about     {name or 'no name'}{born}{pesel}"
    yield f"  opened    {_stamp(case['opened_at'])}"
    if case["closed_at"]:
        yield f"  closed    {_stamp(case['closed_at'])}"
    if case.get("number"):
        yield f"  number    {clean(case['number'])}, okienko's own"
    yield f"  id        {case['id']}"


def _rules(case: Mapping[str, Any]) -> Iterator[str]:
    results = case["decision"]["results"]
    rules = {v: ", ".join(r["rule"] for r in results if r["verdict"] == v) for v in _MARKS}
    outcome = None if not results else "unmet" if rules["unmet"] else "human" if rules["unknown"] else "met"
    yield ""
    yield f"Decision: {_DECISIONS[outcome].format(**rules)}"
    for result in results:
        yield f"  {_MARKS[result['verdict']]} {result['rule']:<3} {clean(result['text_en'] or result['evidence'])}"
        if result["text_en"]:
            yield f"          {clean(result['evidence'])}"


def _waiting(shown: Mapping[str, Any], actions: Sequence[Any], parked: Sequence[Parked]) -> Iterator[str]:
    case = shown["case"]
    lines: list[str] = []
    for item in parked:
        lines.append(f"  parked as {item.id} ({item.job}, {item.reason}): {clean(item.problem)}")
        lines.append(f"    mend the cause, then: okienko parked replay {item.id}")
    for action in actions:
        lines += _action(action)
    if not lines and case["state"] in ("registered", "reopened", "human_review"):
        lines.append(f"  the work itself; when it is done: okienko close {number_of(case)} --solution '…'")
    if lines:
        yield ""
        yield "What waits:"
        yield from lines


def _csd(csd: Mapping[str, Any]) -> Iterator[str]:
    """What the CSD's people wrote, and where both sides did not agree."""
    told = {name: csd["fields"][name] for name in ("priority", "queue", "assignee")}
    fields = [f"{name} {clean(value)}" for name, value in told.items() if value and value != "normal"]
    lines = [f"  {', '.join(fields)}"] if fields else []
    if csd["waits"]:
        lines.append(f"  to be told: {', '.join(csd['waits'])}")
    if csd["followed"]:
        lines.append(f"  its ticket was merged into {clean(csd['followed'])}, which is followed")
    for note in csd["notes"]:
        what = "file" if note["kind"] == "file" else "public note" if note["public"] else "note"
        by = f" by {clean(note['author'])}" if note["author"] else ""
        lines.append(f"  {_stamp(note['at'])}  {what}{by}: {clean(' '.join(note['text'].split()))}")
    lines += [
        f"  {_stamp(c['at'])}  conflict on {c['field']}: okienko {clean(c['okienko'])!r}, CSD {clean(c['csd'])!r}, "
        f"before {clean(c['base'])!r}; {c['winner']} won by the rule {c['rule']}"
        for c in csd["conflicts"]
    ]
    if lines:
        yield ""
        yield "In the CSD:"
        yield from lines


def _action(action: Mapping[str, Any]) -> Iterator[str]:
    identity, state = action["id"], action["state"]
    by_hand = "by_hand" in action["steps"]
    checked = "".join(f" --checked {rule}" for rule in action["must_check"])
    if state == "waiting":
        must = ", ".join(action["must_check"])
        given = ", ".join(clean(approval["who"]) for approval in action["approvals"] if approval["counts"])
        yield (
            f"  reset action {identity} ({action['risk']} risk) waits for an administrator"
            + (f", who must check {must}" if must else "")
            + (f"; approved so far by {given}" if given else "")
        )
        yield f"    what and why: okienko action show {identity}"
        if by_hand:
            yield f"    afterwards: okienko action done {identity} --code CODE{checked} --solution '…'"
    elif state == "cooling":
        yield f"  reset action {identity} is approved; the holder may stop it until {_stamp(action['not_before'])}"
    elif state == "ready" and by_hand:
        yield f"  reset action {identity} is approved: carry it out in your own tool"
        yield f"    afterwards: okienko action done {identity} --solution '…'"
    elif state in ("ready", "executing"):
        yield f"  reset action {identity} is being carried out by okienko"


def _time_line(shown: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "Time line (UTC):"
    for event in shown["events"]:
        yield f"  {event['at']:%Y-%m-%d %H:%M:%S}  {sentence(event)}"
    if not shown["events"]:
        yield "  nothing happened yet"


def number_of(case: Mapping[str, Any]) -> str:
    """The number people are given; the id while there is none."""
    return str(case["csd"]["number"] if case["csd"] else case["id"])


def sentence(event: Mapping[str, Any]) -> str:
    """What happened, in a sentence; an event this program does not know yet is told with its data."""
    data = {key: clean(", ".join(value) if isinstance(value, list) else value) for key, value in event["data"].items()}
    write = _SENTENCES.get(event["type"])
    text = (
        write(data, event["data"]) if write else f"{event['type']}: " + ", ".join(f"{k} {v}" for k, v in data.items())
    )
    return f"{text} [{clean(event['actor'])}]"


def _decided(data: Mapping[str, str], raw: Mapping[str, Any], word: str = "decided") -> str:
    # An event of before the audit log has each rule's evidence as well.
    verdicts = {r: v["verdict"] if isinstance(v, dict) else v for r, v in (raw.get("rules") or {}).items()}
    parts = [
        f"{name} {' '.join(rule for rule, v in verdicts.items() if v == verdict)}"
        for verdict, name in (("met", "met"), ("unmet", "NOT met"), ("unknown", "unknown"))
        if verdict in verdicts.values()
    ]
    return f"{word}: {data.get('outcome') or 'no rule applies'}" + (f" ({'; '.join(parts)})" if parts else "")


def _added(data: Mapping[str, str], _: Mapping[str, Any]) -> str:
    if data.get("suppressed"):
        return f"a message of a machine came in and was not answered ({data['suppressed']})"
    other = ", FROM ANOTHER SENDER" if data.get("sender_differs") == "True" else ""
    return f"another message was added, found by {data.get('by')}{other}"


_SENTENCES: dict[str, Any] = {
    "opened": lambda d, _: f"opened as {d.get('kind')} by the message {d.get('source')}",
    "decided": _decided,
    "registered": lambda d, _: f"registered in the CSD {d.get('backend')} as {d.get('number')}",
    "message_added": _added,
    "notification_queued": lambda d, _: f"mail `{d.get('kind')}` to the person was written and waits to be sent",
    "notification_sent": lambda d, _: f"mail `{d.get('kind')}` was sent",
    "notification_withheld": lambda d, _: f"mail `{d.get('kind')}` was NOT written: {d.get('why')}",
    "notification_failed": lambda d, _: f"mail `{d.get('kind')}` could NOT be sent: {d.get('reason')}; it is parked",
    "delivery_failed": lambda _d, _: "our mail to the person came back as UNDELIVERABLE",
    "action_proposed": lambda d, _: (
        f"reset action put before the administrators of {d.get('backend')}, to check: "
        f"{d.get('must_check') or 'nothing'}"
    ),
    "assessed": lambda d, raw: (
        _decided(d, raw, "assessed anew with what was typed" if d.get("fields") else "assessed after the first answer")
        + (f"; no reset action: {d['why']}" if d.get("why") else "")
    ),
    "application_typed": lambda d, _: f"typed beside the picture of the application: {d.get('fields') or 'nothing'}",
    "limited": lambda d, _: f"limit `{d.get('limit')}`: {d.get('why')}",
    "action_approved": lambda d, _: f"reset action approved, checked: {d.get('checked') or 'nothing'}",
    "action_executed": lambda d, _: (
        f"reset action carried out at {d.get('backend')}: {d.get('fields') or 'nothing'} written"
    ),
    "action_ended": lambda d, _: f"reset action {d.get('state')}" + (f": {d['reason']}" if d.get("reason") else ""),
    "activation_sent": lambda d, _: f"the link to set a new password was sent by {d.get('by')}",
    "activation_used": lambda _d, _: "the holder of the link set a new password",
    "fields_changed": lambda d, _: (
        f"changed: {d.get('fields')}" + (f", {d['from']} to {d['to']}" if "from" in d else "")
    ),
    "note_added": lambda d, _: (
        "a " + ("public" if d.get("public") == "True" else "internal") + " note was written in the CSD"
    ),
    "file_added": lambda _d, _: "a file was added in the CSD",
    "ticket_moved": lambda d, _: (
        f"the ticket {d.get('from')} was merged into {d.get('number')}, which is followed from now on"
    ),
    "ticket_lost": lambda d, _: f"the ticket {d.get('number')} was {d.get('why')} in the CSD: a person must look",
    "closed": lambda d, _: "closed" + (f": {d['why']}" if "why" in d else ""),
    "reopened": lambda d, _: "opened again" + (f": {d['why']}" if "why" in d else ""),
}


def _stamp(value: datetime | str) -> str:
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
