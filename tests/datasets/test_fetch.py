"""The downloader against a server that stalls, truncates, corrupts, redirects, and answers what it should not."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cenote.datasets import fetch as module
from cenote.datasets.fetch import FetchError, fetch

CONTENT = bytes(range(256)) * 400
QUICK = {"timeout": 0.3, "pause": 0.01}


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "file"


@pytest.fixture
def get(server, target):
    """Fetch from these manners of the server, in this order."""
    checksum = server.add("file", CONTENT)

    def get(*manners, **options):
        options = {"checksum": checksum, "limit": len(CONTENT), **QUICK, **options}
        return fetch([server.url(manner) for manner in manners], target, **options)

    return get


def part_of(target):
    return target.with_name(f".{target.name}.part")


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("manner", ["ok", "norange", "moved", "chunked", "flaky"])
def test_delivers(get, target, manner):
    assert get(manner) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir() if path.suffix == ".part"] == []


def test_md5_and_a_second_call_ask_nothing_again(get, server, target):
    md5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
    get("ok", checksum=md5)
    get("ok", checksum=md5)
    assert len(server.log) == 1


@pytest.mark.parametrize(
    ("manner", "reason", "requests"),
    [
        ("missing", "HTTP 404", 1),
        ("broken", "HTTP 500", 3),
        ("corrupt", "wrong checksum", 1),
        ("short", "broke off after 51,200 of 102,400", 3),
        ("silent", "stalled", 3),
        ("stalled", "stalled", 3),
        ("drip", "stalled", 3),
        ("huge", "at most 102,400", 1),
        ("endless", "more than the 102,400", 1),
        ("loop", "HTTP 302", None),
        ("local", "HTTP 302", 1),
    ],
)
def test_a_bad_mirror_is_named_and_the_next_one_delivers(get, server, target, manner, reason, requests):
    with pytest.raises(FetchError, match="could not download file") as failure:
        get(manner)
    ((url, why),) = failure.value.tried
    assert url == server.url(manner) and reason in why and url in str(failure.value)
    assert requests is None or len(server.asked(manner)) == requests
    assert not target.exists() and sum(sent for *_, sent in server.log) < 10_000_000
    get(manner, "ok", attempts=1)
    assert target.read_bytes() == CONTENT


def test_every_mirror_is_in_the_error(get, server):
    with pytest.raises(FetchError) as failure:
        get("missing", "corrupt", "broken")
    assert [url for url, _ in failure.value.tried] == [server.url(m) for m in ("missing", "corrupt", "broken")]


def test_no_server_and_no_such_host_are_final_and_quick(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begin = time.monotonic()
    with pytest.raises(FetchError) as failure:
        fetch(
            [f"http://127.0.0.1:{port}/file", "http://host.invalid/file", "gopher://host.invalid/file"],
            tmp_path / "file",
            checksum="md5:0",
            limit=1,
            pause=5,
        )
    reasons = [reason for _, reason in failure.value.tried]
    assert "refused" in reasons[0] and "host name was not found" in reasons[1] and "gopher" in reasons[2]
    assert time.monotonic() - begin < 5


def test_resumes_where_it_broke_off(get, server, target):
    get("truncated")  # each answer holds a third of the file
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.log] == [None, "bytes=34134-", "bytes=68268-"]
    wait_for(lambda: sum(sent for *_, sent in server.log) == len(CONTENT))  # the server may count after we have read


def test_resumes_an_earlier_run_from_another_mirror(get, server, target):
    with pytest.raises(FetchError):
        get("stalled", attempts=1)
    assert part_of(target).read_bytes() == CONTENT[:51200]
    get("missing", "ok")
    assert server.asked("ok") == [["/ok/file", "bytes=51200-", 51200]]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("manner", ["norange", "wrongrange"])
def test_a_server_without_honest_ranges_starts_over(get, server, target, manner):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:1000])
    get(manner)
    assert server.log[0][1] == "bytes=1000-"
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"other" * 99, CONTENT + b"more"], ids=["wrong", "too long"])
def test_a_part_of_another_file_is_dropped(get, server, target, part):
    target.parent.mkdir()
    part_of(target).write_bytes(part)
    get("ok")
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.log] == [f"bytes={len(part)}-", None]


def test_a_whole_part_needs_no_server(get, server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    get("broken")
    assert target.read_bytes() == CONTENT and server.log == []


def test_a_damaged_target_is_replaced_only_by_the_right_bytes(get, target):
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    with pytest.raises(FetchError):
        get("corrupt")
    assert target.read_bytes() == b"damaged"
    get("ok")
    assert target.read_bytes() == CONTENT


def test_the_target_appears_all_at_once(get, server, target):
    thread = threading.Thread(target=get, args=("gated",), kwargs={"timeout": 5})
    thread.start()
    wait_for(lambda: (part_of(target).exists() and part_of(target).stat().st_size == 51200) or not thread.is_alive())
    assert thread.is_alive() and not target.exists()
    server.go_on.set()
    thread.join()
    assert target.read_bytes() == CONTENT and not part_of(target).exists()


CHILD = """
import sys
from cenote.datasets.fetch import fetch
fetch([sys.argv[1]], sys.argv[2], checksum=sys.argv[3], limit=10**6, timeout=10)
"""


def child(server, manner, target):
    source = str(Path(module.__file__).parents[2])
    environ = os.environ | {"PYTHONPATH": source}
    checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    return subprocess.Popen([sys.executable, "-c", CHILD, server.url(manner), str(target), checksum], env=environ)


def test_two_processes_and_four_threads_download_once(get, server, target):
    processes = [child(server, "gated", target) for _ in range(2)]
    threads = [threading.Thread(target=get, args=("gated",), kwargs={"timeout": 10}) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: server.log)
    time.sleep(0.3)  # the others have had time to come and wait
    server.go_on.set()
    for thread in threads:
        thread.join()
    assert [process.wait(10) for process in processes] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert sum(sent for *_, sent in server.log) == len(CONTENT)


def test_a_killed_process_leaves_a_part_to_resume_and_no_lock(get, server, target):
    process = child(server, "gated", target)
    wait_for(lambda: part_of(target).exists() and part_of(target).stat().st_size == 51200)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    get("ok")
    assert server.asked("ok") == [["/ok/file", "bytes=51200-", 51200]]
    assert target.read_bytes() == CONTENT


def test_a_disk_without_locks_is_written_under_names_of_ones_own(get, server, target, monkeypatch):
    def refuse(file):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(module, "_take", refuse)
    threads = [threading.Thread(target=get, args=("gated",), kwargs={"timeout": 5}) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(list(target.parent.glob(".file.*.part"))) == 2)
    server.go_on.set()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert sorted(path.name for path in target.parent.iterdir()) == [".file.lock", "file"]


def test_a_folder_that_cannot_be_made(get, target):
    target.parent.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="exists"):
        get("ok")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(get, target):
    target.parent.mkdir(mode=0o555)
    with pytest.raises(PermissionError):
        get("ok")


def test_a_full_disk_keeps_what_has_arrived(get, server, target):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            get("ok")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not target.exists() and part_of(target).stat().st_size >= 60_000
    get("ok")
    assert target.read_bytes() == CONTENT and server.log[-1][1] is not None


def test_silent_off_a_terminal_and_a_bar_on_one(get, target, monkeypatch, capfd):
    get("ok")
    assert capfd.readouterr() == ("", "")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    target.unlink()
    get("ok")
    assert "download file" in terminal.getvalue() and "102.4" in terminal.getvalue()
