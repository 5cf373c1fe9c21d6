"""The one table of faults: what the program knows of each kind, and the tests that prove it."""

from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.transfer.engine.faults import Consequence, Verdict, judge

_ERRORS = "interop/test_gridftp_errors.py::test_provoked"
_PEERS = "faults/test_bad_peers.py"
_CODES = "faults/test_event_codes.py"
_CHANGES = "faults/test_changes.py"
_ORDER = "faults/test_order_rule.py"
_TABLE = "faults/test_fault_table.py::test_told_and_over_when_it_is_mended"

REAL: dict[Kind, tuple[str, ...]] = {
    Kind.NOT_FOUND: (
        f"{_ORDER}::test_a_missing_source_fails_the_task_and_spoils_nothing",
        f"{_CHANGES}::test_a_file_that_vanishes_between_listing_and_copy",
    ),
    Kind.PERMISSION_DENIED: (
        f"{_ORDER}::test_a_source_file_cannot_be_read",
        f"{_ORDER}::test_a_directory_that_cannot_be_listed_does_not_hold_up_the_others",
        "interop/test_delete.py::test_what_cannot_be_deleted_is_told_and_holds_up_nothing",
    ),
    Kind.IS_A_DIRECTORY: (
        "interop/test_task_options.py::test_what_an_item_is",
        f"{_ORDER}::test_a_destination_path_is_taken",
    ),
    Kind.NOT_A_DIRECTORY: ("interop/test_task_options.py::test_what_an_item_is",),
    Kind.EXISTS: (f"{_ERRORS}[exists]",),
    Kind.NOT_EMPTY: (f"{_ERRORS}[not empty]",),
    Kind.NO_SPACE: ("interop/test_scenarios.py::test_a_full_destination_that_is_freed",),
    Kind.UNKNOWN: (f"{_ERRORS}[no words for it]",),
    Kind.STORAGE: (f"{_TABLE}[storage]", f"{_ERRORS}[bad disk]"),
    Kind.PATH_NOT_ALLOWED: (
        f"{_TABLE}[path_not_allowed]",
        f"{_ERRORS}[path rule of a transfer]",
    ),
    Kind.DATA_REFUSED: (
        f"{_TABLE}[data_refused-firewall]",
        f"{_TABLE}[data_refused-ports]",
    ),
    Kind.DATA_BROKEN: (
        f"{_TABLE}[data_broken]",
        f"{_ERRORS}[data reset]",
    ),
    Kind.DATA_AUTH: (
        f"{_TABLE}[data_auth]",
        f"{_ERRORS}[data authentication]",
        f"{_ERRORS}[data credential]",
    ),
    Kind.GRANT_EXPIRED: (
        "grants/test_time.py::test_no_command_begins_after_the_end",
        "grants/test_attacks.py::test_a_grant_that_was_used_is_replayed",
    ),
    Kind.GRANT_REFUSED: ("grants/test_attacks.py::test_a_valid_grant_for_somewhere_else",),
    Kind.AWAY: (
        "interop/test_connect.py::test_files_go_both_ways_and_wait_for_who_sleeps",
        "transfer/connect/test_dialling.py::test_who_is_not_there_is_named",
    ),
    Kind.DRAINING: ("transfer/connect/test_dialling.py::test_who_takes_no_session_is_named",),
    Kind.PAUSED: (
        "transfer/connect/test_dialling.py::test_who_takes_no_session_is_named",
        "grants/test_time.py::test_a_paused_server_cuts_what_runs_and_takes_nobody",
    ),
    Kind.ENCRYPTION_REQUIRED: (f"{_TABLE}[encryption_required]",),
    Kind.CHANNEL_GONE: (f"{_ERRORS}[no data channel]",),
    Kind.CHECKSUM_MISMATCH: (
        f"{_TABLE}[checksum_mismatch]",
        f"{_ERRORS}[checksum]",
    ),
    Kind.SIZE_CHANGED: (
        f"{_CHANGES}::test_files_that_change_between_listing_and_copy",
        f"{_CHANGES}::test_a_file_that_grows_leaves_its_neighbours_alone",
        f"{_CHANGES}::test_a_large_file_that_changes_while_it_is_copied",
    ),
    Kind.SOURCE_CHANGED: (f"{_CHANGES}::test_contents_that_change_while_they_are_copied",),
    Kind.CHECKSUM_UNSUPPORTED: (
        "interop/test_checksums.py::test_an_algorithm_that_a_server_does_not_offer",
    ),
    Kind.AUTHENTICATION: (
        f"{_CODES}::test_a_credential_that_the_server_does_not_trust",
        f"{_TABLE}[authentication-clock]",
        f"{_TABLE}[authentication-revocations]",
    ),
    Kind.CREDENTIAL_EXPIRED: (f"{_PEERS}::test_a_task_waits_for_a_renewed_credential",),
    Kind.UNTRUSTED_HOST: (
        f"{_PEERS}::test_certificate_of_another_host",
        f"{_PEERS}::test_certificate_of_an_authority_not_trusted",
    ),
    Kind.MAPPING: (f"{_TABLE}[mapping]",),
    Kind.LOGIN: (f"{_TABLE}[login]",),
    Kind.CONNECT: (
        f"{_TABLE}[connect-down]",
        f"{_TABLE}[connect-full]",
        f"{_TABLE}[connect-offline]",
    ),
    Kind.CONNECTION_LOST: (
        f"{_TABLE}[connection_lost]",
        f"{_ERRORS}[session killed]",
    ),
    Kind.UNSUPPORTED: (
        f"{_TABLE}[unsupported-command]",
        f"{_TABLE}[unsupported-login]",
    ),
    Kind.INVALID_NAME: (f"{_CODES}::test_a_name_that_cannot_be_carried",),
    Kind.TIMEOUT: (f"{_TABLE}[timeout]",),
    Kind.STALLED: (f"{_TABLE}[stalled]",),
    Kind.ADDRESS_REFUSED: (f"{_TABLE}[address_refused]",),
}
"""Below tests/; against real servers."""

