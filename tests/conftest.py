"""For all tests: nothing of the user's own places and clusters is touched, and made-up examples are the same at every
run, are not timed, and leave nothing in the checkout."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

if len(tempfile.gettempdir()) > 60:
    pytest.exit("TMPDIR is longer than the names of sockets in it may be: name a folder of at most 60 letters", 2)

for name in [name for name in os.environ if name.startswith("HDIT_REPRO_")]:
    if name != "HDIT_REPRO_NEIGHBORHOOD":  # which backend a card is tested with
        del os.environ[name]
for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):  # a pod of one of several has them
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith("GIT_")]:  # a hook's: tests would commit to its repository
    del os.environ[name]
for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):  # hooks and settings of the user's
    os.environ[name] = os.devnull
os.environ["SLURM_CONF"] = os.devnull  # else a scheduler that answers is given jobs; tests/slurm has its own

with contextlib.suppress(ImportError):  # tests/device runs where hypothesis is not
    from hypothesis import settings

    settings.register_profile("the same for everybody", derandomize=True, deadline=None, database=None)
    settings.load_profile("the same for everybody")


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """References that are there already would be taken, and those that tests make would stay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HDIT_REPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, which is not there yet."""
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_inception(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inception, ours and torch-fidelity's, on 75 pixels a side, the fewest that it can take, in the place of 299."""
    from hdit_repro.metrics.extractors import inception
    from hdit_repro.metrics.torchvision_shim import import_torchvision

    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setattr(inception, "SIDE", 75)
    monkeypatch.setattr(FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
