"""From a run to a trained network: draws, optimiser, EMA, checkpoints, the loop."""
