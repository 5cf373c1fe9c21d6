"""The bench room measures what it says, and tells no figure of a run that went wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from bench.__main__ import AREAS, main
from bench.measure import BenchError, Ran, Sample, measure, run_command, tree, tree_cpu_s
from bench.report import cpu_s, ratios
from bench.rig import SEED, Tree
from bench.rounds import WALL_S, Contest, Mover, Place, Plan, Ratio, Result, Room, hold
from click.testing import CliRunner

from towpath.demo.trees import TreeFile, make_tree

ROOT = Path(__file__).parents[2]
FILES = [TreeFile("a/one", 1000), TreeFile("two", 5)]
BURN = "import time\nwhile time.process_time() < 0.3: pass"
FORK_AND_BURN = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])"
TICKS_S = 0.04
"""A process's user and system time, and those of its ended children, are told in whole ticks."""
HOLD_MEMORY = "import time\nheld = b'x' * 100_000_000\ntime.sleep(0.3)"

FAR = [
    f"small_files_{count}_{side}_vs_{peer}_wan"
    for count in (500, 2000)
    for side in ("library", "command", "warm", "verified")
    for peer in ("guc", "guc_cc4", "tar")
]
GRIDFTP = {
    *FAR,
    "small_files_500_warm_vs_warm_tar_wan",
    "small_files_2000_warm_vs_warm_tar_wan",
    "small_files_vs_guc_wan",
    "small_files_vs_guc_cc4_wan",
    "small_files_vs_tar_wan",
    "listing_vs_guc_wan",
    "small_files_vs_guc",
    "small_files_command_vs_guc",
    "small_files_verified_vs_guc",
    "big_vs_guc",
    "verified_big_vs_guc_verify",
    "verified_big_vs_guc_verify_sha256",
    "verified_big_vs_guc_unverified",
    "tiny_file_vs_guc",
    "tiny_file_command_vs_guc",
    "listing_vs_guc",
}

DELETE = {
    f"delete_{ours}vs_{peer}"
    for ours, peer in (
        ("", "ssh_rm_wan"),
        ("", "gfal_rm_wan"),
        ("", "ssh_rm"),
        ("service_", "ssh_rm"),
        ("", "gfal_rm"),
        ("service_", "gfal_rm"),
    )
}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def sample(wall: float, cpu: float = 1.0) -> Sample:
    return Sample(wall, cpu / 2, cpu / 2, 0)


def writes(seed: int, files: list[TreeFile] = FILES) -> Mover:
    def move(to: Path) -> Sample:
        assert list(to.iterdir()) == []
        make_tree(to, files, seed)
        return sample(1.0)

    return move


def contest(ours: Mover, peer: Mover | None = None, name: str = "c") -> Contest:
    sides = {"ours": ours, "peer": peer or writes(SEED)}
    check = Tree(Path("nowhere"), FILES).check
    return Contest(name, sides, (Ratio(name, "ours", ("peer",)),), check)


@pytest.mark.long
def test_the_gridftp_area_works_and_ends_with_json() -> None:
    done = bench("gridftp", "--quick")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told) == GRIDFTP
    assert all(ratio > 0 for ratio in told.values())
    assert "mean nothing" in done.stderr


SERVER = {
    *(
        f"server_{part}_vs_gct{private}{alike}"
        for part in ("rate", "cpu")
        for private in ("", "_private")
        for alike in ("", "_p1", "_p4")
    ),
    "server_small_files_vs_gct",
    "server_small_files_cpu_vs_gct",
    "session_memory_vs_gct",
    "own_small_files_vs_guc_on_gct",
    "own_small_files_vs_tar",
    "own_verified_vs_unverified",
    "own_verified_vs_guc_verify_on_gct",
}


