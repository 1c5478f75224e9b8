"""For all tests: made-up examples are the same at every run, are not timed, and leave nothing in the checkout."""

import contextlib

with contextlib.suppress(ImportError):  # tests/device runs where hypothesis is not
    from hypothesis import settings

    settings.register_profile("the same for everybody", derandomize=True, deadline=None, database=None)
    settings.load_profile("the same for everybody")
