"""Folders of images: what is read, and what is refused or passed over."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from hdit_repro.data.names import HIDDEN, NO_IMAGE
from hdit_repro.data.store import FolderStore, ZipStore, open_store
from hdit_repro.errors import RunError, UserError
from hdit_repro.stages.imagesets import FileSet
from tests.data.test_store import make_folder, pixels, png, write


def test_folder_with_classes(tmp_path):
    files = {"n02/b.png": png(1), "n02/deep/c.png": png(2), "n01/z.PNG": png(0), "n02/notes.txt": b"x"}
    store = open_store(make_folder(tmp_path / "set", files))
    assert isinstance(store, FolderStore)
    assert store.names == ["n01/z.PNG", "n02/b.png", "n02/deep/c.png"]
    assert store.labels.tolist() == [0, 1, 1]
    assert store.label_names == ("n01", "n02")
    np.testing.assert_array_equal(store.image(1), pixels(1))


def test_folder_without_classes(tmp_path):
    root = make_folder(tmp_path / "set", {"00000/b.png": png(1), "01000/a.png": png(2)})
    assert open_store(root, labelled=False).labels is None
    flat = make_folder(tmp_path / "flat", {"b.png": png(1), "a.png": png(2)})
    assert open_store(flat).labels is None


def test_folder_digest_is_of_names_and_contents(tmp_path):
    first = open_store(make_folder(tmp_path / "a", {"x/1.png": png(1), "x/2.png": png(2)}))
    same = open_store(make_folder(tmp_path / "b", {"x/1.png": png(1), "x/2.png": png(2)}))
    swapped = open_store(make_folder(tmp_path / "c", {"x/1.png": png(2), "x/2.png": png(1)}))
    renamed = open_store(make_folder(tmp_path / "d", {"x/1.png": png(1), "x/3.png": png(2)}))
    assert first.digest == same.digest
    assert len({first.digest, swapped.digest, renamed.digest}) == 3


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(UserError, match="beside"):
        open_store(make_folder(tmp_path / "mixed", {"a/1.png": png(1), "2.png": png(2)}))
    with pytest.raises(UserError, match="no image"):
        open_store(make_folder(tmp_path / "none", {"a.txt": b""}))
    with pytest.raises(UserError, match="no such folder"):
        FolderStore(tmp_path / "absent")


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    make_folder(tmp_path / "outside", {"secret.png": png(1)})
    root = make_folder(tmp_path / "set", {"a/1.png": png(1)})
    (root / "a" / "2.png").symlink_to(tmp_path / "outside" / "secret.png")
    assert open_store(root).names == ["a/1.png"]


def test_a_damaged_file_of_a_folder_is_named(tmp_path):
    store = open_store(make_folder(tmp_path / "set", {"a/1.png": png(1)[:40]}))
    with pytest.raises(UserError, match=r"1\.png"):
        store.image(0)


def test_a_folder_of_links_out_of_it_says_why_it_holds_nothing(tmp_path):
    (tmp_path / "elsewhere.png").write_bytes(png(0))
    (tmp_path / "set").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "set" / "c.tif").write_bytes(b"")
    with pytest.raises(UserError, match="there is no image") as caught:
        open_store(tmp_path / "set")
    assert "2 files passed over, such as a.png (a link that leads nowhere, to a folder or out of" in str(caught.value)
    assert "1 file passed over, such as c.tif (no image by its name)" in str(caught.value)


def test_what_is_no_regular_file_is_passed_over_by_name(tmp_path):
    root = make_folder(tmp_path / "set", {"a/1.png": png(1)})
    os.mkfifo(root / "a" / "2.png")
    (root / "a" / "3.png").symlink_to("2.png")
    (root / "a" / "4.png").symlink_to("1.png")
    store = open_store(root)
    assert store.names == ["a/1.png", "a/4.png"]
    assert dict(store.skipped) == {
        "a/2.png": "a pipe, a device or a socket",
        "a/3.png": "a link that leads nowhere, to a folder or out of this one",
    }


def test_what_programs_hide_among_images_is_none_of_the_set(tmp_path):
    """macOS's `._1.png`, a notebook's `.ipynb_checkpoints`: images by their names, and no images of the set."""
    root = make_folder(tmp_path / "set", {"a/1.png": png(1), "b/2.png": png(2)})
    digest = FolderStore(root).digest
    hidden = {"a/._1.png": b"x", ".ipynb_checkpoints/3.png": png(3), "b/.c/d/4.png": png(4), "lost+found/5.png": png(5)}
    store = FolderStore(make_folder(root, hidden))
    assert store.names == ["a/1.png", "b/2.png"]
    assert store.label_names == ("a", "b")
    assert store.digest == digest
    assert [name for name, _ in store.skipped] == [".ipynb_checkpoints", "a/._1.png", "b/.c", "lost+found"]
    assert {reason for _, reason in store.skipped} == {HIDDEN}
    more = {"__MACOSX/a/._1.png": b"x", ".DS_Store": b"x"}
    packed = write(tmp_path / "set.zip", {"a/1.png": png(1), "b/2.png": png(2), **hidden, **more})
    assert ZipStore(packed).names == FileSet(packed).names == ["a/1.png", "b/2.png"]
    assert FileSet(packed).skipped == sorted(
        [(".DS_Store", NO_IMAGE), ("__MACOSX/a/._1.png", HIDDEN), *((name, HIDDEN) for name in hidden)]
    )


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(tmp_path, monkeypatch):
    root = make_folder(tmp_path / "set", {"a/1.png": png(1), "b/2.png": png(2), ".c/3.png": png(3)})
    whole = os.scandir

    def scandir(path):
        if os.path.basename(path) in ("b", ".c"):  # noqa: PTH119
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(RunError, match="cannot be listed") as caught:
        FolderStore(root)
    assert caught.value.found == f"{root / 'b'}: Permission denied"
