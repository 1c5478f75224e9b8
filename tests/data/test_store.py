"""Archives, and what archives and folders have in common: what is read, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from hdit_repro.data import archive as archive_module
from hdit_repro.data.names import like_classes
from hdit_repro.data.store import FolderStore, ZipStore, open_store
from hdit_repro.errors import RunError, UserError
from hdit_repro.stages.imagesets import FileSet


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)).save(buffer, format="PNG")
    return buffer.getvalue()


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data if isinstance(data, bytes) else json.dumps(data))
    return path


NAMES = [f"00000/img{i:08d}.png" for i in range(5)]
IMAGES = {name: png(i) for i, name in enumerate(NAMES)}
PAIRS = [[name, i % 3] for i, name in enumerate(NAMES)]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_images_and_labels(tmp_path, compression):
    document = {"labels": PAIRS[::-1], "label_names": ["a", "b", "c", "d"], "resolution": 8}
    path = write(tmp_path / "a.zip", {**dict(reversed(IMAGES.items())), "dataset.json": document}, compression)
    store = open_store(path)
    assert isinstance(store, ZipStore)
    assert len(store) == 5
    assert store.names == NAMES
    assert store.classes == 4
    assert store.label_names == ("a", "b", "c", "d")
    assert store.facts == {"resolution": 8}
    for i in range(5):
        np.testing.assert_array_equal(store.image(i), pixels(i))
        assert store.labels[i] == i % 3
    assert store.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("document", "labels"),
    [
        (PAIRS, [0, 1, 2, 0, 1]),
        ({"labels": PAIRS}, [0, 1, 2, 0, 1]),
        ([4, 3, 2, 1, 0], [4, 3, 2, 1, 0]),
        (None, None),
        ({"labels": None}, None),
    ],
)
def test_forms_of_labels(tmp_path, document, labels):
    store = ZipStore(write(tmp_path / "a.zip", {**IMAGES, "dataset.json": document}))
    assert (None if store.labels is None else store.labels.tolist()) == labels
    assert store.classes == (max(labels) + 1 if labels else 0)


def test_no_labels_at_all(tmp_path):
    store = ZipStore(write(tmp_path / "a.zip", IMAGES))
    assert store.labels is None
    assert store.classes == 0


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"labels": PAIRS[:-1]}, "img00000004.png"),
        ({"labels": [*PAIRS, ["other.png", 0]]}, "other.png"),
        ({"labels": [*PAIRS, ["../../etc/passwd", 0]]}, "passwd"),
        ({"labels": [*PAIRS[:-1], PAIRS[0]]}, "two labels"),
        ({"labels": [*PAIRS[:-1], [NAMES[4], -1]]}, "entry"),
        ({"labels": [*PAIRS[:-1], [NAMES[4], 0.5]]}, "entry"),
        ({"labels": [*PAIRS[:-1], [NAMES[4], 2_000_000_000]]}, "entry"),
        ({"labels": [1, 2]}, "2 labels"),
        ({"labels": PAIRS, "label_names": ["a", "b"]}, "class 2"),
        ({"labels": PAIRS, "label_names": {"0": "a", "1": "b", "2": "c"}}, "label_names {'0'"),
        ({"labels": PAIRS, "label_names": "abc"}, "label_names 'abc'"),
        ({"labels": PAIRS, "label_names": ["a", "b", "\ud800"]}, r"'\ud800'"),
        ({"labels": "abc"}, "str"),
        (b"{broken", "whole JSON"),
    ],
)
def test_labels_that_are_refused(tmp_path, document, word):
    with pytest.raises(UserError) as caught:
        ZipStore(write(tmp_path / "a.zip", {**IMAGES, "dataset.json": document}))
    assert word in str(caught.value)


@pytest.mark.parametrize("name", ["../out.png", "/abs.png", "a/../../b.png", "..\\b.png", "C:\\b.png"])
def test_climbing_members_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="leads out"):
        ZipStore(write(tmp_path / "a.zip", {**IMAGES, name: png(9)}))


def test_a_colon_in_a_name_leads_nowhere(tmp_path):
    """A time of day, and nothing is ever unpacked: a folder with that name is taken, and so is the zip made of it."""
    (tmp_path / "1:30.png").write_bytes(png(9))
    folder, packed = FolderStore(tmp_path), ZipStore(write(tmp_path / "a.zip", {"1:30.png": png(9)}))
    assert folder.names == packed.names == ["1:30.png"]


def test_a_damaged_member_is_named_and_the_others_are_read(tmp_path):
    path = write(tmp_path / "a.zip", IMAGES)
    with zipfile.ZipFile(path) as file:
        offset = file.getinfo(NAMES[2]).header_offset
    data = bytearray(path.read_bytes())
    data[offset + 30 + len(NAMES[2]) + 50] ^= 255
    path.write_bytes(data)
    store = ZipStore(path)
    with pytest.raises(UserError, match="damaged") as caught:
        store.image(2)
    assert NAMES[2] in str(caught.value)
    assert "checksum" in str(caught.value)
    np.testing.assert_array_equal(store.image(3), pixels(3))


def test_a_lost_header_is_named(tmp_path):
    path = write(tmp_path / "a.zip", IMAGES)
    data = bytearray(path.read_bytes())
    data[0:4] = b"\0\0\0\0"
    path.write_bytes(data)
    with pytest.raises(UserError, match="header"):
        ZipStore(path).image(0)


def test_a_deflated_bomb_is_cut_short(tmp_path):
    path = write(tmp_path / "a.zip", {"a.png": bytes(100_000)}, zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    size = (100_000).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (10).to_bytes(4, "little")))  # the directory now lies about the size
    with pytest.raises(UserError, match="11 bytes where 10 belong"):
        ZipStore(path).archive.read(0)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no zip", None])
def test_no_archive(tmp_path, data):
    path = tmp_path / "a.zip"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        open_store(path)
    assert str(path) in str(caught.value)


def test_another_kind_of_archive_is_not_to_be_got_again(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"\x1f\x8b a tar")
    with pytest.raises(UserError, match="unpack a tar first"):
        FileSet(path)


def test_an_archive_without_images_says_what_it_holds(tmp_path):
    with pytest.raises(UserError, match=r"1 file passed over, such as samples\.zip"):
        FileSet(write(tmp_path / "a.zip", {"samples.zip": b"PK"}))


DIRECTORY, LEAST_VERSION, START_OF_DIRECTORY = b"PK\x01\x02", 6, -6
"""The mark of a member in a zip's directory, and where in it, or from the file's end, its numbers lie."""


@pytest.mark.parametrize(("place", "number"), [(LEAST_VERSION, 255), (START_OF_DIRECTORY, 60_000)])
def test_a_damaged_directory_is_an_error_that_names_the_file(tmp_path, place, number):
    """Each made another exception of zipfile, or a position before the file's beginning."""
    path = write(tmp_path / "a.zip", {"a.png": png(1)})
    data = bytearray(path.read_bytes())
    start = data.index(DIRECTORY) + place if place > 0 else len(data) + place
    data[start : start + 2] = number.to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        ZipStore(path)
    assert str(path) in str(caught.value)


