"""What data sets are prepared from: the layouts they are handed out in, and what is no source."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from hdit_repro.data.prepare import prepare
from hdit_repro.data.sources import open_source
from hdit_repro.data.store import ZipStore
from hdit_repro.errors import UserError
from hdit_repro.spec.data import DATASETS, DatasetFacts


def tar_of(path: Path, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def test_imagenet_as_folders_and_as_tars(tmp_path, monkeypatch, plain):
    """The real layouts, small: train/nXXXXXXXX/*.JPEG, a folder of class tars, and the tar of class tars."""
    classes = ("n01440764", "n01443537", "n02084071")
    monkeypatch.setitem(DATASETS, "imagenet", DatasetFacts(12, 3, 0))
    root = plain(tmp_path / "imagenet" / "train", classes, each=4, size=(40, 30), suffix="jpeg")
    for path in root.rglob("*.jpeg"):
        path.rename(path.with_suffix(".JPEG"))
    one = next(root.rglob("*_2.JPEG"))
    Image.open(one).convert("CMYK").save(one, "JPEG")
    tars = tmp_path / "tars"
    tars.mkdir()
    inner = {
        f"{name}.tar": tar_of(tars / f"{name}.tar", {p.name: p.read_bytes() for p in sorted((root / name).iterdir())})
        for name in classes[::-1]
    }
    whole = tmp_path / "ILSVRC2012_img_train.tar"
    tar_of(whole, inner)
    cards = []
    kaggle = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC" / "train"
    shutil.copytree(root, kaggle)
    for number, source in enumerate((tmp_path / "imagenet", root, tars, whole, tmp_path / "kaggle")):
        target = tmp_path / f"{number}.zip"
        cards.append(prepare(open_source(source, "imagenet"), target, 16, "adm", kind="imagenet"))
        assert target.read_bytes() == (tmp_path / "0.zip").read_bytes()
        assert ZipStore(target).label_names == classes
    assert len({card.content for card in cards}) == 1
    (root / "n01440764" / "n01440764_1.JPEG").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"n01440764_1\.JPEG"):
        prepare(open_source(root, "imagenet"), tmp_path / "bad.zip", 16, "adm", kind="imagenet")
    one.unlink()
    with pytest.raises(UserError, match="11 images, 3 classes"):
        prepare(open_source(root, "imagenet"), tmp_path / "bad.zip", 16, "adm", kind="imagenet")
    assert not list(tmp_path.glob("*bad*"))


def test_ffhq_as_a_folder_and_as_a_zip(tmp_path, monkeypatch, plain):
    monkeypatch.setitem(DATASETS, "ffhq", DatasetFacts(6, 0, 1024))
    root = plain(tmp_path / "ffhq" / "images1024x1024", ("00000", "01000"), size=(32, 32))
    (tmp_path / "ffhq" / "LICENSE.txt").write_text("CC")
    packed = tmp_path / "ffhq.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(root.rglob("*.png")):
            file.write(path, path.relative_to(root).as_posix())
    for number, source in enumerate((tmp_path / "ffhq", root)):
        prepare(open_source(source, "ffhq"), tmp_path / f"{number}.zip", 16, "adm", kind="ffhq")
    card = prepare(open_source(packed, "ffhq"), tmp_path / "2.zip", 16, "adm", kind="ffhq")
    assert card.classes == 0
    assert ZipStore(tmp_path / "0.zip").labels is None
    assert len({(tmp_path / f"{n}.zip").read_bytes() for n in range(3)}) == 1


def test_sources_that_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no data set"):
        open_source(tmp_path / "nowhere", "folder")
    with pytest.raises(UserError, match="fixed rules"):
        open_source(tmp_path, "ffhq", upright=True)
    (tmp_path / "ffhq-r10.tfrecords").write_bytes(b"x")
    with pytest.raises(UserError, match="tfrecords"):
        open_source(tmp_path, "ffhq")
    with pytest.raises(UserError, match="did you mean 'imagenet'"):
        open_source(tmp_path, "imagenett")
    png = b"\x89PNG\r\n\x1a\n"
    for name in ("../../out.png", "/out.png"):
        tar_of(tmp_path / "bad.tar", {name: png})
        with pytest.raises(UserError, match="leads out"):
            open_source(tmp_path / "bad.tar", "folder")
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(UserError, match="link"):
        open_source(tmp_path / "link.tar", "folder")
    tar_of(tmp_path / "classes.tar", {"cats/1.png": png, "dogs/1.png": png})
    with pytest.raises(UserError, match="classes would be lost"):
        open_source(tmp_path / "classes.tar", "folder")
    tar_of(tmp_path / "names.tar", {os.fsdecode(b"\xe9.png"): png})
    with pytest.raises(UserError, match="not UTF-8"):
        open_source(tmp_path / "names.tar", "folder")
    tar_of(tmp_path / "mac.tar", {"./1.png": png, "./._1.png": png})
    assert open_source(tmp_path / "mac.tar", "folder").names == ["mac/1.png"]
    (tmp_path / "no.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match="no whole tar"):
        open_source(tmp_path / "no.tar", "folder")


def test_a_wrong_dataset_json_in_a_source_writes_nothing(tmp_path):
    path = tmp_path / "source.zip"
    with zipfile.ZipFile(path, "w") as file:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        file.writestr("a.png", buffer.getvalue())
        file.writestr("dataset.json", json.dumps({"labels": [["../a.png", 0]]}))
    with pytest.raises(UserError, match="stay inside"):
        prepare(open_source(path, "folder"), tmp_path / "out.zip", 8, "none")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.zip"]
