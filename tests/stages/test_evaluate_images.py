"""Anybody's images: read, refused or converted by a stated rule, and the same numbers from every kind of file."""

from __future__ import annotations

import io
import json
import random
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from hdit_repro.cli import main
from hdit_repro.data.images import Images
from hdit_repro.data.notes import ORIENTATION
from hdit_repro.data.store import open_store
from hdit_repro.errors import UserError
from hdit_repro.metrics import frechet
from hdit_repro.metrics.extractors import extractor_by_name
from hdit_repro.metrics.extractors.inception import InceptionFeatures
from hdit_repro.metrics.extractors.random_inception import random_state
from hdit_repro.metrics.npz import write_npz
from hdit_repro.stages.compare import check_sizes, compare, curve_of, open_side
from hdit_repro.stages.imagesets import FileSet, open_images, said_of
from hdit_repro.stages.measure import Sides, measure

KINDS = ("frechet", "kernel", "precision-recall")


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def extractor():
    return extractor_by_name("efficientnet-lite0")


def pictures(seed, count=10, size=24):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((size, size)) for one in small]


def as_folder(path, images):
    path.mkdir()
    for place, image in enumerate(images):
        image.save(path / f"{place:03}.png")
    return path


def as_zip(path, images):
    with zipfile.ZipFile(path, "w") as archive:
        for place in random.Random(0).sample(range(len(images)), len(images)):  # the order in the file is no order
            data = io.BytesIO()
            images[place].save(data, "PNG")
            archive.writestr(f"{place:03}.png", data.getvalue())
    return path


def as_npz(path, images):
    tensor = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    write_npz(path, len(images), tensor.split(4))
    return path


def silent(*_):
    pass


def measured(a, b, extractor, workers=1, batch=4):
    rows, _, _ = compare(open_side(a, workers), open_side(b, workers), extractor, extractor.name, KINDS, batch, silent)
    return [(row.metric, row.value) for row in rows]


def test_folder_zip_and_npz_workers_and_batches_give_the_same_bits(tmp_path, extractor):
    a, b = pictures(0), pictures(1)
    forms = {
        "folder": (as_folder(tmp_path / "a", a), as_folder(tmp_path / "b", b)),
        "zip": (as_zip(tmp_path / "a.zip", a), as_zip(tmp_path / "b.zip", b)),
        "npz": (as_npz(tmp_path / "a.npz", a), as_npz(tmp_path / "b.npz", b)),
    }
    wanted = measured(*forms["folder"], extractor)
    assert wanted[0][1].value > 1
    assert [name for name, _ in wanted] == [
        "fd-efficientnet-lite0@10",
        "kd-efficientnet-lite0@10",
        "precision-efficientnet-lite0@10",
        "recall-efficientnet-lite0@10",
    ]
    assert measured(*forms["zip"], extractor, workers=3, batch=7) == wanted
    assert measured(*forms["npz"], extractor, batch=10) == wanted


def test_conversions_are_counted(tmp_path):
    images = pictures(0, 8)
    folder = as_folder(tmp_path / "a", images[:2])
    images[2].convert("L").save(folder / "grey.png")
    images[3].convert("P").save(folder / "palette.png")
    images[4].convert("RGBA").save(folder / "alpha.png")
    images[5].save(folder / "a.jpg")
    images[6].save(folder / "b.JPEG")
    images[7].convert("L").save(folder / "clear.png", transparency=9)
    found = FileSet(folder)
    pixels = torch.cat(list(found.batches(3)))
    assert pixels.shape == (8, 3, 24, 24)
    assert dict(found.remarks) == {
        "JPEG files": 2,
        "grey files, repeated over the channels": 2,
        "palette files, brought to RGB": 1,
        "files with transparency, laid on white": 2,
    }
    once = dict(found.remarks)
    assert len(list(found.batches(8))) == 1, "for another feature network, say"
    assert found.remarks == once
    grey = pixels[found.names.index("grey.png")]
    assert torch.equal(grey[0], grey[1])


