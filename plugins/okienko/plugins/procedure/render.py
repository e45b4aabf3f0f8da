"""Messages to people from the pack's Jinja2 templates. The first line of a template is the subject."""

from __future__ import annotations

from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.ports import NotificationContext, RenderedText
from okienko.plugins.procedure.model import PackFile
from okienko.schemas import NotificationKind, Verdict


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
        self._templates: dict[NotificationKind, jinja2.Template] = {}
        for kind, name in pack.templates.items():
            try:
                self._templates[kind] = environment.get_template(name)
            except jinja2.TemplateSyntaxError as error:
                raise MisconfiguredError(f"template {folder / name}, line {error.lineno}: {error.message}") from None
            except (jinja2.TemplateError, OSError, UnicodeDecodeError):
                raise MisconfiguredError(
                    f"template {folder / name} (templates.{kind.value}) is missing or not UTF-8 text: put it there"
                ) from None

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        """Subject and text of one message. Raises MisconfiguredError when the template uses what there is not."""
        case = context.case
        unmet = [result for result in case.decision.results if result.verdict is Verdict.UNMET]
        try:
            text = self._templates[kind].render(
                number=case.csd.number if case.csd else None,
                kind=case.kind.value,
                procedure=case.procedure.value if case.procedure else None,
                unmet=unmet,
                missing={result.rule for result in unmet},
                solution=context.solution,
            )
        except jinja2.TemplateError as error:
            raise MisconfiguredError(f"template {self._templates[kind].filename}: {error}") from None
        subject, _, body = text.partition("\n")
        return RenderedText(" ".join(subject.split()), body.strip("\n") + "\n")
