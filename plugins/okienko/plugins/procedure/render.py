"""Messages to people from the pack's Jinja2 templates. The first line of a template is the subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.ports import NotificationContext, RenderedText
from okienko.plugins.procedure.model import PackFile
from okienko.schemas import CaseKind, NotificationKind, Procedure, RuleResult, Verdict

_WARSAW = ZoneInfo("Europe/Warsaw")


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a template is tried with when there is no case yet."""

    solution: str | None = None
    link: str | None = None
    new_login: str | None = None
    deadline: datetime | None = None
    own_number: str | None = None

    FULL: ClassVar[_Trial]
    EMPTY: ClassVar[_Trial]


_Trial.FULL = _Trial(
    "trial", "https://trial.invalid/", "trial@trial.invalid", datetime(2026, 1, 5, 8, tzinfo=UTC), "trial"
)
_Trial.EMPTY = _Trial()


class Templates:
    """The compiled templates of a pack. Raises MisconfiguredError when one is missing or wrong."""

    def __init__(self, folder: Path, pack: PackFile) -> None:
        environment = ImmutableSandboxedEnvironment(
            loader=jinja2.FileSystemLoader(folder),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.globals.update(
            desk=pack.desk, deadlines=pack.deadlines, recovery=pack.recovery, new_word=pack.new_word, rules=pack.rules
        )
        self._solutions = {text.pl: text.en for text in (*pack.solutions.values(), pack.closed_without_words)}
        self._templates: dict[NotificationKind, jinja2.Template] = {}
        self._rules = pack.rules
        for kind, name in pack.templates.items():
            try:
                self._templates[kind] = environment.get_template(name)
            except jinja2.TemplateSyntaxError as error:
                raise MisconfiguredError(f"template {folder / name}, line {error.lineno}: {error.message}") from None
            except (jinja2.TemplateError, OSError, UnicodeDecodeError):
                raise MisconfiguredError(
                    f"template {folder / name} (templates.{kind.value}) is missing or not UTF-8 text: put it there"
                ) from None
        self._try_all()

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        """Subject and text of one message. Raises MisconfiguredError when the template uses what there is not."""
        case = context.case
        unmet = [result for result in case.decision.results if result.verdict is Verdict.UNMET]
        text = self._text(kind, case.csd.number if case.csd else None, case.kind, case.procedure, unmet, context)
        subject, _, body = text.partition("\n")
        return RenderedText(" ".join(subject.split()), body.strip("\n") + "\n")

    def _text(
        self, kind: NotificationKind, number: str | None, case_kind: CaseKind, procedure: Procedure | None,
        unmet: Sequence[RuleResult], context: NotificationContext | _Trial,
    ) -> str:  # fmt: skip
        solution, deadline = context.solution, context.deadline
        try:
            return self._templates[kind].render(
                number=number,
                own_number=context.own_number,
                kind=case_kind.value,
                procedure=procedure.value if procedure else None,
                unmet=unmet,
                missing={result.rule for result in unmet},
                solution=solution,
                solution_en=self._solutions.get(solution or "", solution),
                link=context.link,
                new_login=context.new_login,
                deadline=None if deadline is None else deadline.astimezone(_WARSAW),
            )
        except (jinja2.TemplateError, TypeError, ArithmeticError) as error:
            raise MisconfiguredError(f"template {self._templates[kind].filename}: {error}") from None

    def _try_all(self) -> None:
        """Render everything once, in all ways that templates tell apart: a wrong name shows now and not at the first mail."""
        results = [
            RuleResult(rule=rule, verdict=Verdict.UNMET, evidence="trial", text_pl=text.pl, text_en=text.en)
            for rule, text in self._rules.items()
        ]
        for kind, number, trial in product(self._templates, ("trial", None), (_Trial.FULL, _Trial.EMPTY)):
            kinds = (CaseKind.RECOVERY, CaseKind.SERVICE_REQUEST)
            for case_kind, procedure in (*product(CaseKind, [None]), *product(kinds, Procedure)):
                for unmet in ([], results):
                    self._text(kind, number, case_kind, procedure, unmet, trial)
            for result in results:
                self._text(kind, number, CaseKind.TICKET, None, [result], trial)
