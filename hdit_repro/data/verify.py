"""Checking a data set: counts, digests, sizes, broken files, duplicates, traces of JPEG, labels against names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
from PIL import Image

from hdit_repro.data.card import read_card
from hdit_repro.data.jpeg import SHARE, TRACE, blockiness, file_kind
from hdit_repro.data.likeness import difference_hash, near_pairs
from hdit_repro.data.notes import LOSSY, NOTES, counted_note
from hdit_repro.data.order import permutation
from hdit_repro.data.store import Store, ZipStore
from hdit_repro.errors import UserError, counted, pick
from hdit_repro.machine import cpus_here
from hdit_repro.spec.data import DATASETS, IMAGENET_CLASS_SIZES

CHUNK = 256
SAMPLE = 1000
"""Images that a sampled verification looks at."""

SHOWN = 20
"""Of the pairs of duplicates, how many are named."""

WORDNET = re.compile(r"n\d{8}")

Progress = Callable[[int, int], None]


class Finding(NamedTuple):
    """Something about a data set. `wrong` ones make it unfit, the others are remarks."""

    check: str
    where: str
    found: str
    wrong: bool = True


class Verified(NamedTuple):
    """What was looked at and found."""

    images: int
    looked_at: int
    findings: list[Finding]

    @property
    def fit(self) -> bool:
        return not any(finding.wrong for finding in self.findings)


class Look(NamedTuple):
    """What one image showed: why it cannot be taken, else size, digests of file and pixels, likeness, blockiness, what
    kind of file it is if a lossy one, whether it is all of one colour, and how its file was read."""

    broken: str = ""
    size: tuple[int, int] = (0, 0)
    file: str = ""
    pixels: bytes = b""
    likeness: int = 0
    blocks: float = 0.0
    kind: str = ""
    plain: bool = False
    notes: tuple[str, ...] = ()


def verify(
    store: Store, *, kind: str = "", sample: int | None = None, workers: int = 0, progress: Progress | None = None
) -> Verified:
    """Look at a data set.

    Args:
        store: what to check.
        kind: "imagenet" or "ffhq" to hold it against the published counts; else what the archive says itself to
            be, where that is a data set of ours.
        sample: how many images to decode, spread over the set by a fixed draw; None is all.
        workers: threads; 0 is one a CPU.
        progress: called with (images done, images in all).
    """
    stated = str(store.facts.get("kind"))
    kind = kind or (stated if stated in DATASETS else "folder")
    count = len(store)
    numbers = list(range(count))
    if sample is not None and sample < count:
        numbers = sorted(int(number) for number in permutation(0, 0, count)[:sample])
    looks = _look(store, numbers, workers or cpus_here(), progress)
    findings = [
        *_counts(store, kind),
        *_card(store, whole=len(numbers) == count),
        *_labels(store, kind),
        *_each(store, numbers, looks),
        *_duplicates(store, numbers, looks),
        *_jpeg(store, numbers, looks, kind),
        *_read(store, numbers, looks),
        *(Finding("files", name, why, wrong=False) for name, why in store.skipped),
    ]
    return Verified(count, len(numbers), findings)


def _look(store: Store, numbers: list[int], workers: int, progress: Progress | None) -> list[Look]:
    looks: list[Look] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        for first in range(0, len(numbers), CHUNK):
            looks += pool.map(lambda index: _one(store, index), numbers[first : first + CHUNK])
            if progress:
                progress(len(looks), len(numbers))
    return looks


def _one(store: Store, index: int) -> Look:
    try:
        data = store.bytes_of(index)
        image = store.image(index)
    except UserError as error:
        return Look(f"{error.problem}: {error.found}")
    pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
    return Look(
        "",
        image.size,
        hashlib.sha256(data).hexdigest(),
        pixels,
        difference_hash(image),
        blockiness(image),
        file_kind(data),
        all(low == high for low, high in cast(tuple[tuple[int, int], ...], image.getextrema())),
        image.info[NOTES],
    )


def _counts(store: Store, kind: str) -> Iterator[Finding]:
    """Against the published counts."""
    if kind == "folder":
        return
    facts = pick(DATASETS, kind, kind="data set")
    if len(store) != facts.images:
        yield Finding("count", kind, f"{counted(len(store), 'image')}, where {facts.images:,} are published")
    if facts.classes and store.classes != facts.classes:
        classes = counted(store.classes, "class", "classes")
        yield Finding("count", kind, f"{classes}, where {facts.classes:,} are published")


def _card(store: Store, whole: bool) -> Iterator[Finding]:
    """Against the card; the archive's own digest takes reading all of it, so only where all is looked at."""
    card = read_card(store.path) if isinstance(store, ZipStore) else None
    if card is None:
        return
    if card.images != len(store):
        yield Finding("card", store.path.name, f"{counted(len(store), 'image')}, where the card says {card.images:,}")
    if whole and store.digest != card.sha256:
        yield Finding("card", store.path.name, f"SHA-256 {store.digest}, where the card says {card.sha256}")


