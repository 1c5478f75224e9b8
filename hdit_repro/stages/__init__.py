"""The three things that a job does: train, sample, evaluate. A stage whose output is whole does nothing."""