def bad_file(kind, folder):
    path = folder / "bad.png"
    image = pictures(9, 1)[0]
    data = io.BytesIO()
    image.save(data, "PNG")
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(data.getvalue()[:-40])
    elif kind == "16 bits":
        Image.fromarray(np.full((24, 24), 40_000, np.uint16)).save(path)
    elif kind == "CMYK":
        path = folder / "bad.jpg"
        image.convert("CMYK").save(path)
    elif kind == "no image":
        path.write_bytes(b"hello")
    else:
        image.resize((25, 24)).save(path)
    return path


@pytest.mark.parametrize("kind", ["zero bytes", "truncated", "16 bits", "CMYK", "no image", "size"])
def test_what_cannot_be_taken_is_named(tmp_path, kind):
    folder = as_folder(tmp_path / "a", pictures(0, 4))
    path = bad_file(kind, folder)
    with pytest.raises(UserError) as caught:
        list(FileSet(folder, workers=2).batches(2))
    assert path.name in str(caught.value)
    assert caught.value.expected


def test_sides_that_do_not_go_together(tmp_path, extractor):
    a, b = as_folder(tmp_path / "a", pictures(0, 4)), as_folder(tmp_path / "b", pictures(1, 4, size=32))
    with pytest.raises(UserError, match="two sizes"):
        check_sizes(open_side(a), open_side(b))
    for missing in ("absent", "absent.npz", "absent.zip"):
        with pytest.raises(UserError, match="no such images"):
            open_images(tmp_path / missing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image"):
        open_side(tmp_path / "empty")
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(UserError, match="another feature network"):
        measured(a, tmp_path / "statistics.npz", extractor)


def test_saved_statistics(tmp_path, extractor):
    images, statistics = as_folder(tmp_path / "a", pictures(0)), tmp_path / "s.npz"
    features = extractor.features(next(open_images(images).batches(10)))["features"].double().numpy()
    np.savez(statistics, mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    other = as_folder(tmp_path / "b", pictures(1))
    direct = dict(measured(other, images, extractor))
    saved = dict(measured(other, statistics, extractor))
    name = "fd-efficientnet-lite0@10"
    assert saved[name].value == pytest.approx(direct[name].value, rel=1e-8)
    assert saved["kd-efficientnet-lite0"] is None
    unknown = dict(measured(statistics, images, extractor))
    assert "fd-efficientnet-lite0" not in unknown  # a plain name stands for 50,000 samples
    assert unknown["fd-efficientnet-lite0@unknown"].value == pytest.approx(0, abs=1e-6)


def test_too_few_samples_are_an_error_of_the_request(tmp_path, extractor):
    folder = as_folder(tmp_path / "a", pictures(0))
    _, features, target = compare(open_side(folder), open_side(folder), extractor, "efficientnet-lite0", [], 4, silent)
    for take in (
        lambda: curve_of(features, target),
        lambda: measure(["frechet-infinity"], "efficientnet-lite0", Sides(features, target), 10),
    ):
        with pytest.raises(UserError, match="20 samples or more, found 10") as refusal:
            take()
        assert "draw more samples" in refusal.value.fix


def test_a_metric_that_a_network_does_not_have_is_named(tmp_path, extractor):
    a, b = (open_side(as_folder(tmp_path / name, pictures(0, 5))) for name in "ab")
    rows, _, _ = compare(a, b, extractor, "efficientnet-lite0", ("frechet", "spatial-frechet"), 4, lambda *_: None)
    assert [(row.metric, row.note) for row in rows][1:] == [("spatial-frechet", "not defined on efficientnet-lite0")]


def test_half_precision_is_in_the_name_of_protocol_and_metric(tmp_path, small_inception, monkeypatch):
    """Names are all that it looks at, and roots of 2,048 x 2,048 take seconds."""
    monkeypatch.setattr(frechet, "root", lambda cov: cov[:, :1])
    a, b = (open_side(as_folder(tmp_path / name, pictures(seed, 4))) for seed, name in enumerate("ab"))
    state = random_state()
    for precision, ending in (("float32", ""), ("bfloat16", "-bfloat16")):
        network = InceptionFeatures(state, "0" * 64, torch.device("cpu"), precision=precision)
        (row,), _, _ = compare(a, b, network, "inception-2015", ("frechet",), 4, lambda *_: None)
        assert (row.protocol, row.metric) == (f"inception-2015{ending}", f"fid{ending}@4")


@pytest.mark.parametrize(("able", "precision"), [(False, "bfloat16"), (True, "bfloat16"), (False, "float32")])
def test_a_processor_that_is_slow_in_bfloat16_is_told(tmp_path, capsys, monkeypatch, able, precision):
    """Before anything is read of the network, whose weights nobody has here."""
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("hdit_repro.models.arithmetic.computes_bfloat16", lambda: able)
    a = as_folder(tmp_path / "a", pictures(0, 4))
    line = f"fid {a} {a} --protocol inception-2015 --precision {precision} --device cpu"
    assert main(line.split()) == 2
    told = "no instructions for bfloat16" in capsys.readouterr().err
    assert told == (precision == "bfloat16" and not able)


def test_a_reference_of_a_data_set(tmp_path, capsys):
    line = "reference build emoji --resolution 24 --count 40 --extractor efficientnet-lite0 --device cpu"
    assert main(line.split()) == 0
    path = capsys.readouterr().out.strip()
    images = as_folder(tmp_path / "a", pictures(0, 45))
    assert main(["fid", str(images), path, "--protocol", "efficientnet-lite0", "--json", "--device", "cpu"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["metric"] for row in rows] == ["fd-efficientnet-lite0@45"]
    assert 0 < rows[0]["low"] < rows[0]["value"] < rows[0]["high"]
    wrong = as_folder(tmp_path / "b", pictures(0, 5, size=32))
    assert main(["fid", str(wrong), path, "--protocol", "efficientnet-lite0", "--device", "cpu"]) == 2
    assert "another resolution" in capsys.readouterr().err
    for other in (str(wrong), str(images)):
        code = main(["fid", path, other, "--protocol", "efficientnet-lite0", "--json", "--device", "cpu"])
        said = capsys.readouterr()
        if other == str(wrong):
            assert (code, "another resolution" in said.err) == (2, True)
        else:
            assert [row["metric"] for row in json.loads(said.out)["rows"]] == ["fd-efficientnet-lite0@40"]
    assert main(["reference", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed[0]["count"], listed[0]["resolution"], listed[0]["transform"]) == (40, 24, "k-diffusion")


LITE = ["--protocol", "efficientnet-lite0", "--device", "cpu"]


def test_statistics_that_are_none_give_no_number(tmp_path, capsys):
    """A file that holds no covariance once came out as a distance of 0."""
    images, width = as_folder(tmp_path / "a", pictures(0)), 1280
    for name, mu, sigma in (
        ("negative", np.zeros(width), -np.eye(width)),
        ("nan", np.full(width, np.nan), np.eye(width)),
        ("indefinite", np.zeros(width), np.eye(width) + 2 * np.eye(width)[::-1]),
    ):
        path = tmp_path / f"{name}.npz"
        np.savez(path, mu=mu, sigma=sigma)
        for sides in ((str(images), str(path)), (str(path), str(images))):
            assert main(["fid", *sides, *LITE]) == 2
            said = capsys.readouterr()
            assert ("negative" if name != "nan" else "NaN") in said.err
            assert not said.out


def test_one_image_is_no_side(tmp_path, capsys):
    one, many = as_folder(tmp_path / "one", pictures(0, 1)), as_folder(tmp_path / "many", pictures(1))
    for sides in ((one, many), (many, one)):
        assert main(["fid", *map(str, sides), *LITE]) == 2
        assert "covariance" in capsys.readouterr().err


def test_no_option_is_read_and_passed_over(tmp_path, capsys):
    images, statistics = as_folder(tmp_path / "a", pictures(0)), tmp_path / "s.npz"
    np.savez(statistics, mu=np.zeros(1280), sigma=np.eye(1280))
    assert main(["fid", str(statistics), str(images), "--curve", *LITE]) == 2
    assert "needs the samples" in capsys.readouterr().err
    twice = ["--protocol", "efficientnet-lite0, efficientnet-lite0", "--metrics", "frechet,frechet"]
    assert main(["fid", str(images), str(statistics), *twice, "--device", "cpu", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 1


@pytest.mark.parametrize("side", ["samples", "reference"])
def test_of_all_protocols_those_that_do_not_fit_are_noted(tmp_path, capsys, monkeypatch, side):
    """Statistics of one network, and every network asked for: the others do not end the table."""
    images, statistics = as_folder(tmp_path / "a", pictures(0)), tmp_path / "s.npz"

    class Wide:
        name, digest, protocol, width = "inception-2015", "0" * 64, "made up", 2048

        def features(self, _images):
            raise AssertionError("features are computed before the sides are compared")

    known = extractor_by_name
    built = {"inception-2015": lambda *_: Wide()}
    monkeypatch.setattr(
        "hdit_repro.metrics.extractors.extractor_by_name", lambda name, *how: built.get(name, known)(name, *how)
    )
    np.savez(statistics, mu=np.zeros(1280), sigma=np.eye(1280))
    sides = [str(images), str(statistics)]
    sides = sides if side == "reference" else sides[::-1]
    assert main(["fid", *sides, "--protocol", "inception-2015,efficientnet-lite0", "--device", "cpu", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["protocol"] for row in rows] == ["inception-2015", "efficientnet-lite0"]
    assert (rows[0]["value"], "another feature network" in rows[0]["note"]) == (None, True)
    assert rows[1]["value"] > 0
    assert main(["fid", *sides, "--protocol", "inception-2015", "--device", "cpu"]) == 2


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("emoji --resolution 16 --resize bicubic", "'bicubic'"),
        ("emojy --resolution 16", "'emojy'"),
        ("folder --resolution 16", "'folder'"),
        ("emoji --resolution 0", "--resolution 0"),
        ("emoji --resolution 128 --resize none", "--resolution 128"),
    ],
)
def test_what_cannot_be_built_names_what_is_wrong(line, found, capsys):
    assert main(["reference", "build", *line.split(), "--extractor", "efficientnet-lite0", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert found in said.splitlines()[1]
    assert "no such data set" not in said


def test_the_command_line(tmp_path, capsys):
    a, b = as_folder(tmp_path / "a", pictures(0, 24)), as_folder(tmp_path / "b", pictures(1, 24))
    (a / "000.png").rename(a / "000.jpg")
    Image.open(a / "000.jpg").save(a / "000.jpg", "JPEG")
    assert main(["fid", str(a), str(b), "--protocol", "all", "--curve", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "1 JPEG file" in said.err
    assert said.out.count("hdit-repro weights add") == 7  # five Inceptions and two DINOv2, none of them here
    assert "fd-efficientnet-lite0@24" in said.out
    assert "infinitely many" in said.out
    assert main(["fid", str(a), str(b)]) == 2
    assert "weights" in capsys.readouterr().err
    for bad in (["--protocol", "vgg"], ["--metrics", "psnr"], ["--batch", "0"], ["--precision", "int8"]):
        assert main(["fid", str(a), str(b), *bad]) == 2


def test_files_that_are_left_out_or_moving_are_told(tmp_path):
    images = pictures(0, 4)
    folder = as_folder(tmp_path / "a", images[:2])
    images[2].save(folder / "moving.png", save_all=True, append_images=[images[3]])
    for name in ("a.tif", "b.tif"):
        (folder / name).write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        archive.writestr("dataset.json", "null")
    for path in (folder, tmp_path / "a.zip"):
        found = FileSet(path)
        assert len(torch.cat(list(found.batches(3)))) == 3
        assert said_of(found)[1:] == [
            f"warning: {path}: 1 animated file, of which the first picture is taken",
            f"warning: {path}: 2 files passed over, such as a.tif (no image by its name)",
        ]


def test_evaluation_reads_files_as_training_does_and_says_what_it_does_not_follow(tmp_path):
    """Files with tags, palettes or clear colours give both the same pixels."""
    images, folder = pictures(0, 6), tmp_path / "a"
    folder.mkdir()
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    images[0].save(folder / "turned.png", exif=exif)
    images[1].convert("P").save(folder / "palette.png", transparency=3)
    images[2].convert("RGBA").save(folder / "alpha.png")
    images[3].save(folder / "lossless.webp", lossless=True)
    images[4].save(folder / "lossy.webp")
    images[5].save(folder / "moving.png", save_all=True, append_images=[images[4]])
    evaluated, trained = FileSet(folder), Images(open_store(folder), 24, "none")
    assert torch.equal(torch.cat(list(evaluated.batches(4))), trained.batch(range(6)))
    assert dict(evaluated.remarks) == {
        "files with an orientation tag, which is not followed": 1,
        "palette files, brought to RGB": 1,
        "files with transparency, laid on white": 2,
        "lossy WebP files": 1,
        "animated files, of which the first picture is taken": 1,
    }
    assert f"warning: {folder}: 1 lossy WebP file; compression alone moves these numbers" in said_of(evaluated)


@pytest.mark.parametrize(("mean", "spread"), [(1e300, 1.0), (0.0, 1e300)])
def test_statistics_too_far_apart_for_a_number_are_a_note(tmp_path, capsys, mean, spread):
    np.savez(tmp_path / "far.npz", mu=np.full(1280, mean), sigma=np.eye(1280) * spread)
    np.savez(tmp_path / "near.npz", mu=np.zeros(1280), sigma=np.eye(1280))
    line = ["fid", str(tmp_path / "far.npz"), str(tmp_path / "near.npz"), "--protocol", "efficientnet-lite0"]
    assert main([*line, "--device", "cpu"]) == 2
    assert "too large for a distance" in capsys.readouterr().err


def test_a_kind_that_statistics_cannot_give_is_named(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", mu=np.zeros(1280), sigma=np.eye(1280))
    line = ["fid", *[str(tmp_path / "a.npz")] * 2, "--protocol", "efficientnet-lite0", "--metrics", "inception-score"]
    assert main([*line, "--device", "cpu"]) == 2
    assert "inception-score: not defined on efficientnet-lite0" in capsys.readouterr().err


def test_what_a_file_of_both_is_compared_by_is_said(tmp_path, capsys):
    """Of ADM's files the statistics are the reference; the images beside them are a few for precision and recall."""
    images, both = as_folder(tmp_path / "a", pictures(0, 4)), tmp_path / "both.npz"
    few = np.stack([np.asarray(one) for one in pictures(0, 4)])
    np.savez(both, arr_0=few, mu=np.zeros(1280), sigma=np.eye(1280))
    assert main(["fid", str(images), str(both), *LITE]) == 0
    assert f"{both}: Frechet distances are to its mu and sigma, not to its images" in capsys.readouterr().err
    capitals = both.rename(tmp_path / "BOTH.NPZ")
    assert main(["fid", str(capitals), str(images), *LITE]) == 0
    said = capsys.readouterr().err
    assert f"{capitals}, as A: what is compared is its images, and its mu and sigma are left aside" in said
    assert "Frechet distances are to its" not in said


def test_too_few_images_for_a_curve_keep_their_distance(tmp_path, capsys):
    sides = [str(as_folder(tmp_path / name, pictures(seed, 4))) for seed, name in enumerate("ab")]
    assert main(["fid", *sides, "--protocol", "efficientnet-lite0", "--device", "cpu", "--curve"]) == 0
    said = capsys.readouterr()
    assert "fd-efficientnet-lite0@4" in said.out
    assert "no curve of efficientnet-lite0: " in said.err