@pytest.mark.long
def test_every_area_works() -> None:
    done = bench("--quick", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    services = {"small_files_service_vs_guc", "big_verified_service_vs_guc_verify"}
    assert set(told) == GRIDFTP | services | DELETE | SERVER


def test_contests_are_chosen_by_name_and_the_library_is_profiled(tmp_path: Path) -> None:
    done = bench("gridftp", "--quick", "--only", "^tiny", "--profile", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "mean nothing" in done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told) == {"tiny_file_vs_guc", "tiny_file_command_vs_guc"}
    assert all(ratio > 0 for ratio in told.values())
    assert [path.name for path in tmp_path.iterdir()] == ["tiny_file-library.txt"]
    assert "function calls" in (tmp_path / "tiny_file-library.txt").read_text()


def test_no_contest_of_that_name() -> None:
    done = bench("gridftp", "--only", "sail")
    assert done.returncode == 2
    assert "--list" in done.stderr
    listed = bench("gridftp", "--only", "small", "--list")
    names = ["wan_small_files_500", "wan_small_files_2000", "small_files"]
    assert listed.stdout.split() == names


def test_a_contest_that_goes_wrong_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = True

    @contextmanager
    def nowhere(_room: Room) -> Iterator[None]:
        if closed:
            raise BenchError("it is closed")
        yield

    def good(name: str) -> Plan[None]:
        return Plan(name, 1, lambda _at: contest(writes(SEED), name=name))

    bad = Plan[None]("bad", 1, lambda _at: contest(writes(2), name="bad"))
    here = Place(lambda _room: nullcontext(), (good("one"), bad, good("two")))
    monkeypatch.setitem(AREAS, "gridftp", (Place(nowhere, (good("closed"),)), here))
    arguments = ["gridftp", "--quick", "--dir", str(tmp_path)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert json.loads(done.stdout.splitlines()[-1]) == {"one": 1.0, "two": 1.0}
    assert "closed: it is closed" in done.stderr
    assert "bad, ours: what arrived differs" in done.stderr
    assert "no figure for closed, bad" in done.stderr


@pytest.mark.long
def test_the_cost_of_sessions_is_measured() -> None:
    done = bench("sessions", "--quick")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["idle_sessions"], told["active_sessions"]) == (40, 6)
    assert all(figure > 0 for figure in told.values())
    assert 10_000 < told["idle_bytes_per_session"] <= told["active_bytes_per_session"] < 1_000_000


@pytest.mark.long
def test_the_cost_of_watching_is_measured() -> None:
    done = bench("live", "--quick")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["tasks"], told["listeners"]) == (10, 10)
    assert told["messages_per_s"] > 10


@pytest.mark.long
def test_the_cost_of_agents_is_measured() -> None:
    done = bench("relay", "--quick")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert told["agents"] == 50
    assert told["storm_failed_logins"] == 0
    assert told["storm_reports"] < 10
    assert told["joined_mb_s"] > told["asyncssh_mb_s"] > 1


@pytest.mark.long
def test_the_web_interface_is_measured() -> None:
    done = bench("gui", "--quick", "--only", "activity")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert told["activity_tasks"] == 10
    assert 0 < told["activity_browser_cpu_percent"] < 100
    assert told["activity_layout_shift"] < 0.1
    done = bench("gui", "--quick", "--only", "files")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["files_entries"] == 3000
    assert 50 < told["files_bundle_kilobytes"] < 400
    assert told["files_nodes"] < 10_000  # of 3,000 rows few are there
    nothing = bench("gui", "--quick", "--only", "sail")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "activity" in nothing.stderr


def test_some_areas_are_measured_alone() -> None:
    both = bench("sessions", "gridftp", "--quick")
    assert both.returncode == 2
    assert "alone" in both.stderr


@pytest.mark.parametrize("only", ["tokens", pytest.param("", marks=pytest.mark.long)])
def test_nexus_is_measured(only: str) -> None:
    done = bench("nexus", "--quick", "--only", only)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert all(figure > 0 for figure in told.values())
    assert told["token_check_warm_p50_ms"] < told["introspection_cold_p50_ms"]
    nothing = bench("nexus", "--quick", "--only", "sail")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "tokens" in nothing.stderr


@pytest.mark.long
def test_recovery_is_measured_for_all_sides() -> None:
    done = bench("recovery", "--quick", "--only", "server")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    sides = ("", "_guc", "_rclone")
    assert set(told) == {
        f"recovery_{figure}_server{side}" for figure in ("sent_ratio", "resume_s") for side in sides
    }
    assert all(1 <= told[f"recovery_sent_ratio_server{side}"] < 2 for side in sides)
    assert all(told[f"recovery_resume_s_server{side}"] > 0 for side in sides)


def test_an_unknown_area_is_refused() -> None:
    done = bench("sail")
    assert done.returncode == 2
    assert "gridftp" in done.stderr
    assert done.stdout == ""


def test_the_ratio_is_the_median_of_ratios_within_rounds() -> None:
    result = Result(contest(writes(SEED)))
    # a machine that becomes ten times slower half-way: the ratio of medians would be 20 or 0.2
    result.samples = {
        "ours": [sample(1), sample(1), sample(10)],
        "peer": [sample(2), sample(20, cpu=4), sample(20, cpu=8)],
    }
    (ratio,) = result.contest.ratios
    assert result.ratio(ratio, WALL_S) == 2
    assert result.ratio(ratio, cpu_s) == 4
    assert json.loads(ratios([result])) == {"c": 2.0}


