"""`data`: prepare, verify and look at data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, near, remark, table
from hdit_repro.errors import UserError, counted, escaped

if TYPE_CHECKING:
    from hdit_repro.data.store import Store

app = group()
root_group = group()
app.add_typer(root_group, name="data")

Where = Annotated[Path, typer.Argument(metavar="PATH", help="A folder or an archive of images.")]
Kind = Annotated[str, typer.Option("--dataset", metavar="NAME", help="What it is: imagenet, ffhq or folder.")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", help="Threads; 0 is one a CPU.")]

SHEET = 64
"""Images of a contact sheet."""


@root_group.callback()
def root() -> None:
    """Prepare, verify and look at data sets.

    Example: hdit-repro data info PATH
    """


@root_group.command("prepare")
def prepare(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A folder, a zip, or ImageNet's tar files.")],
    destination: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="The .zip to write.")],
    resolution: Annotated[int, typer.Option("--resolution", metavar="N", help="Side in pixels.")],
    transform: Annotated[
        str, typer.Option("--transform", metavar="NAME", help="adm, k-diffusion or none.")
    ] = "k-diffusion",
    kind: Kind = "folder",
    workers: Workers = 0,
    upright: Annotated[bool, typer.Option("--upright", help="Turn photographs as their orientation tag says.")] = False,
    cmyk: Annotated[bool, typer.Option("--cmyk", help="Convert CMYK pictures in place of refusing them.")] = False,
    as_objects: options.Json = False,
) -> None:
    """Write images, brought to one size by a named transform, as an archive with labels, digests and a card.

    Example: hdit-repro data prepare photographs photographs-64.zip --resolution 64
    """
    from hdit_repro.data import prepare as preparing
    from hdit_repro.data.card import card_path
    from hdit_repro.data.notes import MOVING, ORIENTED, PROFILED, counted_note
    from hdit_repro.data.sources import open_source

    _at_least(resolution, 1, "--resolution")
    _at_least(workers, 0, "--workers")
    if resolution > 8192:
        raise UserError(
            "no image is that large",
            found=f"--resolution {resolution}",
            expected="at most 8192",
            fix="name a smaller side",
        )
    store = open_source(source, kind, upright=upright, cmyk=cmyk)
    with Bar("prepare") as bar:
        card = preparing.prepare(store, destination, resolution, transform, kind=kind, workers=workers, progress=bar)
    if as_objects:
        as_json({**card.as_json(), "path": str(destination)})
        return
    data(near(destination))
    classes = counted(card.classes, "class", "classes")
    remark(f"{counted(card.images, 'image')} at {resolution} x {resolution}, {classes}, SHA-256 {card.sha256}")
    if card.enlarged:
        remark(f"{counted(card.enlarged, 'image')} of less than {resolution} pixels enlarged")
    if card.oriented:
        remark(f"{counted_note(card.oriented, ORIENTED)} (--upright follows it)")
    if card.animated:
        remark(counted_note(card.animated, MOVING))
    if card.profiled:
        remark(counted_note(card.profiled, PROFILED))
    if store.unlabelled:
        remark(f"{source}: {store.unlabelled}")
    for file, reason in card.refused[:10]:
        remark(f"refused: {file}: {reason}")
    if card.refused:
        remark(f"{counted(len(card.refused), 'file')} refused, as {near(card_path(destination))} lists")


@root_group.command("verify")
def verify(
    path: Where,
    kind: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="imagenet, ffhq or folder; else what the archive says.")
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Look at every image, in place of 1,000.")] = False,
    workers: Workers = 0,
    as_objects: options.Json = False,
) -> None:
    """Check counts, digests, sizes, labels, broken files, duplicates and traces of JPEG; exit 1 if it is unfit.

    Example: hdit-repro data verify photographs-64.zip --full
    """
    from hdit_repro.data import verify as verifying
    from hdit_repro.data.sources import open_source

    _at_least(workers, 0, "--workers")
    store = open_source(path, kind or _stated(path))
    sample = None if full else verifying.SAMPLE
    with Bar("verify") as bar:
        found = verifying.verify(store, kind=kind, sample=sample, workers=workers, progress=bar)
    if as_objects:
        findings = [finding._asdict() for finding in found.findings]
        as_json({"images": found.images, "looked_at": found.looked_at, "fit": found.fit, "findings": findings})
    else:
        rows = [("wrong" if f.wrong else "remark", f.check, f.where, f.found) for f in found.findings]
        if rows:
            table(("", "check", "where", "found"), rows)
        part = "" if found.looked_at == found.images else f"{found.looked_at:,} of "
        wrong = sum(finding.wrong for finding in found.findings)
        told = f"{counted(wrong, 'thing')} wrong, {counted(len(rows) - wrong, 'remark')}"
        remark(f"looked at {part}{counted(found.images, 'image')}: {told}")
        if found.looked_at < found.images:
            remark("--full looks at every image and at the archive's own digest")
    if not found.fit:
        raise typer.Exit(1)


@root_group.command("info")
def info(
    path: Where,
    sheet: Annotated[Path | None, typer.Option("--sheet", metavar="FILE", help="Write a contact sheet (PNG).")] = None,
    as_objects: options.Json = False,
) -> None:
    """Print what a data set is, and show some of it.

    Example: hdit-repro data info photographs-64.zip --sheet sheet.png
    """
    from hdit_repro.data.sources import open_source

    if sheet is not None:
        _check_sheet(path, sheet)
    store = open_source(path, _stated(path))
    facts = _facts(store)
    if sheet is not None:
        facts["sheet"] = near(_sheet(store, sheet))
    if as_objects:
        as_json(facts)
        return
    for key, value in facts.items():
        data(f"{key:<12} {escaped(str(value), kept='')}")


def _facts(store: Store) -> dict[str, Any]:
    """What a store is, as plain values, in the order in which it is printed."""
    from hdit_repro.data.card import read_card

    card = read_card(store.path)
    facts: dict[str, Any] = {"path": str(store.path), "images": len(store), "classes": store.classes}
    if store.label_names:
        names = store.label_names
        facts["names"] = ", ".join(names[:5]) + (f" ... {names[-1]}" if len(names) > 5 else "")
    elif store.unlabelled:
        facts["folders"] = store.unlabelled
    facts["first"] = f"{store.names[0]}, {_size_of_first(store)}"
    facts |= {key: store.facts[key] for key in ("kind", "resolution", "transform") if key in store.facts}
    facts["digest"] = store.digest
    if card is not None:
        facts |= {"content": card.content, "refused": len(card.refused), "enlarged": card.enlarged}
        facts["made with"] = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    if store.skipped:
        facts["passed over"] = len(store.skipped)
    return facts


def _size_of_first(store: Store) -> str:
    """The size of the first image, or why there is none to be seen; `data verify` looks at the others."""
    try:
        first = store.image(0)
    except UserError as error:
        return f"{error.problem}; hdit-repro data verify PATH says what is wrong with each"
    return f"{first.width} x {first.height} pixels"


def _check_sheet(source: Path, sheet: Path) -> None:
    """Refuse a contact sheet that would take the place of what it shows, or have another ending than its contents.

    Raises:
        UserError: it is not to be written.
    """
    if sheet.suffix.lower() != ".png" or sheet.resolve().is_relative_to(source.resolve()):
        raise UserError(
            "a contact sheet is a PNG file outside the data set",
            found=f"--sheet {sheet}",
            expected="a path that ends in .png, not in the data set's own folder",
            fix="hdit-repro data info PATH --sheet sheet.png",
        )


def _sheet(store: Store, path: Path) -> Path:
    """Write a contact sheet of images spread over the set; those that cannot be read are left out."""
    import torch
    from PIL import Image

    from hdit_repro.data.grid import save_grid
    from hdit_repro.data.transforms import adm

    stated = store.facts.get("resolution")  # an archive of somebody else's may say anything
    side = min(128, stated) if isinstance(stated, int) and stated > 0 else 128
    count = min(SHEET, len(store))
    shown = []
    for place in range(count):
        try:
            image: Image.Image = store.image(place * len(store) // count)
            shown.append(torch.from_numpy(adm(image, side)).permute(2, 0, 1))
        except UserError as error:
            remark(f"left out: {error.found}")
    if not shown:
        raise UserError(
            "no image can be shown",
            found=str(store.path),
            expected="at least one whole image",
            fix="hdit-repro data verify PATH says what is wrong with each",
        )
    save_grid(torch.stack(shown), path, columns=min(8, len(shown)))
    return path


def _stated(path: Path) -> str:
    """The kind of data set that an archive's card names, by which it was read; "folder" where nothing is said."""
    from hdit_repro.data.card import read_card

    card = read_card(path)
    return "folder" if card is None or card.kind == "ffhq" else card.kind


def _at_least(value: int, least: int, option: str) -> None:
    if value < least:
        raise UserError(
            "a number is too small",
            found=f"{option} {value}",
            expected=f"{least} or more",
            fix=f"give {option} {least} or more",
        )


class Bar:
    """A progress bar on stderr where that is a terminal, else a line for each tenth."""

    def __init__(self, title: str) -> None:
        self.title, self._tenth = title, 0

    def __enter__(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn as Column
        from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), Column(), MofNCompleteColumn(), TimeRemainingColumn())
        self._rich = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._rich.add_task(self.title, total=None)
        self._rich.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._rich.stop()

    def __call__(self, done: int, total: int) -> None:
        self._rich.update(self._task, completed=done, total=total)
        tenth = 10 * done // max(1, total)
        if self._rich.disable and total >= 1000 and tenth > self._tenth:
            remark(f"{self.title}: {done:,} of {total:,}")
        self._tenth = tenth
