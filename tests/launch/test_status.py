"""Why a stage failed, in the one line that a board has for it."""

import pytest

from hdit_repro.errors import UserError
from hdit_repro.launch.status import in_a_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (str(UserError("the loss is not finite", found="nan", fix="lower the rate")), "the loss is not finite"),
        (
            "RuntimeError: cuDNN Frontend error: No valid engine configs for Matmul\n"
            "Warning: CUDNN_STATUS_NOT_SUPPORTED; Reason: finalize_internal()",
            "RuntimeError: cuDNN Frontend error: No valid engine configs for Matmul",
        ),
        (
            "BackendCompilerFailed: backend='inductor' raised:\nValueError: no kernel\n\nSet TORCHDYNAMO_VERBOSE=1\n",
            "BackendCompilerFailed: backend='inductor' raised: ValueError: no kernel",
        ),
        (
            "RuntimeError: Caught ValueError in a worker.\nOriginal Traceback (most recent call last):\n"
            '  File "x.py", line 1\nValueError: no image\n',
            "ValueError: no image",
        ),
        ("\n\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("", ""),
        (" \n", ""),
    ],
)  # fmt: skip
def test_an_error_in_a_line_is_what_it_says_first(text: str, line: str) -> None:
    assert in_a_line(text) == line
