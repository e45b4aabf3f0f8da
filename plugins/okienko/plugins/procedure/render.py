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
        self._pack = pack
        self._templates = {}
        for kind in NotificationKind:
            try:
                self._templates[kind] = environment.get_template(f"{kind.value}.txt.j2")
            except jinja2.TemplateError as error:
                raise MisconfiguredError(
                    f"the template {folder / kind.value}.txt.j2 is missing or wrong: {error}"
                ) from None

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        """Subject and text of one message."""
        case = context.case
        text = self._templates[kind].render(
            desk=self._pack.desk,
            recovery=self._pack.recovery,
            number=case.csd.number if case.csd else None,
            unmet=[result for result in case.decision.results if result.verdict is Verdict.UNMET],
            solution=context.solution,
            new_word=self._pack.new_word,
        )
        subject, _, body = text.partition("\n")
        return RenderedText(" ".join(subject.split()), body.strip("\n") + "\n")