def test_a_member_beyond_any_file_is_refused(tmp_path):
    """The directory states its place in 64 bits, in an extra field."""
    path = write(tmp_path / "a.zip", {"a.png": png(1)})
    data = path.read_bytes()
    entry, end = data.index(DIRECTORY), data.rindex(b"PK\5\6")
    field = struct.pack("<HHQ", 1, 8, 1 << 63)
    fixed = bytearray(data[entry : entry + 46])
    fixed[30:32] = len(field).to_bytes(2, "little")
    fixed[42:46] = b"\xff" * 4
    last = bytearray(data[end:])
    last[12:16] = (end - entry + len(field)).to_bytes(4, "little")
    path.write_bytes(data[:entry] + fixed + b"a.png" + field + last)
    with pytest.raises(UserError, match="an archive is refused") as caught:
        ZipStore(path)
    assert "outside of any file" in str(caught.value)


def test_an_archive_that_the_system_refuses_is_not_said_to_be_damaged(tmp_path, monkeypatch):
    def refused(path):
        raise OSError(errno.EREMOTEIO, "Remote I/O error", str(path))

    monkeypatch.setattr(zipfile, "ZipFile", refused)
    with pytest.raises(RunError, match="cannot be read") as caught:
        ZipStore(tmp_path / "a.zip")
    assert caught.value.found == f"{tmp_path / 'a.zip'}: Remote I/O error"


