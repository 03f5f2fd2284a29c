"""What is done with documents of rules, whoever changes them."""

from __future__ import annotations

from orchestrator.core.documents import WrongDocument
from routing.rules.checking import faults_in, faults_in_rule, read_document
from routing.rules.document import Document, Rule

EMPTY = read_document({})


def must_fit(document: Document) -> None:
    """Raises WrongDocument with all that is wrong with it."""
    if faults := faults_in(document):
        raise WrongDocument.of(faults)


def rule_must_fit(rule: Rule) -> None:
    """The same for one rule; its places are those within it."""
    if faults := faults_in_rule(rule):
        raise WrongDocument.of(faults)


def with_rules(document: Document, rules: list[Rule]) -> Document:
    """The same with other rules."""
    return document.model_copy(update={"rules": rules})
