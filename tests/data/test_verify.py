"""Verification: what is wrong with a data set is found and named, and what is right is not accused."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from hdit_repro.data import retry
from hdit_repro.data.jpeg import TRACE, blockiness, file_kind
from hdit_repro.data.likeness import difference_hash, near_pairs
from hdit_repro.data.prepare import prepare
from hdit_repro.data.store import ZipStore, open_store
from hdit_repro.data.verify import verify
from hdit_repro.spec.data import DATASETS, DatasetFacts


def natural(seed: int, side: int = 128) -> Image.Image:
    """A picture with detail at every scale, as photographs have: noise whose amplitude falls with frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = 1
    noise = np.fft.fft2(rng.standard_normal((side, side, 3)), axes=(0, 1)) / frequency[..., None]
    field = np.fft.ifft2(noise, axes=(0, 1)).real
    return Image.fromarray(np.clip(128 + 45 * field / field.std(), 0, 255).astype(np.uint8))


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def write(root, images: dict[str, Image.Image]):
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    return root


def found(store, **options) -> list[tuple[str, str, bool]]:
    return [(f.check, f.where, f.wrong) for f in verify(store, **options).findings]


def test_a_clean_set_has_no_findings(tmp_path):
    root = write(tmp_path / "set", {f"{c}/{i}.png": natural(10 * i + j) for j, c in enumerate("ab") for i in range(6)})
    assert found(open_store(root)) == []
    prepare(open_store(root), tmp_path / "set.zip", 64, "adm")
    checked = verify(ZipStore(tmp_path / "set.zip"))
    assert (checked.findings, checked.images, checked.looked_at, checked.fit) == ([], 12, 12, True)


