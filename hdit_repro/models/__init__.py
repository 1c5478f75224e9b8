"""Networks: the hourglass and the DiT, built from specs or read from released files."""

from hdit_repro.models.build import build
from hdit_repro.models.groups import parameter_groups
from hdit_repro.models.interop import load_dit, load_k_diffusion

__all__ = ["build", "load_dit", "load_k_diffusion", "parameter_groups"]
