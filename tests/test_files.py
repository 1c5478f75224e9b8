"""Files are whole or absent; locks end with their process; keys are what they were."""

import errno
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.errors import RunError, UserError, pick
from hdit_repro.files import (
    atomic_file,
    atomic_path,
    cache_folder,
    is_locked,
    lock,
    read_json,
    sha256_file,
    sync,
    write_json,
    write_text,
)
from hdit_repro.seeds import derive


def test_a_file_appears_whole(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "hello")
    assert (tmp_path / "deep" / "a.txt").read_text() == "hello"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")

    def half():
        with atomic_file(tmp_path / "a") as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="no space") as caught:
        write_text(tmp_path / "a", "new")
    assert caught.value.exit_code == 1
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("work", "words"),
    [(read_json, "Input/output error"), (sha256_file, "Input/output error"), (sync, "Invalid argument")],
)
def test_an_open_file_that_the_system_refuses_to_read_or_to_sync_is_named(tmp_path, work, words):
    """The system's own words name none. Of the process's memory no byte can be read at its beginning."""
    (tmp_path / "bad").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match=f"{words}: '{tmp_path / 'bad'}'"):
        work(tmp_path / "bad")


def test_json_refuses_nan_and_names_a_damaged_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text('{"x": 1')
    with pytest.raises(UserError, match=r"b\.json"):
        read_json(tmp_path / "b.json")
    with pytest.raises(UserError, match="missing"):
        read_json(tmp_path / "c.json")


@pytest.mark.parametrize(
    "text",
    [
        '{"x": NaN}', '{"x": [-Infinity]}', "[" * 100_000, '{"a":' * 100_000, "9" * 5_000,
        r'["\ud800"]', r'{"\uDFFF": 1}',
    ],
)  # fmt: skip
def test_what_python_reads_and_json_is_not_and_what_is_too_deep_is_damage(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a file is damaged\n.*a\.json"):
        read_json(tmp_path / "a.json")


def test_sha256_of_nothing(tmp_path):
    (tmp_path / "a").touch()
    assert sha256_file(tmp_path / "a") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_lock_is_seen_and_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    code = f"""
import time
from hdit_repro.files import lock
with lock({str(path)!r}):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(path)
        with lock(path, wait=False) as held:
            assert not held
        holder.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_locked(path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with lock(path) as held:
        assert held


def test_locks_are_opened_as_a_file_system_of_the_network_wants_them(tmp_path, monkeypatch):
    """NFS makes record locks of them: a shared one needs a file open for reading, an exclusive one for writing."""
    monkeypatch.setattr(fcntl, "flock", lambda file, kind: fcntl.lockf(file, kind))
    (tmp_path / "lock").touch()
    assert not is_locked(tmp_path / "lock")
    for wait in (True, False):
        with lock(tmp_path / "lock", wait=wait) as held:
            assert held


def test_who_only_looks_does_not_keep_a_lock_from_anybody(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    with open(path, "rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.05, looking.close).start()
        with lock(path, wait=False) as held:
            assert held


def test_a_file_has_the_mode_of_the_umask_which_is_never_touched(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to all threads"))
        write_text(tmp_path / "plain", "x")
        with atomic_path(tmp_path / "by-name") as temporary:
            temporary.unlink()
            temporary.touch(mode=0o600)
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("plain", "by-name")] == [0o640, 0o640]


def test_a_file_that_takes_anothers_place_has_its_mode(tmp_path):
    """What a group shares is shared still after a command under a narrow umask."""
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "shared", "x")
        (tmp_path / "shared").chmod(0o664)
        write_text(tmp_path / "shared", "y")
        (tmp_path / "program").touch()
        (tmp_path / "program").chmod(0o4755)
        write_text(tmp_path / "program", "y")
    finally:
        os.umask(before)
    assert (tmp_path / "shared").stat().st_mode & 0o7777 == 0o664
    assert (tmp_path / "program").stat().st_mode & 0o7777 == 0o755, "nobody runs it as whoever wrote it now"


def test_weights_of_a_user_without_a_home_want_a_folder(monkeypatch):
    for name in ("HDIT_REPRO_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)  # a number without a name, as in a container
    with pytest.raises(UserError, match="no folder to keep weights") as refusal:
        cache_folder()
    assert refusal.value.fix == "export HDIT_REPRO_CACHE=FOLDER"
    monkeypatch.setenv("XDG_CACHE_HOME", "/here")
    assert str(cache_folder()) == "/here/hdit-repro"


def test_errors_show_all_four_parts_and_survive_pickling():
    error = RunError("no", found="a", expected="b", fix="c")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "no\n  found     a\n  expected  b\n  fix       c"
    assert (type(again), again.exit_code) == (RunError, 1)


def test_pick_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'beta'"):
        pick({"alpha": 1, "beta": 2}, "betta", kind="letter")


def test_seeds_stay_what_they_are():
    assert derive(0, 0, "draw") == 1642280543545489978
    assert derive(12, 3, "draw") == 1586084875826855762, "the seed comes before the number"
    assert derive(-1, 2**40, "order") == 5858007221640457431
    assert derive(0, 0, "draw") != derive(0, 0, "order") != derive(0, 1, "order")


@given(st.integers(), st.integers(), st.sampled_from(["draw", "sample"]))
def test_seeds_are_64_bits(seed, number, purpose):
    assert 0 <= derive(seed, number, purpose) < 2**64
