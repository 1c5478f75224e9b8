"""Weights come in by digest, or not at all."""

from __future__ import annotations

import hashlib
import pickle
import socket

import pytest
import torch

from hdit_repro.errors import UserError
from hdit_repro.metrics import weights
from hdit_repro.metrics.extractors import build_extractor
from hdit_repro.spec.evaluation import EfficientNetLite0, Inception2015


def know(monkeypatch, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = weights.KnownWeights("small.pth", digest, "https://example.org/small.pth", "MIT")
    monkeypatch.setitem(weights.KNOWN, "small", known)


@pytest.fixture
def small(tmp_path, monkeypatch):
    path = tmp_path / "download.pth"
    torch.save({"a": torch.arange(3.0)}, path)
    know(monkeypatch, path)
    return path


def test_the_published_digest():
    known = weights.KNOWN["inception-2015"]
    assert len(known.sha256) == 64
    assert known.sha256.startswith("6726825d")
    assert known.url.endswith(known.file)


@pytest.mark.parametrize("name", [None, "small"])
def test_add_locate_load_list(cache, small, name):
    assert [row.present for row in weights.listing() if row.name == "small"] == [False]
    path = weights.add(small, name)
    assert weights.locate("small") == path == cache / "weights" / "small.pth"
    assert torch.equal(weights.load("small")["a"], torch.arange(3.0))
    assert [row.present for row in weights.listing() if row.name == "small"] == [True]
    before = path.stat().st_ino
    assert weights.add(small, name) == path
    assert path.stat().st_ino == before


def test_a_wrong_digest_writes_nothing(cache, small, tmp_path):
    other = tmp_path / "other.pth"
    other.write_bytes(small.read_bytes() + b"x")
    for name in (None, "small"):
        with pytest.raises(UserError, match="not the published weights"):
            weights.add(other, name)
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(UserError, match="no file of weights"):
            weights.add(path)
    with pytest.raises(UserError, match="no set of weights called 'smal'"):
        weights.add(small, "smal")
    assert not cache.exists()


def test_damage_in_the_cache_is_found_and_mended(cache, small):
    path = weights.add(small)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged"):
        weights.load("small")
    weights.add(small)
    assert list(weights.load("small")) == ["a"]


class Touch:
    """Pickled code that would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_offline_no_connection_is_opened(cache, monkeypatch):
    """Neither where it is asked for, nor by anything that looks for weights."""

    def connect(*args, **kwargs):
        raise AssertionError("a connection is opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setenv("HDIT_REPRO_OFFLINE", "1")
    with pytest.raises(UserError, match="offline") as caught:
        weights.fetch("https://example.org/small.pth")
    assert "weights add PATH" in caught.value.fix
    with pytest.raises(UserError, match="missing"):
        weights.load("inception-2015")
    build_extractor(EfficientNetLite0(), torch.device("cpu"))
    for no in ("0", "False", "off", ""):
        monkeypatch.setenv("HDIT_REPRO_OFFLINE", no)
        with pytest.raises(AssertionError, match="a connection"):
            weights.fetch("https://example.org/small.pth")
    assert not list(cache.rglob("small*"))


def test_every_set_of_weights_names_its_licence():
    assert all(known.licence for known in weights.KNOWN.values())


def test_code_in_a_file_is_not_run(cache, tmp_path, monkeypatch):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"a": Touch(trace)}, protocol=2))
    know(monkeypatch, path)
    weights.add(path)
    with pytest.raises(UserError, match="no tensors"):
        weights.load("small")
    assert not trace.exists()


def test_missing_inception_names_the_command(cache):
    with pytest.raises(UserError, match="missing") as caught:
        build_extractor(Inception2015())
    assert "hdit-repro weights add PATH" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not cache.exists()
