"""One file from the network to one path on the disk: resumed, bounded, checked, and there all at once or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

BLOCK = 1 << 16
SLOWEST = 1024  # bytes a second; a server that stays below it for a whole timeout has stalled


class FetchError(RuntimeError):
    """No mirror delivered the file; `tried` holds a (url, reason) pair for each of them."""

    def __init__(self, target: Path, tried: Sequence[tuple[str, str]]):
        self.target, self.tried = target, list(tried)
        lines = [f"  {url}: {reason}" for url, reason in self.tried] or ["  (no mirror is known)"]
        super().__init__("\n".join([f"could not download {target.name}:", *lines]))


class _Failure(Exception):
    """One attempt at one mirror failed; `again` says whether the same mirror deserves another."""

    def __init__(self, reason: str, again: bool = False):
        super().__init__(reason)
        self.again = again


def fetch(
    urls: Sequence[str],
    target: str | os.PathLike,
    *,
    checksum: str,
    limit: int,
    timeout: float = 20.0,
    attempts: int = 3,
    pause: float = 0.5,
) -> Path:
    """Download the first of `urls` that delivers the right bytes, and return `target`.

    The bytes gather in `.<name>.part` beside the target. An interrupted download goes on from there, with this mirror
    or the next, where the server grants HTTP ranges. Only when the checksum is right is the part renamed to the target, so
    whoever sees the target sees all of it. Two processes after the same file take turns: the second finds it done.

    Args:
        urls: the mirrors, best first.
        target: where the file goes; its folder is made if need be.
        checksum: `"sha256:<hex>"` or `"md5:<hex>"`.
        limit: the most bytes to take from a server.
        timeout: seconds without an answer, or below 1 KiB a second, after which a server has stalled.
        attempts: tries for each mirror; a refusal (404, no such host, wrong bytes) is final at once.
        pause: seconds before the second try, doubled before each further one.

    Raises:
        FetchError: no mirror delivered; each is listed with its reason.
        OSError: the folder cannot be written (read-only, or the disk is full); what has arrived is kept.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_name(f".{target.name}.lock")) as held:
        if target.exists() and matches(target, checksum):
            return target
        # Without a lock (some network disks have none) a name of our own keeps two writers apart; it cannot be resumed.
        part = target.with_name(f".{target.name}.part" if held else f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            _gather(urls, part, target, checksum, limit, timeout, attempts, pause)
            os.replace(part, target)
        finally:
            if not held:
                part.unlink(missing_ok=True)
    return target


def matches(path: Path, checksum: str) -> bool:
    """Whether the file has the checksum `"<algorithm>:<hex>"`."""
    algorithm, _, expected = checksum.partition(":")
    return digest(path, algorithm) == expected


def digest(path: Path, algorithm: str) -> str:
    """The file's hash in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _gather(urls, part, target, checksum, limit, timeout, attempts, pause) -> None:
    """Fill `part` with the right bytes from any mirror."""
    if part.exists() and matches(part, checksum):
        return  # killed between the last byte and the rename
    tried: list[tuple[str, str]] = []
    with _progress(target.name) as show:
        for url in urls:
            for attempt in range(attempts):
                if attempt:
                    time.sleep(pause * 2 ** (attempt - 1))
                try:
                    return _attempt(url, part, checksum, limit, timeout, show)
                except _Failure as failure:
                    reason = f"{failure} (tried {attempt + 1} times)" if attempt else str(failure)
                    if not failure.again:
                        break
            tried.append((url, reason))
    raise FetchError(target, tried)


def _attempt(url: str, part: Path, checksum: str, limit: int, timeout: float, show: Callable[[int, int | None], None]):
    """One request: append to `part` what it lacks, then check the whole."""
    have = part.stat().st_size if part.exists() else 0
    response = _open(url, have, part, timeout)
    with response:
        resumed = response.status == 206
        have, total = (have, _total(response, have)) if resumed else (0, _length(response))
        if resumed and total is None:
            part.unlink(missing_ok=True)
            raise _Failure("answered another range than was asked for", again=True)
        if total is not None and total > limit:
            raise _Failure(f"offers {total:,} bytes where at most {limit:,} were expected")
        with open(part, "ab" if resumed else "wb") as out:
            for block in _blocks(response, timeout):
                out.write(block)
                have += len(block)
                if have > limit:
                    break
                show(have, total)
            out.flush()
            os.fsync(out.fileno())
    if have > limit:
        part.unlink(missing_ok=True)
        raise _Failure(f"sends more than the {limit:,} bytes that were expected")
    if total is not None and have < total:
        raise _Failure(f"broke off after {have:,} of {total:,} bytes", again=True)
    if not matches(part, checksum):
        part.unlink(missing_ok=True)
        # A resumed file may be two halves that do not belong together; a whole one that is wrong will be wrong again.
        raise _Failure("the bytes it sends have the wrong checksum", again=resumed)


def _open(url: str, have: int, part: Path, timeout: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": "cenote-datasets", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    # Only http and https: a redirect to file: or ftp: finds no handler. Proxies come from the environment, as usual.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # our part is longer than their file
            part.unlink(missing_ok=True)
            raise _Failure("has no such range", again=True) from None
        busy = error.code in (408, 425, 429) or error.code >= 500
        raise _Failure(f"HTTP {error.code} {error.reason}", again=busy) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) if isinstance(error, urllib.error.URLError) else error
        hopeless = isinstance(cause, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError | str)
        unreachable = isinstance(error, urllib.error.URLError) and isinstance(cause, TimeoutError)
        raise _Failure(_words(cause, timeout), again=not (hopeless or unreachable)) from None


def _blocks(response: http.client.HTTPResponse, timeout: float) -> Iterator[bytes]:
    """The body as it arrives; a body that only drips counts as stalled, like one that has stopped."""
    mark, arrived = time.monotonic(), 0
    while True:
        try:
            block = response.read1(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Failure(_words(error, timeout), again=True) from None
        if not block:
            return
        yield block
        arrived += len(block)
        if (now := time.monotonic()) - mark > timeout:
            if arrived < SLOWEST * timeout:
                raise _Failure(f"stalled: {arrived:,} bytes in {timeout:g} s", again=True)
            mark, arrived = now, 0


def _length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _total(response: http.client.HTTPResponse, have: int) -> int | None:
    """Size of the whole file if the answer is the range that begins at `have`, otherwise None."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[3]) if found and int(found[1]) == have else None


def _words(error: object, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"stalled: no answer for {timeout:g} s"
    if isinstance(error, socket.gaierror):
        return "the host name was not found (no network?)"
    if isinstance(error, http.client.IncompleteRead):
        return "broke off"
    return str(error) or type(error).__name__


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A callable (bytes so far, bytes in all or None) that draws a bar on a terminal and is silent anywhere else."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda have, total: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    columns = *Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"download {name}", total=None)
        yield lambda have, total: bar.update(task, completed=have, total=total)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold the lock file: True when held, False where the disk knows no locks. It ends with its process."""
    with open(path, "ab") as file:
        try:
            while not _take(file):
                time.sleep(0.05)
        except OSError:
            yield False
            return
        yield True  # closing the file frees the lock


def _take(file) -> bool:
    """Try for the lock once; OSError where locks do not work."""
    try:
        import fcntl
    except ImportError:
        import msvcrt  # Windows

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
