"""What holds for every test: properties draw the same examples each time, so that a red gate is about the change.

To look for new ones, run `HYPOTHESIS_PROFILE=explore make unit`; whatever it finds becomes a row in a table.
"""

import os

from hypothesis import settings

from proxy.system import is_compiled

if (os.environ.get("JOBGATE_COMPILED") == "1") is not is_compiled():
    raise RuntimeError("these are not the modules that were to be tested")

settings.register_profile("gate", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