def test_sampling_is_a_fixed_draw(tmp_path):
    root = write(tmp_path / "set", {f"{i:02d}.png": natural(i, 16) for i in range(30)})
    (root / "17.png").write_bytes(b"broken")
    seen = []
    runs = [verify(open_store(root), sample=10, progress=lambda done, total: seen.append(total)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert (runs[0].images, runs[0].looked_at, seen) == (30, 10, [10, 10])
    assert not verify(open_store(root)).fit


def test_duplicates_exact_near_and_torn_between_classes(tmp_path):
    base = natural(1)
    brighter = Image.fromarray((np.asarray(base, np.int16) * 0.98 + 2).astype(np.uint8))
    images = {f"a/{i}.png": natural(100 + i) for i in range(5)}
    root = write(tmp_path / "set", {**images, "a/base.png": base, "a/copy.png": base, "b/near.png": brighter})
    findings = found(open_store(root))
    assert ("duplicate", "a/copy.png", False) in findings
    assert ("near duplicate", "b/near.png", False) in findings
    assert len(findings) == 3  # these two, and the count of exact ones
    base.save(root / "b" / "torn.png")
    assert ("duplicate", "b/torn.png", True) in found(open_store(root))


def test_duplicates_are_named_up_to_a_number_and_those_of_two_classes_all(tmp_path):
    same = {f"a/{i:02d}.png": natural(1, 16) for i in range(30)}
    torn = {f"b/{i}.png": natural(1, 16) for i in range(2)}
    turned = {"a/tall.png": Image.new("RGB", (4, 9)), "b/wide.png": Image.new("RGB", (9, 4))}  # no pixels in common
    findings = found(open_store(write(tmp_path / "set", {**same, **torn, **turned})))
    named = [(where, wrong) for check, where, wrong in findings if check == "duplicate"]
    assert named == [(name, False) for name in list(same)[1:21]] + [(name, True) for name in torn] + [("set", False)]


def test_pictures_of_nothing_are_remarked(tmp_path):
    root = write(tmp_path / "set", {"a.png": natural(1), "b.png": natural(2)})
    Image.new("RGBA", natural(1).size, (255, 255, 255, 90)).save(root / "overlay.png")
    assert found(open_store(root)) == [("plain", "overlay.png", False), ("reading", "overlay.png", False)]


def test_near_pairs_are_all_found_and_flat_pictures_are_not_alike():
    pictures = [natural(i, 32) for i in range(40)]
    pictures += [through_jpeg(picture, 97) for picture in pictures[:10]]
    flat = [Image.new("RGB", (32, 32), (level, level, level)) for level in (0, 60, 120, 180, 240)]
    hashes = np.array([difference_hash(picture) for picture in pictures + flat], np.uint64)
    everything = pictures + flat
    pairs = near_pairs(hashes, lambda index: everything[index])
    assert [(p.first, p.second) for p in pairs] == [(i, 40 + i) for i in range(10)]
    distance = [[bin(int(a) ^ int(b)).count("1") for b in hashes[:40]] for a in hashes[:40]]
    assert min(distance[i][j] for i in range(40) for j in range(i)) > 3


def test_traces_of_jpeg():
    pictures = [natural(i, 192) for i in range(12)]
    assert max(blockiness(picture) for picture in pictures) < TRACE
    blocks = [blockiness(through_jpeg(picture, 50)) for picture in pictures]
    cropped = [blockiness(through_jpeg(picture, 50).crop((3, 5, 180, 181))) for picture in pictures]
    assert sum(score > TRACE for score in blocks) >= 10
    assert sum(score > TRACE for score in cropped) >= 10
    shrunk = [blockiness(through_jpeg(natural(i, 512), 75).resize((128, 128))) for i in range(6)]
    assert max(shrunk) < TRACE
    assert blockiness(Image.new("RGB", (16, 16))) == blockiness(Image.new("RGB", (200, 200))) == 0


def stripes(side, big, small=0):
    """A step of `big` grey levels at every eighth column and of `small` half way between, rows all alike."""
    steps = np.zeros(side, np.int64)
    for place in range(8, side + 8, 8):
        steps[place : place + 1] = big if place % 16 else -big
        steps[place - 4] = small if place % 16 else -small
    return Image.fromarray(np.tile(100 + np.cumsum(steps), (side, 1)).astype(np.uint8))


@pytest.mark.parametrize(
    ("big", "small", "step"),
    [(3, 0, 3), (8, 0, 8), (16, 0, 16), (40, 0, 16), (8, 4, 10)],  # a step counts for 16 levels at most
)
def test_blockiness_of_stripes_in_closed_form(big, small, step):
    """No spread at all, so a thousandth of a level stands for it. Beside a step the second difference is half of it and
    negative: the median of the other places is 0 where there is one step in eight columns, -small / 2 where two."""
    picture = stripes(96, big, small)
    assert blockiness(picture) == pytest.approx(1000 * step)
    assert blockiness(picture.transpose(Image.Transpose.ROTATE_90)) == pytest.approx(1000 * step)
    assert blockiness(stripes(48, big)) > 0
    assert blockiness(stripes(47, big)) == blockiness(stripes(96, big).crop((0, 0, 96, 47))) == 0


@pytest.mark.parametrize(
    ("scores", "traced"),
    [
        ([4.5] * 10, False),
        ([4.51] * 2 + [0.0] * 8, False),  # a fifth is not more than a fifth
        ([4.51] * 3 + [0.0] * 7, True),
        ([4.51] + [0.0] * 3, True),
        ([0.0] * 4, False),
    ],
)
def test_a_set_is_judged_by_its_share_of_traces(tmp_path, monkeypatch, scores, traced):
    root = write(tmp_path / "set", {f"{i}.png": natural(i, 16) for i in range(len(scores))})
    left = iter(scores)
    monkeypatch.setattr("hdit_repro.data.verify.blockiness", lambda image: next(left))
    findings = found(open_store(root, labelled=False))
    assert (("jpeg", "set", False) in findings) == traced
    assert next(left, None) is None


def test_jpeg_in_what_should_be_lossless(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "ffhq", DatasetFacts(10, 0, 1024))
    root = write(tmp_path / "set", {f"{i}.png": through_jpeg(natural(i, 192), 50) for i in range(9)})
    buffer = io.BytesIO()
    natural(20, 192).save(buffer, "JPEG")
    (root / "9.png").write_bytes(buffer.getvalue())
    assert file_kind(buffer.getvalue()) == "JPEG"
    findings = found(open_store(root, labelled=False), kind="ffhq")
    assert ("jpeg", "9.png", True) in findings
    assert ("jpeg", "set", True) in findings
    assert not any(check == "count" for check, _, _ in findings)


def test_published_counts_and_class_sizes(tmp_path, monkeypatch):
    names = ("n01440764/1.png", "n01440764/2.png", "dogs/1.png", "dogs/2.png")
    root = write(tmp_path / "set", {name: natural(seed, 16) for seed, name in enumerate(names)})
    monkeypatch.setitem(DATASETS, "imagenet", DatasetFacts(5, 3, 0))
    findings = verify(open_store(root), kind="imagenet").findings
    texts = [f"{f.where}: {f.found}" for f in findings if f.wrong]
    assert "imagenet: 4 images, where 5 are published" in texts
    assert "imagenet: 2 classes, where 3 are published" in texts
    assert any("'dogs' is no WordNet id" in text for text in texts)
    assert "n01440764: 2 images, where 732 to 1,300 are published" in texts


def test_digests_sizes_and_the_card(tmp_path):
    root = write(tmp_path / "set", {f"{i}.png": natural(i, 40) for i in range(4)})
    path = tmp_path / "set.zip"
    prepare(open_store(root), path, 32, "adm")
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    other, wide = io.BytesIO(), io.BytesIO()
    natural(9, 32).save(other, "PNG")
    natural(8, 40).save(wide, "PNG")
    members["00000/img00000001.png"] = other.getvalue()
    members["00000/img00000002.png"] = wide.getvalue()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    findings = found(ZipStore(path))
    assert ("digest", "00000/img00000001.png", True) in findings
    assert ("digest", "00000/img00000002.png", True) in findings
    assert ("card", "set.zip", True) in findings
    del members["digests.sha256"]
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    assert ("size", "00000/img00000002.png", True) in found(ZipStore(path))


def test_a_kind_of_somebody_elses_is_no_data_set_of_ours(tmp_path):
    path = tmp_path / "set.zip"
    for kind in ("faces", ["faces"]):
        with zipfile.ZipFile(path, "w") as file:
            buffer = io.BytesIO()
            natural(1, 16).save(buffer, "PNG")
            file.writestr("1.png", buffer.getvalue())
            file.writestr("dataset.json", json.dumps({"labels": None, "kind": kind}))
        assert verify(ZipStore(path)).fit


def test_labels_against_the_folders_in_names(tmp_path):
    path = tmp_path / "set.zip"
    images = [("cat/1.png", 0), ("cat/2.png", 1), ("dog/1.png", 0), ("dog/2.png", 0)]
    with zipfile.ZipFile(path, "w") as file:
        for number, (name, _) in enumerate(images):
            buffer = io.BytesIO()
            natural(number, 16).save(buffer, "PNG")
            file.writestr(name, buffer.getvalue())
        names = ["dog", "cat"]
        file.writestr("dataset.json", json.dumps({"labels": [list(i) for i in images], "label_names": names}))
        file.writestr("readme.md", "hello")
    findings = found(ZipStore(path))
    assert ("labels", "cat/2.png", True) in findings
    assert ("labels", "class 0", True) in findings
    assert ("labels", "label_names", True) in findings
    assert ("files", "readme.md", False) in findings


def test_a_file_system_that_is_away_for_a_moment(monkeypatch):
    slept = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    attempts = iter([FileNotFoundError(2, "gone"), OSError(116, "stale"), None])

    def read() -> str:
        error = next(attempts)
        if error is not None:
            raise error
        return "here"

    assert retry.patiently(read) == "here"
    assert slept == list(retry.WAITS[:2])

    def never() -> str:
        slept.append("asked")
        raise OSError(5, "input/output error")

    slept.clear()
    with pytest.raises(OSError, match="input/output"):
        retry.patiently(never)
    assert slept.count("asked") == len(retry.WAITS) + 1

    def denied() -> str:
        slept.append("denied")
        raise PermissionError(13, "no")

    with pytest.raises(PermissionError):
        retry.patiently(denied)
    assert slept.count("denied") == 1
