"""Whether everybody can use a page: axe-core's rules for WCAG 2.2 A and AA, in light and dark."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
_COLOURS = {"runOnly": ["color-contrast"]}
"""All that differs in the dark."""
_SETTLED = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
    Promise.allSettled(document.getAnimations()
      .filter((one) => one instanceof CSSTransition).map((one) => one.finished)).then(done))))"""
"""Half-way between two colours the contrast is neither's."""
_ALL = {"exclude": [["[data-live-announcer]"]]}
"""But what React Aria has had read out: it names what has gone since, and is gone itself soon."""


def assert_accessible(page: Page) -> None:
    """The page as it is now."""
    axe = Axe()
    for scheme, rules in (("light", _RULES), ("dark", _COLOURS)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.evaluate(_SETTLED)
        found = axe.run(page, context=_ALL, options=rules).response
        assert found["passes"], "axe found nothing to look at"
        told = [
            (one["id"], [(node["html"], node["failureSummary"]) for node in one["nodes"]])
            for one in found["violations"]
        ]
        assert not told, (page.url, scheme, told)
