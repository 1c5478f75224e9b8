"""The version of what each stage computes. Raise one when its numbers change, and say so in CHANGELOG."""

NUMERICS = {"train": 1, "sample": 1, "evaluate": 1}
