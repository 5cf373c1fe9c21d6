"""The show, with nothing but ourselves on the stage."""

import io

from rich.console import Console

from towpath.demo.own import OwnServer
from towpath.demo.show import run


def test_the_demo_needs_no_server_of_others() -> None:
    said = io.StringIO()
    assert run(Console(file=said, width=200), keep=False, servers=OwnServer) == 0, said.getvalue()
    assert "our own" in said.getvalue()
    assert "2,000 files identical" in said.getvalue()
