"""The same submission from fifty threads at once is one task (I1)."""

import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import httpx

from plugins.site import SITE_GROUP, Site
from towpath.demo.trees import TreeFile, digests, make_tree

pytestmark = SITE_GROUP
AT_ONCE = 50


def test_fifty_at_once_are_one_task(site: Site, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, [TreeFile("file", 1000)], seed=4)
    here, there = site.endpoints
    document = {
        "DATA_TYPE": "transfer",
        "submission_id": str(uuid4()),
        "source_endpoint": here,
        "destination_endpoint": there,
        "DATA": [
            {
                "DATA_TYPE": "transfer_item",
                "source_path": str(source),
                "destination_path": str(destination),
                "recursive": True,
            }
        ],
    }
    trusted = ssl.create_default_context(cafile=site.rig.data_dir / "tls" / "ca.pem")
    headers = {"Authorization": site.deployment.client.headers["Authorization"]}
    together = Barrier(AT_ONCE)
    before = site.deployment.get("task_list", limit=1)["total"]
    with httpx.Client(
        base_url=site.deployment.url,
        verify=trusted,
        headers=headers,
        timeout=60,
        trust_env=False,
        limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
    ) as client:

        def submit(_number: int) -> httpx.Response:
            client.get("/v0.10/task_list").raise_for_status()  # connected, before all post
            together.wait(60)
            return client.post("/v0.10/transfer", json=document)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(submit, range(AT_ONCE)))
    codes = sorted((answer.status_code, answer.json()["code"]) for answer in answers)
    assert codes == [(200, "Duplicate")] * (AT_ONCE - 1) + [(202, "Accepted")]
    (task_id,) = {answer.json()["task_id"] for answer in answers}
    assert site.deployment.get("task_list", limit=1)["total"] == before + 1
    assert site.deployment.wait(task_id, 30)["files_transferred"] == 1
    assert digests(destination) == digests(source)
    site.assert_well()
