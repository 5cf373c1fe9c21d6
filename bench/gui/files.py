"""The file manager: how soon it is there, and how a folder of 100,000 files scrolls."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import BrowserContext, CDPSession, Page, expect
from rich.console import Console

from bench.gui.browser import WAIT_MS, Looking, looking
from bench.measure import BenchError
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer

WIDTH, HEIGHT = 1280, 800
LOOK_MS = 180_000
"""For the whole of a large folder to be read."""
WHEEL_PX = 300
"""A turn of the wheel, each frame: fast, but one can read."""
FLING_PX = 6_000
"""All rows are others in each frame."""

_SCROLL = """([step, ms]) => new Promise((done) => {
  const grid = document.querySelector("[role=grid]");
  const frames = [];
  let last = null, end = null;
  const next = (now) => {
    if (last === null) end = now + ms; else frames.push(now - last);
    last = now;
    if (grid.scrollTop + grid.clientHeight >= grid.scrollHeight - 1) grid.scrollTop = 0;
    grid.scrollTop += step;
    if (now < end) requestAnimationFrame(next); else done(frames);
  };
  requestAnimationFrame(next);
})"""
_PAINTED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
_LOADED = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const ours = performance.getEntriesByType("resource").filter((one) => one.name.includes("/app/"));
  return {
    paint: paint.startTime,
    bytes: ours.reduce((sum, one) => sum + one.encodedBodySize, 0),
    plain: ours.reduce((sum, one) => sum + one.decodedBodySize, 0),
    requests: ours.length,
  };
}"""


@dataclass(frozen=True)
class Scale:
    """How much, how often, and for how long."""

    entries: int
    loads: int
    scroll_ms: int


FULL = Scale(entries=100_000, loads=7, scroll_ms=10_000)
QUICK = Scale(entries=3_000, loads=1, scroll_ms=500)


def measure(console: Console, *, quick: bool) -> dict[str, float]:
    """The figures. Raises `BenchError`."""
    scale = QUICK if quick else FULL
    settings = {"TOWPATH_ENGINE__WORKERS": "0", "TOWPATH_SAMPLES__ENABLED": "false"}
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as directory:
        work = Path(directory)
        few, many = _folders(work, scale)
        domain = Domain.create(work / "domain", "Bench")
        with (
            GctServer.start(domain, work / "server") as server,
            Deployment.start(work / "deployment", settings) as deployment,
            looking(deployment, "bench") as somebody,
        ):
            endpoint_id = _register(deployment, somebody, server, domain)
            console.print(f"{scale.loads} first loads ...")
            loads = _loads(deployment, somebody, _address(endpoint_id, few), scale)
            console.print(f"... and a folder of {scale.entries:,} files")
            return loads | _large(deployment, somebody, _address(endpoint_id, many), scale)


def _folders(work: Path, scale: Scale) -> tuple[Path, Path]:
    few, many = work / "few", work / "many"
    for folder, count in ((few, 10), (many, scale.entries)):
        folder.mkdir()
        for number in range(count):
            (folder / f"sample_{number}_run.fastq.gz").touch()
    return few, many


def _address(endpoint_id: str, folder: Path) -> str:
    return f"/files?{urlencode({'origin_id': endpoint_id, 'origin_path': f'{folder}/'})}"


def _register(deployment: Deployment, somebody: Looking, server: GctServer, domain: Domain) -> str:
    """An endpoint of hers, with her credential; asked for with the page's own token."""
    page = somebody.profile.new_page()
    with page.expect_request("**/v0.10/endpoint_search*") as asked:
        page.goto(f"{deployment.url}/files")
    headers = {
        "Authorization": asked.value.all_headers()["authorization"],
        "Content-Type": "application/json",
    }
    page.close()

    def send(method: str, route: str, document: dict[str, Any]) -> dict[str, Any]:
        answer = somebody.profile.request.fetch(
            f"{deployment.url}/v0.10/{route}",
            method=method,
            headers=headers,
            data=json.dumps(document),
        )
        if not answer.ok:
            raise BenchError(f"{method} {route}: {answer.status} {answer.text()[:500]}")
        found: dict[str, Any] = answer.json()
        return found

    endpoint_id: str = send(
        "POST",
        "endpoint",
        {
            "DATA_TYPE": "endpoint",
            "display_name": "Bench",
            "DATA": [{"DATA_TYPE": "server", "uri": server.url("")}],
            "trust_roots": dict(domain.trust.files),
        },
    )["id"]
    proxy = {"proxy": domain.proxy_file.read_text()}
    send("PUT", f"endpoint/{endpoint_id}/credential", proxy)
    return endpoint_id


