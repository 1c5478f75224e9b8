"""SLURM: the graph of a submission, its scripts and its journal, what the queue says, and what a job executes."""