DOUBLES: dict[Kind, tuple[str, ...]] = {
    Kind.QUOTA: (
        f"{_CODES}::test_a_server_refuses_a_file",
        f"{_CODES}::test_a_quota_may_be_fatal",
    ),
    Kind.CONNECTION_LOST: (f"{_PEERS}::test_no_gridftp_server",),
    Kind.TIMEOUT: (
        f"{_PEERS}::test_no_gridftp_server",
        f"{_PEERS}::test_nonsense_after_the_login",
    ),
    Kind.PROTOCOL: (
        f"{_PEERS}::test_no_gridftp_server",
        f"{_PEERS}::test_nonsense_after_the_login",
    ),
    Kind.ADDRESS_REFUSED: (f"{_PEERS}::test_passive_address_of_a_third_host",),
    Kind.UNKNOWN: (f"{_CODES}::test_a_server_refuses_a_file",),
}
"""Where a server must do what no real one can be made to."""

COLUMNS = (
    "kind",
    "event code",
    "scope",
    "phase",
    "class",
    "who can fix it",
    "tried again",
    "advice",
    "test",
)
_UNTIL = {
    Consequence.FAIL_TASK: "never",
    Consequence.SUSPEND_TASK: "when renewed",
    Consequence.RETRY_FILE: "the file, until the deadline",
    Consequence.RETRY_TASK: "the task, until the deadline",
}


def render_faults() -> str:
    """A row for each kind of failure between us and a server."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join(['---'] * len(COLUMNS))} |"]
    for kind in Kind:
        error = GridFTPError(kind, "", "")
        source, destination = (
            judge(error, Phase.DATA, at_source=at_source) for at_source in (True, False)
        )
        assert source.event.code == destination.event.code
        cells = [
            f"`{kind}`",
            f"`{source.event.code}`",
            error.scope,
            error.phase or "any",
            error.fault_class,
            " or ".join(error.fixers),
            _until(source, destination),
            error.advice,
            _tests(kind),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _until(source: Verdict, destination: Verdict) -> str:
    here, there = _UNTIL[source.consequence], _UNTIL[destination.consequence]
    return here if here == there else f"at the source {here}; at the destination {there}"


def _tests(kind: Kind) -> str:
    real = [f"`{test}`" for test in REAL.get(kind, ())]
    doubles = [f"`{test}` (a double)" for test in DOUBLES.get(kind, ())]
    return ", ".join(real + doubles)
