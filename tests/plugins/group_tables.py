"""The tables of the groups' rules, as the reference shows them."""

from towpath.nexus.groups.rules import (
    DETAILS,
    OUTCOMES,
    Action,
    GroupVisibility,
    MembersVisibility,
    Policies,
    Right,
    Standing,
    Status,
    has,
    outcome,
)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def render_rights() -> str:
    """Who has which right, and which policy gives it to others."""
    strict = Policies()
    wide = Policies(GroupVisibility.AUTHENTICATED, MembersVisibility.MEMBERS)
    rows = []
    for right in Right:
        cells = []
        for who in Standing:
            always, widened = has(right, who, strict), has(right, who, wide)
            cells.append("yes" if always else "policy" if widened else "")
        rows.append([str(right), *cells])
    return _table(["", *map(str, Standing)], rows)


def render_outcomes() -> str:
    """What each action makes of each status."""
    statuses = [None, *Status]
    head = ["action", *("none" if one is None else f"`{one}`" for one in statuses)]
    rows = [
        [f"`{action}`", *(f"`{outcome(action, one)}`" for one in statuses)] for action in OUTCOMES
    ]
    assert set(OUTCOMES) == set(Action)
    return _table(head, rows)


def render_refusals() -> str:
    """Every code of an item that was not done."""
    return _table(["code", ""], [[f"`{code}`", text] for code, text in DETAILS.items()])