def _labels(store: Store, kind: str) -> Iterator[Finding]:
    """Classes against the folders in names, the order of class names, and ImageNet's sizes of classes."""
    if store.labels is None:
        if store.unlabelled:
            yield Finding("labels", store.path.name, store.unlabelled, wrong=False)
        return
    names = store.label_names
    if list(names) != sorted(names):
        yield Finding("labels", "label_names", "the classes' names are not in their order")
    if kind == "imagenet":
        strange = [name for name in names if not WORDNET.fullmatch(name)]
        if strange:
            yield Finding("labels", "label_names", f"{strange[0]!r} is no WordNet id like n01440764")
        sizes = np.bincount(store.labels, minlength=len(names))
        fewest, most = IMAGENET_CLASS_SIZES
        for label in np.flatnonzero((sizes < fewest) | (sizes > most)):
            what = f"{counted(int(sizes[label]), 'image')}, where {fewest} to {most:,} are published"
            yield Finding("labels", names[label] if names else str(label), what)
    tops = [name.split("/")[0] for name in store.names]
    if not all("/" in name for name in store.names) or any(top.isdigit() for top in tops):
        return  # Numbered folders count images and are no classes.
    seen: dict[str, int] = {}
    for name, top, label in zip(store.names, tops, store.labels.tolist(), strict=True):
        if seen.setdefault(top, label) != label:
            yield Finding("labels", name, f"class {label}, where others in {top}/ have class {seen[top]}")
    if len(set(seen.values())) < len(seen):
        shared = next(label for label, folders in Counter(seen.values()).items() if folders > 1)
        both = sorted(top for top, label in seen.items() if label == shared)[:2]
        yield Finding("labels", f"class {shared}", f"the folders {' and '.join(both)} have one class")


def _each(store: Store, numbers: list[int], looks: list[Look]) -> Iterator[Finding]:
    """Broken files, stated digests, the size that an archive states, pictures of nothing, one size overall."""
    stated = store.digests if isinstance(store, ZipStore) else {}
    side = store.facts.get("resolution")
    sizes = Counter(look.size for look in looks if not look.broken)
    for index, look in zip(numbers, looks, strict=True):
        name = store.names[index]
        if look.broken:
            yield Finding("broken", name, look.broken)
        elif stated and stated.get(name) != look.file:
            yield Finding("digest", name, "its SHA-256 is not the one that the archive states")
        elif side is not None and look.size != (side, side):
            yield Finding("size", name, f"{look.size[0]} x {look.size[1]} pixels, where the archive says {side}")
    plain = [store.names[index] for index, look in zip(numbers, looks, strict=True) if look.plain]
    if plain:
        what = f"{counted(len(plain), 'image')} of one colour, such as what is white and transparent laid on white"
        yield Finding("plain", plain[0], what, wrong=False)
    if len(sizes) > 1 and side is None:
        (common, _), *_ = sizes.most_common()
        what = f"{len(sizes)} sizes, most often {common[0]} x {common[1]}; smallest side {min(map(min, sizes))}"
        yield Finding("size", store.path.name, what, wrong=False)


def _duplicates(store: Store, numbers: list[int], looks: list[Look]) -> Iterator[Finding]:
    """The same pixels twice (with two classes it is wrong), and pictures that look almost the same."""
    first: dict[bytes, int] = {}
    distinct: list[int] = []
    same = 0
    for place, look in enumerate(looks):
        if look.broken:
            continue
        before = first.setdefault(look.pixels, place)
        if before == place:
            distinct.append(place)
            continue
        same += 1
        one, other = numbers[before], numbers[place]
        torn = store.labels is not None and store.labels[one] != store.labels[other]
        if torn or same <= SHOWN:
            classes = ", in two classes" if torn else ""
            yield Finding(
                "duplicate", store.names[other], f"the same pixels as {store.names[one]}{classes}", wrong=torn
            )
    if same:
        what = f"{counted(same, 'image')} with the pixels of an earlier one"
        yield Finding("duplicate", store.path.name, what, wrong=False)
    hashes = np.array([looks[place].likeness for place in distinct], np.uint64)

    def image(index: int) -> Image.Image:
        return store.image(numbers[distinct[index]])

    pairs = near_pairs(hashes, image)
    for pair in pairs[:SHOWN]:
        earlier, later = (store.names[numbers[distinct[index]]] for index in pair)
        yield Finding("near duplicate", later, f"looks almost like {earlier}", wrong=False)
    if len(pairs) > SHOWN:
        yield Finding("near duplicate", store.path.name, f"{len(pairs):,} images look almost like one", wrong=False)


def _jpeg(store: Store, numbers: list[int], looks: list[Look], kind: str) -> Iterator[Finding]:
    """JPEG files under another name, and block edges in a set whose files are lossless."""
    for index, look in zip(numbers, looks, strict=True):
        suffix = store.names[index].rpartition(".")[2].lower()
        if look.kind and suffix == "png":
            yield Finding("jpeg", store.names[index], f"a {look.kind} file under a PNG's name")
    lossless = [place for place, look in enumerate(looks) if not look.broken and not look.kind]
    traces = [place for place in lossless if looks[place].blocks > TRACE]
    if lossless and len(traces) > SHARE * len(lossless):
        example = store.names[numbers[traces[0]]]
        many = f"{len(traces):,} of {counted(len(lossless), 'lossless file')}"
        what = f"{many} with the edges of JPEG's blocks, {example} first"
        yield Finding("jpeg", store.path.name, what, wrong=kind == "ffhq")


def _read(store: Store, numbers: list[int], looks: list[Look]) -> Iterator[Finding]:
    """What was converted and what was not followed, a remark a kind; that files are lossy is nothing to remark."""
    for note in sorted({note for look in looks for note in look.notes} - set(LOSSY.values())):
        places = [place for place, look in enumerate(looks) if note in look.notes]
        yield Finding("reading", store.names[numbers[places[0]]], counted_note(len(places), note), wrong=False)
