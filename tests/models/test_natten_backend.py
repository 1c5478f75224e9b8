"""NATTEN as a backend: when it is found, what it is asked, and what it does not take."""

import builtins
import sys
import types

import pytest
import torch

from hdit_repro.models import flex_backend, natten_backend
from hdit_repro.models.attention import Neighborhood


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def install(monkeypatch, has_libnatten, na2d=None):
    module = types.ModuleType("natten")
    module.HAS_LIBNATTEN, module.__version__, module.na2d = has_libnatten, "0.21.7", na2d
    monkeypatch.setitem(sys.modules, "natten", module)


def test_without_cuda_there_are_no_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert natten_backend.kernels() == "there is no CUDA device"


@pytest.mark.usefixtures("cuda")
def test_without_natten_there_are_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "natten", None)
    assert "natten" in str(natten_backend.kernels())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert natten_backend.flex() == natten_backend.load()


@pytest.mark.usefixtures("cuda")
def test_on_a_card_nattens_flex_is_not_to_be_had(monkeypatch):
    """natten 0.21.7 raises where its compiled flex backend is asked for and `allow_flex_compile` was not called."""
    install(monkeypatch, has_libnatten=False)
    assert "torch-flex" in str(natten_backend.flex())


@pytest.mark.usefixtures("cuda")
def test_a_natten_without_kernels_has_none(monkeypatch):
    install(monkeypatch, has_libnatten=False)
    assert "without libnatten" in str(natten_backend.kernels())


@pytest.mark.usefixtures("cuda")
def test_an_older_natten_is_not_used(monkeypatch):
    """Up to 0.17 it does not say whether its kernels are there; one that was installed for other code ended runs."""
    module = types.ModuleType("natten")
    module.__version__, module.na2d = "0.17.5", None
    monkeypatch.setitem(sys.modules, "natten", module)
    assert natten_backend.kernels() == "natten 0.17.5 is from before 0.20, whose interface is another"


@pytest.mark.usefixtures("cuda")
def test_other_errors_of_natten_are_not_swallowed(monkeypatch):
    monkeypatch.delitem(sys.modules, "natten", raising=False)
    real = natten_backend.importlib.import_module

    def broken(name):
        if name == "natten":
            raise RuntimeError("wrong driver")
        return real(name)

    monkeypatch.setattr(natten_backend.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="wrong driver"):
        natten_backend.kernels()


@pytest.mark.parametrize("way", ["kernels", "flex"])
def test_natten_is_asked_with_scale_one(monkeypatch, way):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: way == "kernels")
    asked = {}

    def na2d(q, k, v, **keywords):
        asked.update(keywords)
        return v

    install(monkeypatch, has_libnatten=True, na2d=na2d)
    fast = getattr(natten_backend, way)()
    q = torch.randn(1, 8, 8, 1, 8)
    assert fast.attend(q, q, q, 5) is q
    more = {"backend": "flex-fna"} if way == "flex" else {}
    assert asked == {"kernel_size": 5, "scale": 1.0, **more}


def test_what_the_kernels_do_not_take_goes_through_torch():
    fast = natten_backend.Fast(na2d=lambda *_, **__: pytest.fail("called on the CPU"))
    q = torch.randn(1, 8, 8, 1, 8)
    torch.testing.assert_close(Neighborhood(3, fast)(q, q, q), Neighborhood(3)(q, q, q))


class _OnCuda:
    """Enough of a tensor for `takes`."""

    is_cuda = requires_grad = True
    device = torch.device("cuda")

    def __init__(self, dtype, head):
        self.dtype, self.shape = dtype, (1, 8, 8, 1, head)


@pytest.mark.parametrize(
    ("dtype", "head", "kernel", "taken"),
    [
        (torch.bfloat16, 64, 7, True),
        (torch.float32, 64, 7, True),
        (torch.float64, 64, 7, False),
        (torch.bfloat16, 12, 7, False),
        (torch.bfloat16, 64, 1, False),
    ],
)
def test_what_it_takes_on_cuda(dtype, head, kernel, taken):
    assert natten_backend.Fast(na2d=builtins.max).takes(_OnCuda(dtype, head), kernel) is taken
    assert not natten_backend.Flex(na2d=builtins.max).takes(_OnCuda(dtype, head), kernel)


def test_flex_on_a_cpu_takes_no_gradients():
    flex, q = natten_backend.Flex(na2d=builtins.max), torch.randn(1, 8, 8, 1, 8, requires_grad=True)
    assert not flex.takes(q, 3)
    with torch.no_grad():
        assert flex.takes(q, 3)


@pytest.mark.parametrize(
    ("dtype", "head", "kernel", "natten", "torchs"),
    [
        (torch.float32, 16, 3, True, True),
        (torch.float64, 16, 3, False, False),
        (torch.float32, 8, 3, True, False),
        (torch.float32, 24, 3, False, True),
        (torch.float32, 512, 3, True, True),
        (torch.float32, 16, 1, False, True),
    ],
)
def test_what_flex_takes_on_a_cpu(dtype, head, kernel, natten, torchs, monkeypatch):
    """Either refuses the rest with an error of its own."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    q = torch.empty(1, 8, 8, 1, head, dtype=dtype)
    assert natten_backend.Flex(na2d=builtins.max).takes(q, kernel) is natten
    assert flex_backend.TorchFlex(builtins.max).takes(q, kernel) is torchs


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    ("missing", "said"), [("natten", "natten is not installed"), ("triton", "installed and cannot be imported")]
)
def test_a_natten_that_lacks_a_package_is_not_called_missing(missing, said, monkeypatch):
    def broken(_name):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(natten_backend.importlib, "import_module", broken)
    assert said in str(natten_backend.kernels())
