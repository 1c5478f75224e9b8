"""The code that jobs run: a copy of the commit beside the runs, which nothing moves under a queued job. No torch."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

from hdit_repro import __version__
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import write_bytes, write_json
from hdit_repro.records.layout import Roots
from hdit_repro.records.provenance import CODE, MARK, UNKNOWN, Source, checkout_source, git

PARTS = (*CODE, "tables/paper")
"""What a snapshot holds of a checkout."""

MAKING = ".making-"
"""How the name of a snapshot begins while it is being made."""

PATCH = "changes.patch"
VARIABLES = ("HDIT_REPRO_CACHE", "HDIT_REPRO_DATA", "CUDA_HOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX")


class Code(NamedTuple):
    """A snapshot: where it lies, and what it is a copy of. `source` says commit and dirt."""

    path: Path
    source: Source
    checkout: Path


def look(roots: Roots, *, allow_dirty: bool, checkout: Path | None = None) -> Code:
    """Where the snapshot of the code that runs now lies, or would lie. Writes nothing.

    Raises:
        UserError: the checkout has changes that no commit holds, and they are not allowed.
    """
    checkout = checkout or Path(__file__).resolve().parents[3]
    source = checkout_source(checkout)
    if source.dirty and not allow_dirty:
        changed = _git(checkout, "status", "--short", "--untracked-files=all", "--", *CODE).decode().splitlines()
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise UserError(
            "the code has changes that no commit holds",
            found=", ".join(line[3:] for line in changed[:5]) + more,
            expected="a clean checkout, so that each number has a commit",
            fix="commit them, or submit with --allow-dirty, which keeps the changes beside the runs",
        )
    if source.dirty is None:  # no repository: an installed package, or a copy whose commit a variable may name
        said = f"installed-{__version__}" if source.commit == UNKNOWN else f"{source.commit[:12]}-copy"
        name = f"{said}-{_digest([checkout / name for name in _bare(checkout)])}"
    elif source.dirty:
        name = f"{source.commit[:12]}-dirty-{_digest([checkout / name for name in _tracked(checkout)])}"
    else:
        name = source.commit[:12]
    return Code(roots.runs / "code" / name, source, checkout)


def take(code: Code) -> None:
    """Make the snapshot, unless it is there whole.

    Raises:
        RunError: git fails, or there is no room.
    """
    if (code.path / MARK).is_file():
        return
    code.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=code.path.parent, prefix=MAKING) as making:
        new = Path(making) / "code"
        new.mkdir()
        if code.source.dirty is None:
            _copy(code.checkout, _bare(code.checkout), new)
        elif code.source.dirty:
            _copy(code.checkout, _tracked(code.checkout), new)
            write_bytes(new / PATCH, _git(code.checkout, "diff", "--binary", "HEAD", "--", *CODE))
        else:
            _archive(code.checkout, new)
        write_json(new / MARK, {**environment(), **code.source._asdict()})  # last: without it a copy is not whole
        shutil.rmtree(code.path, ignore_errors=True)
        new.rename(code.path)


def environment() -> dict[str, object]:
    """What the code runs in: interpreter, packages with their versions, variables that matter."""
    packages = {str(found.metadata["Name"]): found.version for found in distributions()}
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _archive(checkout: Path, folder: Path) -> None:
    """The commit itself, whatever lies in the checkout meanwhile."""
    present = _git(checkout, "ls-tree", "--name-only", "HEAD", "--", *PARTS).decode().split()
    with tempfile.NamedTemporaryFile(dir=folder.parent, suffix=".tar") as archive:
        _git(checkout, "archive", "--format=tar", f"--output={archive.name}", "HEAD", "--", *present)
        with tarfile.open(archive.name) as packed:
            # Python 3.11.0 to 3.11.3, Debian 12's among them, have no filters; the archive is git's own, a moment old.
            packed.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            packed.extractall(folder)


def _copy(checkout: Path, names: Iterable[str], folder: Path) -> None:
    """Files of a checkout as they lie there."""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(checkout / name, target)


def _tracked(checkout: Path) -> list[str]:
    """Files that belong to the code: known to git, or new and not ignored."""
    listed = _git(checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS).decode()
    return sorted({name for name in listed.split("\0") if name and (checkout / name).is_file()})


def _bare(checkout: Path) -> list[str]:
    """Files of the code where there is no git: of the package, and of what lies beside it unless it is installed."""
    copied = (checkout / "pyproject.toml").is_file()
    parts = PARTS if copied else (Path(__file__).resolve().parents[2].name,)
    inner = (path for part in parts for path in (checkout / part, *(checkout / part).rglob("*")))
    return sorted(
        str(path.relative_to(checkout)) for path in inner if path.is_file() and "__pycache__" not in path.parts
    )


def _digest(paths: list[Path]) -> str:
    """Twelve digits of the files' names and contents."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _git(checkout: Path, *arguments: str) -> bytes:
    done = git(checkout, *arguments)
    if done.returncode:
        raise RunError(
            "git could not copy the code",
            found=done.stderr.decode(errors="replace").strip(),
            expected="a snapshot",
            fix="git status, in the checkout, says what is wrong with it",
        )
    return done.stdout
