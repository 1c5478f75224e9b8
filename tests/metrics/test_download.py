"""Weights over the network, from a server on this machine: whole, or a taught error and nothing left behind."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from errno import ENOSPC

import pytest

from hdit_repro.cli import main
from hdit_repro.errors import RunError, UserError
from hdit_repro.metrics import download, weights

DATA = bytes(range(256)) * 40_000  # ten parts of a mebibyte


class Server(http.server.BaseHTTPRequestHandler):
    """What is served depends on the path alone."""

    def do_GET(self):
        type(self).asked.append(self.path)
        length = {"/nothing-said": None, "/nonsense": "many"}.get(self.path, str(len(DATA)))
        if self.path == "/absent":
            return self.send_error(404)
        if self.path == "/gone":
            return None
        if self.path == "/no-http":
            return self.wfile.write(b"what is this\r\n\r\n")
        self.send_response(302 if self.path == "/elsewhere" else 200)
        if self.path == "/elsewhere":
            self.send_header("Location", "/file")
            length = "0"
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
        elif length:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.path == "/chunks":
            self.wfile.write(b"100000\r\n" + DATA[:100])
        elif self.path == "/cut":
            self.wfile.write(DATA[: len(DATA) // 2])
        elif self.path == "/other":
            self.wfile.write(DATA[::-1])
        elif self.path != "/elsewhere":
            self.wfile.write(DATA)
        return None

    def log_message(self, *_):
        pass


class Unmoved(http.server.ThreadingHTTPServer):
    """Says nothing of clients that leave in the middle."""

    def handle_error(self, *_):
        pass


@pytest.fixture
def address(tmp_path, monkeypatch):
    """A server; plain HTTP is let through, for a test's server has no certificate."""
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(weights.OFFLINE_VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(weights, "SCHEMES", ("http",))
    monkeypatch.setattr(Server, "asked", [], raising=False)
    server = Unmoved(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    place = f"http://127.0.0.1:{server.server_port}"
    known = weights.KnownWeights("small.pth", hashlib.sha256(DATA).hexdigest(), f"{place}/published", "MIT")
    monkeypatch.setitem(weights.KNOWN, "small", known)
    yield place
    server.shutdown()
    thread.join()
    server.server_close()


def left(address):
    """What lies in the cache beside locks."""
    return sorted(path.name for path in weights.folder().glob("*") if path.suffix != ".lock")


@pytest.mark.parametrize("path", ["/file", "/elsewhere", "/nothing-said", "/nonsense"])
def test_the_published_file(address, path):
    told = []
    found = weights.fetch(address + path, progress=lambda done, total: told.append((done, total)))
    assert found == weights.locate("small")
    assert found.read_bytes() == DATA
    assert found.stat().st_mode & 0o077 == 0o666 & ~current_umask() & 0o077
    assert left(address) == ["small.pth"]
    assert [done for done, _ in told] == [*range(1 << 20, len(DATA), 1 << 20), len(DATA)]
    assert {total for _, total in told} == {len(DATA) if path in ("/file", "/elsewhere") else 0}


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/absent", "404"),
        ("/gone", "closed connection"),
        ("/no-http", "what is this"),
        ("/cut", f"broke off after {len(DATA) // 2:,} of {len(DATA):,} bytes"),
        ("/chunks", "broke off"),
    ],
)
def test_what_cannot_be_had_whole_is_a_failed_run(address, path, said):
    with pytest.raises(RunError, match="could not be fetched") as caught:
        weights.fetch(address + path)
    assert said in caught.value.found
    assert address + path in caught.value.found
    assert left(address) == []


def test_no_server_answers(address):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RunError, match="could not be fetched") as caught:
        weights.fetch(f"http://127.0.0.1:{port}/file")
    assert "weights add PATH" in caught.value.fix


def test_another_file_names_the_address_and_not_where_it_lay(address):
    with pytest.raises(UserError, match="not the published weights") as caught:
        weights.fetch(address + "/other")
    assert address + "/other" in caught.value.found
    assert str(weights.folder()) not in caught.value.found
    with pytest.raises(UserError, match="not the published weights") as caught:
        weights.fetch(address + "/file", "inception-2015")
    assert caught.value.expected.startswith(weights.KNOWN["inception-2015"].file)
    assert left(address) == []


def test_what_is_known_to_be_wrong_opens_no_connection(address):
    with pytest.raises(UserError, match="no set of weights called 'smal'"):
        weights.fetch(address + "/file", "smal")
    wrong = ["http://", "http://[bad", "http://host:x/a", address + "/a b", address + "/gööd", "ftp://host/a", "file"]
    for url in wrong:
        with pytest.raises(UserError, match="no address") as caught:
            weights.fetch(url)
        assert caught.value.found == url
    assert Server.asked == []


def test_plain_http_is_refused_as_shipped(tmp_path, monkeypatch):
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path))
    monkeypatch.delenv(weights.OFFLINE_VARIABLE, raising=False)
    with pytest.raises(UserError, match="no address") as caught:
        weights.fetch("http://127.0.0.1:1/file")
    assert "https://" in caught.value.expected


def test_what_is_there_is_not_fetched_again(address):
    weights.fetch(address + "/file")
    assert weights.fetch(address + "/file", "small") == weights.fetch(address + "/published")
    assert Server.asked == ["/file"]
    path = weights.locate("small")
    path.write_bytes(DATA[:-1])
    weights.fetch(address + "/published")
    assert path.read_bytes() == DATA
    assert Server.asked == ["/file", "/published"]


KILLED = """
import os, signal, sys
from hdit_repro.metrics import weights
weights.SCHEMES = ("http",)
weights.fetch({url!r}, progress=lambda done, total: os.kill(os.getpid(), signal.{signal}))
"""


@pytest.mark.parametrize(("signal", "leaves"), [("SIGKILL", True), ("SIGTERM", True), ("SIGINT", False)])
def test_ended_in_the_middle_and_run_again(address, signal, leaves):
    """What a kill leaves is overwritten: the cache does not fill with parts of files."""
    code = KILLED.format(url=address + "/file", signal=signal)
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode != 0
    assert left(address) == ([".fetch.partial"] if leaves else [])
    weights.fetch(address + "/file")
    assert left(address) == ["small.pth"]


def test_a_full_disk_says_so(address, monkeypatch):
    class Full(io.FileIO):
        def write(self, part):
            raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "open", Full, raising=False)
    with pytest.raises(RunError, match="no space left") as caught:
        weights.fetch(address + "/file")
    assert "free some space" in caught.value.fix
    assert left(address) == []


def test_the_command_tells_how_far_it_is(address, capsys):
    assert main(["weights", "add", "--url", address + "/file"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(weights.locate("small"))
    lines = said.err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "1.0 of 10.2 MB"
    assert lines[-1] == "10.2 of 10.2 MB"
    shutil.rmtree(weights.folder())
    assert main(["weights", "add", "--url", address + "/cut"]) == 1
    assert "broke off" in capsys.readouterr().err
    assert main(["weights", "add", "--url", address + "/other"]) == 2
