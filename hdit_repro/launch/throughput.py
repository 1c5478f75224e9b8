"""Measured speed of a card, as `benchmarks/gpu.py` left it in `benchmarks/results/`. No torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hdit_repro.cost.cards import card_key
from hdit_repro.errors import UserError
from hdit_repro.files import shipped
from hdit_repro.launch.work import TRAINING_PASSES
from hdit_repro.spec.training import Precision

FORMAT = 1
"""Of the files; another number is not read."""

FOLDER = "benchmarks/results"

UNSAID: Precision = "bfloat16"
"""Of networks in files that do not say: the first ones measured nothing else."""


class Machine(msgspec.Struct):
    """The part of a file that says whose measurement it is and when it was begun."""

    card: str
    began: str


class File(msgspec.Struct):
    """A file of measurements as it is written; what else it holds is not looked at."""

    format: int
    tiny: bool
    machine: Machine
    parts: dict[str, dict[str, Any]]


class Rate(NamedTuple):
    """One measurement of a network at work.

    use: "train" or "sample". macs: of a forward pass of one image. macs_per_second: forward passes' worth, three a
    training image. words: what was measured. precision: of its products.
    """

    use: str
    macs: int
    macs_per_second: float
    words: str
    precision: Precision


class Measured(NamedTuple):
    """What was measured on a card: networks, and images a second through Inception."""

    card: str
    where: str
    rates: tuple[Rate, ...]
    features_per_second: float | None

    def nearest(self, use: str, macs: int, precision: Precision) -> Rate | None:
        """The fastest measurement of the network with these MACs, else of the one whose MACs are nearest; of those in
        this arithmetic where there are any."""
        used = [rate for rate in self.rates if rate.use == use]
        fitting = [rate for rate in used if rate.precision == precision] or used
        return min(fitting, key=lambda rate: (abs(math.log(rate.macs / macs)), -rate.macs_per_second), default=None)


def measured(card: str, folder: Path | None = None) -> Measured | None:
    """The newest measurement of a card, or None where it was never measured.

    Args:
        card: as the driver or a cluster's profile calls it.
        folder: of the files; None is the project's own.

    Raises:
        UserError: a file there is damaged.
    """
    key = card_key(card)
    if key is None:
        return None
    found = [(path, _read(path)) for path in sorted((folder or shipped(FOLDER)).glob("*.json"))]
    fitting = [
        (path, file)
        for path, file in found
        if file.format == FORMAT and not file.tiny and card_key(file.machine.card) == key
    ]
    if not fitting:
        return None
    path, file = max(fitting, key=lambda item: item[1].machine.began)
    try:
        return _measured(file, f"{FOLDER}/{path.name}")
    except (KeyError, TypeError, ValueError, OverflowError, msgspec.ValidationError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _read(path: Path) -> File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=File)
    except (ValueError, msgspec.DecodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, found: str) -> UserError:
    return UserError(
        "a file of measured speeds cannot be read",
        found=f"{path}: {found}",
        expected="what benchmarks/gpu.py writes",
        fix="take the file away, or measure again",
    )


def _measured(file: File, where: str) -> Measured:
    rates, features = [], None
    for part in file.parts.values():
        use = part.get("use")
        if "error" in part:
            continue
        precision = msgspec.convert(part.get("precision", UNSAID), Precision)
        if use == "train":
            how = "compiled" if part["compiled"] else "eager"
            words = f"{part['run']} at {part['images_per_s']:,.4g} images/s, batch {part['batch']}, {how}"
            speed = part["macs"] * TRAINING_PASSES * part["images_per_s"]
            rates.append(Rate(use, part["macs"], speed, words, precision))
        elif use == "sample":
            words = f"{part['run']}'s sampler at {part['calls_per_s']:,.4g} network calls/s, batch {part['batch']}"
            speed = part["macs"] * part["batch"] * part["calls_per_s"]
            rates.append(Rate(use, part["macs"], speed, words, precision))
        elif use == "features":
            features = max(features or 0.0, float(part["images_per_s"]))
    numbers = [number for rate in rates for number in (rate.macs, rate.macs_per_second)]
    if wrong := [number for number in (*numbers, features) if number is not None and not 0 < number < math.inf]:
        raise ValueError(f"{wrong[0]} is no speed and no count of MACs")
    return Measured(file.machine.card, where, tuple(rates), features)
