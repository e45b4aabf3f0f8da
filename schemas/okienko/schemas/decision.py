"""What was decided, rule by rule, with the evidence."""

from __future__ import annotations

from enum import StrEnum

from okienko.schemas.base import Model


class Verdict(StrEnum):
    """Whether one rule is met; `unknown` means that nobody could tell yet, so a human looks."""

    MET = "met"
    UNMET = "unmet"
    UNKNOWN = "unknown"


class DecisionOutcome(StrEnum):
    """The whole: any rule unmet makes `unmet`; else any unknown makes `human`; else `met`."""

    MET = "met"
    UNMET = "unmet"
    HUMAN = "human"


class RuleResult(Model):
    """One rule of the procedure held against one message."""

    rule: str
    """Rule id of the procedure pack: `A1`, `B3`, `C3`."""
    verdict: Verdict
    evidence: str
    """Why, for the clerk and the auditor, in English."""
    text_pl: str = ""
    """The requirement in the citizen's words."""
    text_en: str = ""


class Decision(Model):
    """The results of all rules that apply."""

    results: tuple[RuleResult, ...] = ()

    @property
    def outcome(self) -> DecisionOutcome | None:
        """None when no rule applies (a follow-up)."""
        verdicts = {result.verdict for result in self.results}
        if not verdicts:
            return None
        if Verdict.UNMET in verdicts:
            return DecisionOutcome.UNMET
        if Verdict.UNKNOWN in verdicts:
            return DecisionOutcome.HUMAN
        return DecisionOutcome.MET

    def rules(self, verdict: Verdict) -> tuple[str, ...]:
        """Ids of the rules with that verdict, in the procedure's order."""
        return tuple(result.rule for result in self.results if result.verdict is verdict)
