"""The parts of `benchmarks/gpu.py`: one small file a subject."""