def test_an_archive_that_the_system_refuses_to_read_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zip", IMAGES)
    store = ZipStore(path)

    def away(*_: int) -> bytes:
        raise OSError(errno.EREMOTEIO, "Remote I/O error")

    monkeypatch.setattr(os, "pread", away)
    with pytest.raises(RunError, match="cannot be read") as caught:
        store.image(2)
    assert caught.value.found == f"{NAMES[2]} in {path}: Remote I/O error"


def test_a_member_without_a_name_is_refused(tmp_path):
    path = write(tmp_path / "a.zip", {"a.png": png(1)})
    data = bytearray(path.read_bytes())
    lengths = data.index(DIRECTORY) + 28
    assert data[lengths : lengths + 6] == bytes([5, 0, 0, 0, 0, 0])  # of name, extra field and comment
    data[lengths], data[lengths + 4] = 0, 5
    path.write_bytes(data)
    with pytest.raises(UserError, match="it has no name"):
        ZipStore(path)


def test_a_cut_archive(tmp_path):
    path = write(tmp_path / "a.zip", IMAGES)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="no whole zip"):
        open_store(path)


def test_sizes_and_emptiness(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no image"):
        ZipStore(write(tmp_path / "empty.zip", {"readme.txt": b"hello"}))
    path = write(tmp_path / "a.zip", IMAGES)
    monkeypatch.setattr(archive_module, "MAX_MEMBER", 100)
    with pytest.raises(UserError, match="at most 100"):
        ZipStore(path)


def test_a_name_that_comes_twice(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", png(0))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.png", png(1))
    with pytest.raises(UserError, match="twice"):
        ZipStore(path)


def _sums(store, out):
    out.put([int(np.asarray(store.image(i)).sum()) for i in range(len(store))])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(tmp_path, method):
    store = ZipStore(write(tmp_path / "a.zip", IMAGES))
    wanted = [int(pixels(i).sum()) for i in range(5)]
    context = multiprocessing.get_context(method)
    if method == "spawn":  # a spawned worker gets the store pickled; importing this file there is not needed
        copy = pickle.loads(pickle.dumps(store))
        assert [int(np.asarray(copy.image(i)).sum()) for i in range(5)] == wanted
        return
    out = context.SimpleQueue()
    workers = [context.Process(target=_sums, args=(store, out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    got = [out.get() for _ in workers]
    for worker in workers:
        worker.join()
    assert got == [wanted, wanted]


def test_threads_read_the_same(tmp_path):
    store = ZipStore(write(tmp_path / "a.zip", IMAGES, zipfile.ZIP_DEFLATED))
    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(lambda i: int(np.asarray(store.image(i % 5)).sum()), range(100)))
    assert sums == [int(pixels(i % 5).sum()) for i in range(100)]


def make_folder(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_the_digest_follows_the_file(tmp_path):
    path = write(tmp_path / "a.zip", IMAGES)
    first = ZipStore(path).digest
    assert ZipStore(path).digest == first
    write(path, {**IMAGES, "b.png": png(7)})
    assert ZipStore(path).digest == hashlib.sha256(path.read_bytes()).hexdigest() != first


@pytest.mark.parametrize("kind", ["archive", "folder"])
@pytest.mark.parametrize("how", ["in place", "another file of its time"])
def test_a_remembered_digest_is_of_no_file_that_was_changed_since(tmp_path, kind, how):
    """Of the same size both times: what tells is the time of change where a file is written, its inode where it is
    replaced by one that keeps its time (as `cp -p` and `rsync -t` do)."""
    file = write(tmp_path / "a.zip", IMAGES) if kind == "archive" else make_folder(tmp_path / "a", IMAGES) / NAMES[0]
    opened = file if kind == "archive" else tmp_path / "a"
    before, state, data = open_store(opened).digest, file.stat(), bytearray(file.read_bytes())
    place = data.index(b"IDAT") + 20
    data[place] ^= 1
    if how == "in place":
        with open(file, "r+b") as handle:
            handle.write(data)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    else:
        (tmp_path / "other").write_bytes(data)
        os.utime(tmp_path / "other", ns=(state.st_atime_ns, state.st_mtime_ns))
        (tmp_path / "other").replace(file)
    assert open_store(opened).digest != before


def test_a_name_of_another_encoding_is_refused_by_name(tmp_path):
    root = make_folder(tmp_path / "set", {"1.png": png(1)})
    (root / os.fsdecode(b"caf\xe9.png")).write_bytes(png(2))
    with pytest.raises(UserError, match="not UTF-8") as caught:
        FolderStore(root)
    assert caught.value.found == r"caf\xe9.png"
    other = make_folder(tmp_path / os.fsdecode(b"\xe9"), {"1.png": png(1)})
    with pytest.raises(UserError, match="not UTF-8"):
        FolderStore(other)
    archive = write(tmp_path / os.fsdecode(b"\xe9.zip"), IMAGES)
    with pytest.raises(UserError, match="not UTF-8"):
        _ = ZipStore(archive).digest


def test_labels_that_lie_where_they_are_not_read_are_not_lost_unsaid(tmp_path):
    """An archive unpacked, whose folders count images and would pass for classes; and one packed a folder too deep."""
    root = make_folder(tmp_path / "set", IMAGES)
    (root / "dataset.json").write_text(json.dumps(PAIRS))
    with pytest.raises(UserError, match="read in an archive alone"):
        open_store(root)
    assert FileSet(root).names == open_store(root, labelled=False).names == NAMES
    deep = write(
        tmp_path / "deep.zip", {f"set/{name}": data for name, data in {**IMAGES, "dataset.json": PAIRS}.items()}
    )
    assert open_store(deep).unlabelled.startswith("its set/dataset.json is not read")


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["cat/1.png", "dog/1.png"], ["cat", "dog"]),
        (["pets/cat/1.png", "pets/dog/a/1.png", "pets/dog/2.png"], ["cat", "dog"]),
        (["00000/1.png", "00001/1.png"], []),
        (["1/1.png", "b/1.png"], ["1", "b"]),
        (["pets/1.png", "pets/2.png"], []),
        (["1.png", "cat/1.png", "dog/1.png"], []),
        (["pets/1.png", "pets/cat/1.png"], []),
        (["cat/1.png"], []),
    ],
)
def test_folders_of_a_zip_that_look_like_classes(names, folders):
    assert like_classes(names) == folders


def test_a_zip_says_that_its_folders_are_no_classes_unless_its_labels_are_stated(tmp_path, plain):
    root = plain(tmp_path / "set", each=1)
    files = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.png")}
    stores = []
    for number, more in enumerate(({}, {"dataset.json": b'{"labels": null}'})):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            for name, data in {**files, **more}.items():
                archive.writestr(name, data)
        stores.append(open_store(tmp_path / f"{number}.zip"))
    assert [store.classes for store in stores] == [0, 0]
    assert stores[0].unlabelled.startswith("its folders (n01, n02) are no classes: ")
    assert [stores[1].unlabelled, open_store(root).unlabelled, open_store(root).classes] == ["", "", 2]
