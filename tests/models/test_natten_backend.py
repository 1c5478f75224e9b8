"""The choice of NATTEN: when it is taken, what it is asked, and what is said where it is not."""

import builtins
import sys
import types

import pytest
import torch

from hdit_repro.models import natten_backend
from hdit_repro.models.attention import Neighborhood


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def install(monkeypatch, has_libnatten, na2d=None):
    module = types.ModuleType("natten")
    module.HAS_LIBNATTEN, module.__version__, module.na2d = has_libnatten, "0.21.7", na2d
    monkeypatch.setitem(sys.modules, "natten", module)


def test_without_cuda_torch_is_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert natten_backend.probe() == natten_backend.Backend("torch", "there is no CUDA device")


@pytest.mark.usefixtures("cuda")
def test_without_natten_torch_is_chosen(monkeypatch):
    monkeypatch.setitem(sys.modules, "natten", None)
    backend = natten_backend.probe()
    assert (backend.name, backend.fast) == ("torch", None)
    assert "natten" in backend.reason


@pytest.mark.usefixtures("cuda")
def test_a_natten_without_kernels_is_not_chosen(monkeypatch):
    install(monkeypatch, has_libnatten=False)
    assert "without libnatten" in str(natten_backend.probe())


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
        natten_backend.probe()


@pytest.mark.usefixtures("cuda")
def test_natten_with_kernels_is_chosen_and_asked_with_scale_one(monkeypatch):
    asked = {}

    def na2d(q, k, v, **keywords):
        asked.update(keywords)
        return v

    install(monkeypatch, has_libnatten=True, na2d=na2d)
    backend = natten_backend.probe()
    assert str(backend) == "neighborhood attention: natten (natten 0.21.7 with libnatten)"
    q = torch.randn(1, 8, 8, 1, 8)
    assert backend.fast is not None
    assert backend.fast.attend(q, q, q, 5) is q
    assert asked == {"kernel_size": 5, "scale": 1.0}


def test_what_the_kernels_do_not_take_goes_through_torch():
    fast = natten_backend.Fast(na2d=lambda *_, **__: pytest.fail("called on the CPU"), version="0")
    q = torch.randn(1, 8, 8, 1, 8)
    torch.testing.assert_close(Neighborhood(3, fast)(q, q, q), Neighborhood(3)(q, q, q))


class _OnCuda:
    """Enough of a tensor for `takes`."""

    is_cuda = True

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
def test_what_the_kernels_take(dtype, head, kernel, taken):
    fast = natten_backend.Fast(na2d=builtins.max, version="0")
    assert fast.takes(_OnCuda(dtype, head), kernel) is taken
