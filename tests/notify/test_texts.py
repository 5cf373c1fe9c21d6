"""What mails say, and what nobody can make them say."""

from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.notify.texts import Place, amount, letter
from towpath.platform.mail import compose
from towpath.timers.store.outbox import INACTIVE
from towpath.transfer.store.outbox import Topic

PLACE = Place("Towpath", "https://towpath.test")
TASK: dict[str, Any] = {
    "task_id": "6f0c1f9a-5d4b-4c0f-9d5b-0e4a2f7c3e11",
    "type": "TRANSFER",
    "status": "FAILED",
    "label": "run 7",
    "request_time": "2026-10-31T16:00:00+00:00",
    "completion_time": "2026-10-31T17:00:00+00:00",
    "deadline": "2026-11-01T16:00:00+00:00",
    "source_endpoint_display_name": "lake",
    "destination_endpoint_display_name": "archive",
    "files": 40,
    "files_skipped": 2,
    "files_transferred": 12,
    "bytes_transferred": 1_234_567_890,
    "skipped_errors": 0,
    "faults": 3,
    "fatal_error": {"code": "NO_SPACE_LEFT", "description": "no space left"},
    "details": {
        "error": "The disk is full.",
        "path": "/archive/run7/a.h5",
        "server_said": "552 No space left on device",
        "advice": "Make room, or choose another place.",
    },
}


def test_a_failure_says_what_where_and_what_to_do() -> None:
    said = letter(Topic.TASK_FAILED, TASK, PLACE)
    assert said.subject == "[Towpath] Failed: run 7"
    for words in (
        "The disk is full. (NO_SPACE_LEFT)",
        "/archive/run7/a.h5",
        "552 No space left on device",
        "12 files, 1.23 GB, transferred. 2 files needed no copy. 3 faults on the way.",
        "What you can do: Make room, or choose another place.",
        "https://towpath.test/activity/6f0c1f9a-5d4b-4c0f-9d5b-0e4a2f7c3e11",
        "notify_on_failed",
    ):
        assert words in said.text


@pytest.mark.parametrize(
    ("topic", "changes", "subject", "words"),
    [
        (Topic.TASK_SUCCEEDED, {}, "Done: run 7", "is done."),
        (Topic.TASK_SUCCEEDED, {"skipped_errors": 3}, "Done: run 7", "had to be left out"),
        (Topic.TASK_SUCCEEDED, {"label": None}, "Done: lake to archive", "is done."),
        (
            Topic.TASK_SUCCEEDED,
            {"type": "DELETE", "label": None},
            "Done: deletion at lake",
            "40 files deleted",
        ),
        (
            Topic.TASK_FAILED,
            {"fatal_error": {"code": "CANCELED"}, "details": None},
            "Canceled: run 7",
            "It was canceled.",
        ),
        (
            Topic.TASK_FAILED,
            {"fatal_error": {"code": "EXPIRED"}, "details": None},
            "Given up: run 7",
            "later deadline",
        ),
        (Topic.TASK_INACTIVE, {}, "Waits for you: run 7", "given up at 2026-11-01"),
        (
            Topic.CREDENTIAL_EXPIRING,
            {"endpoint_display_name": "lake", "expires_at": "2026-11-01", "unfinished_tasks": 1},
            "Your credential for lake ends soon",
            "ends at 2026-11-01. 1 task of yours will need it.",
        ),
        (
            INACTIVE,
            {
                "timer_id": "6f0c",
                "name": "nightly",
                "reason": "no\nconsent",
                "required_scopes": ["a"],
            },
            "Waits for you: the timer nightly",
            "no consent\n\nWhat it needs your consent for:\n  a\n\nWhat you can do: globus timer",
        ),
        (INACTIVE, {"timer_id": "6f0c"}, "Waits for you: the timer 6f0c", "It may not transfer"),
        ("something.new", {"subject": "Hear", "text": "a\nb"}, "Hear", "a\nb"),
    ],
)
def test_each_topic_has_its_words(
    topic: str, changes: dict[str, Any], subject: str, words: str
) -> None:
    said = letter(topic, TASK | changes, PLACE)
    assert said.subject == f"[Towpath] {subject}"
    assert words in said.text


def test_what_is_not_told_is_counted() -> None:
    assert (
        "41 more messages after this one were not sent"
        in letter(Topic.TASK_FAILED, TASK, PLACE, more=41).text
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (10**18, "1 EB")],
)
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text


OF_TIMERS = ("timer_id", "name", "reason", "required_scopes")
ANYTHING = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=80)
    | st.sampled_from(["\r\nBcc: x@y", "\udce9\0"]),
    lambda inner: st.dictionaries(st.sampled_from([*TASK, *TASK["details"], "code"]), inner),
    max_leaves=8,
)


@given(
    topic=st.sampled_from([*Topic, INACTIVE]),
    changes=st.dictionaries(
        st.sampled_from(
            [*sorted(set(TASK) - {"files", "files_transferred", "faults"}), *OF_TIMERS]
        ),
        ANYTHING,
    ),
)
def test_no_document_gets_a_header_in_or_makes_a_mail_that_cannot_be_sent(
    topic: str, changes: dict[str, Any]
) -> None:
    numbers = ("files_skipped", "bytes_transferred", "skipped_errors")
    changes = {name: value for name, value in changes.items() if name not in numbers}
    said = letter(topic, TASK | changes, PLACE)
    sent = bytes(compose("t@towpath.test", "ada@mill.example", said.subject, said.text))
    read = message_from_bytes(sent, policy=policy.default)
    assert set(read.keys()) == {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    }
    assert read["To"] == "ada@mill.example"
    assert max(len(line) for line in sent.splitlines()) < 998


@pytest.mark.parametrize("to", ["a@b\nBcc: c@d", "a@b, c@d", "<a@b>", ""])
def test_no_address_gets_another_one_in(to: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        compose("t@towpath.test", to, "x", "x")
