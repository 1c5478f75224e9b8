"""The version of what each stage computes. Raise one when its numbers change, and say so in CHANGELOG."""

NUMERICS = {"train": 2, "sample": 2, "evaluate": 2}