def test_a_peer_is_taken_at_its_best_in_each_round() -> None:
    result = Result(contest(writes(SEED)))
    result.samples = {
        "ours": [sample(1), sample(1)],
        "plain": [sample(3, cpu=9), sample(8)],
        "many": [sample(5), sample(3, cpu=9)],
    }
    best = Ratio("k", "ours", ("plain", "many"))
    assert result.ratio(best, WALL_S) == 3
    assert result.ratio(best, cpu_s) == 9


def test_sides_take_turns_and_the_warm_up_does_not_count(tmp_path: Path) -> None:
    turns: list[str] = []

    def noting(side: str) -> Mover:
        def move(to: Path) -> Sample:
            turns.append(side)
            return writes(SEED)(to)

        return move

    lines: list[str] = []
    result = hold(contest(noting("A"), noting("B")), tmp_path, 2, warm_up=True, tell=lines.append)
    assert "".join(turns) == "ABABAB"
    assert {side: len(samples) for side, samples in result.samples.items()} == {
        "ours": 2,
        "peer": 2,
    }
    assert [line.split(":")[0] for line in lines] == ["c warm-up", "c 1/2", "c 2/2"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("warm_up", [True, False])
def test_wrong_contents_give_no_figure(tmp_path: Path, warm_up: bool) -> None:
    with pytest.raises(BenchError, match="c, ours: what arrived differs"):
        hold(contest(writes(2)), tmp_path, 1, warm_up=warm_up, tell=print)


def test_missing_files_of_the_peer_give_no_figure_in_any_round(tmp_path: Path) -> None:
    runs = iter([writes(SEED), writes(SEED, FILES[:1])])

    def peer(to: Path) -> Sample:
        return next(runs)(to)

    with pytest.raises(BenchError, match="c, peer: 1 files, 1000 bytes arrived of 2 files"):
        hold(
            contest(writes(SEED), peer),
            tmp_path,
            2,
            warm_up=False,
            tell=print,
        )


def test_cpu_of_ended_children_counts() -> None:
    ran = run_command([sys.executable, "-c", FORK_AND_BURN], os.environ)
    assert ran.cpu_s >= 0.3
    assert ran.wall_s >= 0.3
    server = subprocess.Popen(
        [sys.executable, "-c", f"{FORK_AND_BURN}\nprint(flush=True)\nsys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with server:
        assert server.stdout is not None
        assert server.stdin is not None
        server.stdout.readline()
        assert tree_cpu_s([server.pid]) >= 0.3 - TICKS_S
        server.stdin.close()
    with pytest.raises(BenchError, match="is gone"):
        tree_cpu_s([server.pid])


def test_memory_counts_unless_it_is_a_bystanders() -> None:
    def run() -> Ran:
        return run_command([sys.executable, "-c", HOLD_MEMORY], os.environ)

    # servers that other tests' fixtures keep running below this process
    others = tree(os.getpid())[1:]
    seen = measure(run, servers=(), bystanders=others)
    assert 100_000_000 <= seen.peak_bytes < 150_000_000
    bystander = subprocess.Popen(
        [sys.executable, "-c", "held = b'x' * 100_000_000\nprint(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with bystander:
        assert bystander.stdout is not None
        assert bystander.stdin is not None
        bystander.stdout.readline()
        seen = measure(
            lambda: run_command(["sleep", "0.2"], os.environ),
            servers=(),
            bystanders=(*others, bystander.pid),
        )
        bystander.stdin.write(b"\n")
        bystander.stdin.close()
    assert seen.peak_bytes < 50_000_000


def test_memory_of_a_child_not_yet_its_program_is_ours() -> None:
    held = b"x" * 200_000_000

    def run() -> Ran:
        return [run_command(["true"], os.environ) for _ in range(50)][-1]

    others = tree(os.getpid())[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.measure.SAMPLE_EVERY_S", 0)
        assert measure(run, servers=(), bystanders=others).peak_bytes < len(held) // 2


def test_a_command_that_fails_gives_no_figure() -> None:
    with pytest.raises(BenchError, match="ended with 1: No such thing"):
        run_command([sys.executable, "-c", "raise SystemExit('No such thing')"], os.environ)


@pytest.mark.long
def test_connect_is_measured_for_all_sides() -> None:
    done = bench("connect", "--quick", "--only", "near_gct_to_agent|far_agent_to_gct")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    figures = ("mb_s", *(f"vs_{peer}" for peer in ("ssh", "asyncssh")))
    assert set(told) == {
        f"connect_{way}{how}_{figure}"
        for way in ("near_gct_to_agent", "far_agent_to_gct")
        for how in ("", "_private")
        for figure in figures
    }
    assert all(figure > 0 for figure in told.values())
