"""What a stage's process loads before it begins."""

import subprocess
import sys


def test_no_stage_loads_the_compiler_before_it_compiles() -> None:
    """It takes as long as all the rest of torch."""
    code = (
        "import sys, hdit_repro.stages.train, hdit_repro.stages.sample, hdit_repro.stages.evaluate;"
        "print([name for name in ('torch._dynamo', 'torch._inductor', 'sympy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
