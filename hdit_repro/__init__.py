"""hdit-repro: re-run, re-measure and audit the Hourglass Diffusion Transformer paper."""

__version__ = "0.1.0"