def _loads(
    deployment: Deployment, somebody: Looking, address: str, scale: Scale
) -> dict[str, float]:
    """From an empty cache to the files of a small folder, and the same again from the cache."""
    first: list[tuple[float, float]] = []
    again: list[float] = []
    browser = somebody.profile.browser
    assert browser is not None
    seen: dict[str, float] = {}
    for _ in range(scale.loads):
        profile = browser.new_context(
            ignore_https_errors=True,
            viewport={"width": WIDTH, "height": HEIGHT},
            storage_state=somebody.profile.storage_state(),
        )
        profile.set_default_timeout(WAIT_MS)
        ready = _ready_ms(profile, deployment.url + address)
        page = profile.pages[-1]
        seen = page.evaluate(_LOADED)
        first.append((seen["paint"], ready))
        again.append(_ready_ms(profile, deployment.url + address))
        profile.close()
    return {
        "files_bundle_kilobytes": round(seen["bytes"] / 1000, 1),
        "files_bundle_kilobytes_unpacked": round(seen["plain"] / 1000, 1),
        "files_bundle_requests": seen["requests"],
        "files_first_paint_ms": round(statistics.median(paint for paint, _ in first)),
        "files_interactive_ms": round(statistics.median(ready for _, ready in first)),
        "files_interactive_cached_ms": round(statistics.median(again)),
    }


def _ready_ms(profile: BrowserContext, url: str) -> float:
    """Until the folder's files are there and the page has answered a key."""
    page = profile.new_page()
    began = time.perf_counter()
    page.goto(url)
    page.locator("[role=row][data-index]").first.wait_for()
    page.get_by_role("grid").first.press("ArrowDown")
    page.locator("[role=row][aria-selected=true]").first.wait_for()
    return (time.perf_counter() - began) * 1000


def _large(
    deployment: Deployment, somebody: Looking, address: str, scale: Scale
) -> dict[str, float]:
    page = somebody.profile.new_page()
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    devtools = somebody.profile.new_cdp_session(page)
    devtools.send("Performance.enable")
    page.goto(f"{deployment.url}/files")
    page.get_by_label("Search collections").first.wait_for()
    before = _heap_bytes(devtools)
    began = time.perf_counter()
    page.goto(deployment.url + address)
    page.locator("[role=row][data-index]").first.wait_for()
    shown_s = time.perf_counter() - began
    foot = page.get_by_role("region", name="From", exact=True).get_by_role("status")
    expect(foot).to_have_text(f"{scale.entries:,} items", timeout=LOOK_MS)
    whole_s = time.perf_counter() - began
    grid = page.get_by_role("grid").first
    grid.focus()
    found = {
        "files_entries": scale.entries,
        "files_first_rows_ms": round(shown_s * 1000),
        "files_all_entries_ms": round(whole_s * 1000),
        "files_heap_megabytes": round((_heap_bytes(devtools) - before) / 1e6, 1),
    }
    for name, step in (("scroll", WHEEL_PX), ("fling", FLING_PX)):
        work_before = _work_s(devtools)
        frames = sorted(page.evaluate(_SCROLL, [step, scale.scroll_ms]))
        if not frames:
            raise BenchError("no frame was painted")
        found |= {
            f"files_{name}_frames_per_s": round(len(frames) / sum(frames) * 1000, 1),
            f"files_{name}_frame_p99_ms": round(frames[len(frames) * 99 // 100], 1),
            f"files_{name}_work_per_frame_ms": round(
                (_work_s(devtools) - work_before) / len(frames) * 1000, 2
            ),
        }
    found["files_nodes"] = _metric(devtools, "Nodes")
    column = page.get_by_role("columnheader", name="Size").first.get_by_role("button")
    for name, act in (
        ("key_end", lambda: page.keyboard.press("End")),
        ("choose_all", lambda: page.keyboard.press("Control+a")),
        ("sort", column.click),
    ):
        grid.focus()
        found[f"files_{name}_ms"] = _until_painted_ms(page, act)
    page.close()
    return found


def _until_painted_ms(page: Page, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    page.evaluate(_PAINTED)
    return round((time.perf_counter() - began) * 1000)


def _heap_bytes(devtools: CDPSession) -> float:
    devtools.send("HeapProfiler.collectGarbage")
    return _metric(devtools, "JSHeapUsedSize")


def _work_s(devtools: CDPSession) -> float:
    """What the page's main thread has worked so far."""
    return _metric(devtools, "TaskDuration")


def _metric(devtools: CDPSession, name: str) -> float:
    listed = devtools.send("Performance.getMetrics")["metrics"]
    value: float = next(one["value"] for one in listed if one["name"] == name)
    return value
