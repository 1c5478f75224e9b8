"""A file over the network, whole or not at all. Called on a login node, by a command that says so; by no stage."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import CHUNK, needing_room

TIMEOUT = 60.0
"""Seconds without a byte after which it is given up."""

BY_HAND = "fetch the file on a machine with internet, then: hdit-repro weights add PATH"

Progress = Callable[[int, int], None]
"""Called with bytes that are there, and bytes in all (0 where the server does not say)."""


def check_address(url: str, schemes: tuple[str, ...]) -> None:
    """Refuse what is no address of one of the schemes, before a connection is opened.

    Raises:
        UserError: it is none.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, named = None, False
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts is None or not named or not plain or parts.scheme not in schemes:
        raise UserError(
            "this is no address that weights are fetched from",
            found=url,
            expected=f"{schemes[0]}://HOST/FILE, with spaces and what is no ASCII written as %XX",
            fix="fetch the file yourself, then: hdit-repro weights add PATH",
        )


def download(url: str, target: Path, progress: Progress) -> None:
    """Write what lies at `url` to `target`, in place of what is there.

    Raises:
        RunError: it cannot be reached, refuses, or ends before its length; or the disk is full.
    """
    with open(target, "wb") as file:
        try:
            source = urllib.request.urlopen(url, timeout=TIMEOUT)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is the answer, and holds the connection
            raise _failed(url, str(error) or type(error).__name__, BY_HAND) from error
        with source:
            _copy(url, source, file, target, progress)


def _copy(url: str, source: http.client.HTTPResponse, file: IO[bytes], target: Path, progress: Progress) -> None:
    said, done = source.headers.get("Content-Length") or "", 0
    length = int(said) if said.isdecimal() else 0
    while True:
        try:
            part = source.read(CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise _failed(url, f"it broke off after {done:,} bytes: {error}", "run the same command again") from error
        if not part:
            break
        with needing_room(target, "room for the whole file; what was there before is untouched"):
            file.write(part)
            file.flush()
        done += len(part)
        progress(done, length)
    if done < length:
        raise _failed(url, f"it broke off after {done:,} of {length:,} bytes", "run the same command again")


def _failed(url: str, found: str, fix: str) -> RunError:
    return RunError(
        "weights could not be fetched",
        found=f"{url}: {found}",
        expected="the published file at that address",
        fix=fix,
    )
