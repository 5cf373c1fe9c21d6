"""What a server tells its operator, when it cannot be told."""

from pathlib import Path

from plugins.dialogue import OPENING
from towpath.cli.server_observer import AccessLog, Metrics, Observer
from towpath.gridftp.server.commands.base import Refused
from towpath.gridftp.server.control import LoginReport


def test_a_full_disk_under_the_log_ends_nothing() -> None:
    """Who can fill it could keep everybody out."""
    metrics = Metrics()
    observer = Observer(metrics)
    with Path("/dev/full").open("ab", buffering=0) as full:
        observer.add(AccessLog(full))
        observer.login(
            LoginReport(session_id="1", peer_host="", subject="", account="ana", outcome="ok")
        )
        observer.command(Refused(OPENING, "MKD d", "553 it is there"))
    count = metrics.registry.get_sample_value
    assert count("towpath_gridftp_logins_total", {"outcome": "ok"}) == 1
    assert count("towpath_gridftp_refused_commands_total") == 1
    assert count("towpath_gridftp_lost_reports_total") == 2
