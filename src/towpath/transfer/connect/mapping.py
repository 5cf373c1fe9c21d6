"""How a user of the service becomes an account at an endpoint: rules that its agents report.

The form is Globus Connect Server's `expression_identity_mapping#1.0.0`: the first rule decides
whose `match` is the whole of its `source` with the user's values put in; `output` gives the
account, with `{0}`, `{1}` for the match's groups. Rules come from other people's computers and are
evaluated here, so that only such expressions are taken as cannot take long: no repetition of what
repeats, no references back, few repetitions, short names. Whatever the account, the agent decides
whether the user may have it.
"""

import asyncio
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as opcodes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

DATA_TYPE = "expression_identity_mapping#1.0.0"
MAX_DOCUMENTS = 16
MAX_RULES = 64
"""Of all documents together."""
MAX_RULE_CHARACTERS = 256
MAX_VALUE_CHARACTERS = 128
"""Longer user names match nothing: with three repetitions a match of them would take seconds."""
MAX_REPETITIONS = 3
"""Of one expression; a match takes at most about (characters ** repetitions) / 6 steps: 30 ms."""
MAX_CHOICES = 4
"""Repetitions, optional parts, and alternatives: each other choice may double that."""
MAX_ACCOUNT_CHARACTERS = 64
_FIELDS = frozenset({"username", "id"})
_FIELD = re.compile(r"\{([^{}]*)\}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?")


class BadMapping(ValueError):  # noqa: N818 - a statement about a document
    """The document is not a mapping that is taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    source: str
    match: re.Pattern[str]
    output: str

    def account(self, values: Mapping[str, str]) -> str | None:
        """The account, if this rule is for these values."""
        text = _FIELD.sub(lambda field: values.get(field[1], ""), self.source)
        if len(text) > MAX_VALUE_CHARACTERS:
            return None
        found = self.match.fullmatch(text)
        if found is None:
            return None
        groups = {str(number): group or "" for number, group in enumerate(found.groups())}
        account = _FIELD.sub(lambda field: {**values, **groups}.get(field[1], ""), self.output)
        fits = len(account) <= MAX_ACCOUNT_CHARACTERS and _ACCOUNT.fullmatch(account)
        return account if fits else None


def rules_in(documents: Sequence[Any]) -> list[Rule]:
    """The rules of some documents, in order. Raises BadMapping."""
    if len(documents) > MAX_DOCUMENTS:
        raise BadMapping(f"at most {MAX_DOCUMENTS} mapping documents")
    rules: list[Rule] = []
    for number, document in enumerate(documents, 1):
        if not isinstance(document, Mapping) or document.get("DATA_TYPE") != DATA_TYPE:
            raise BadMapping(f"mapping document {number}: only {DATA_TYPE} is known")
        entries = document.get("mappings")
        if not isinstance(entries, list):
            raise BadMapping(f"mapping document {number}: 'mappings' is a list")
        rules += [_rule(f"mapping document {number}, rule {n}", one) for n, one in _each(entries)]
    if len(rules) > MAX_RULES:
        raise BadMapping(f"at most {MAX_RULES} mapping rules")
    return rules


def account(rules: Iterable[Rule], *, username: str, identity_id: str) -> str | None:
    """The account of a user at an endpoint; None: no rule is for him."""
    values = {"username": username, "id": identity_id}
    return next(
        (found for rule in rules if (found := rule.account(values)) is not None),
        None,
    )


async def account_by(documents: Sequence[Any], *, username: str, identity_id: str) -> str | None:
    """The same by rules as they were reported. In a thread: all of them together may take half a
    second, if somebody wants them to."""
    return await asyncio.to_thread(_account_by, json.dumps(documents), username, identity_id)


def _account_by(documents: str, username: str, identity_id: str) -> str | None:
    return account(_rules(documents), username=username, identity_id=identity_id)


@lru_cache(maxsize=128)
def _rules(documents: str) -> tuple[Rule, ...]:
    return tuple(rules_in(json.loads(documents)))


def _each(entries: Sequence[Any]) -> Iterable[tuple[int, Any]]:
    return enumerate(entries[: MAX_RULES + 1], 1)


def _rule(where: str, entry: Any) -> Rule:
    if not isinstance(entry, Mapping):
        raise BadMapping(f"{where}: it is an object")
    source, match, output = (entry.get(name) for name in ("source", "match", "output"))
    for name, text in (("source", source), ("match", match), ("output", output)):
        if not isinstance(text, str) or not text or len(text) > MAX_RULE_CHARACTERS:
            raise BadMapping(
                f"{where}: '{name}' is text of at most {MAX_RULE_CHARACTERS} characters"
            )
    assert isinstance(source, str)
    assert isinstance(match, str)
    assert isinstance(output, str)
    unknown = {field for field in _FIELD.findall(source) if field not in _FIELDS}
    if unknown:
        raise BadMapping(f"{where}: 'source' knows {{username}} and {{id}}, not {sorted(unknown)}")
    ignore_case, literal = entry.get("ignore_case", False), entry.get("literal", False)
    if not isinstance(ignore_case, bool) or not isinstance(literal, bool):
        raise BadMapping(f"{where}: 'ignore_case' and 'literal' are true or false")
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    expression = re.escape(match) if literal else match
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nested sets, whose meaning may change one day
            _check_quick(where, parser.parse(expression, flags))
            compiled = re.compile(expression, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadMapping(f"{where}: 'match' is no regular expression: {error}") from None
    groups = {str(number) for number in range(compiled.groups)}
    unknown = {field for field in _FIELD.findall(output) if field not in _FIELDS | groups}
    if unknown:
        raise BadMapping(f"{where}: 'output' has no value for {sorted(unknown)}")
    return Rule(source, compiled, output)


_SINGLE = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


def _check_quick(where: str, parsed: Any) -> None:
    repetitions, choices = _count(where, parsed)
    if repetitions > MAX_REPETITIONS or repetitions + choices > MAX_CHOICES:
        raise BadMapping(
            f"{where}: 'match' has more than {MAX_REPETITIONS} repetitions, or more than"
            f" {MAX_CHOICES} together with alternatives and optional parts: make rules of them"
        )


def _count(where: str, parsed: Any) -> tuple[int, int]:
    """Repetitions, and other choices. Raises BadMapping for what may take long or is not known."""
    repetitions = choices = 0
    for opcode, argument in parsed:
        name = str(opcode)
        inner: list[Any] = []
        if name in _SINGLE or name == "AT":
            pass
        elif name in _REPEATS:
            _, most, body = argument
            if most is not opcodes.MAXREPEAT and most <= 1:
                choices += 1
                inner = [body]
            elif len(body) == 1 and str(body[0][0]) in _SINGLE:
                repetitions += 1
            else:
                raise BadMapping(f"{where}: 'match' repeats more than a single character")
        elif name == "SUBPATTERN":
            inner = [argument[-1]]
        elif name == "BRANCH":
            inner = argument[1]
            choices += len(inner) - 1
        else:
            raise BadMapping(f"{where}: 'match' has {name.lower()}, which is not taken")
        for one in inner:
            more, others = _count(where, one)
            repetitions += more
            choices += others
    return repetitions, choices
