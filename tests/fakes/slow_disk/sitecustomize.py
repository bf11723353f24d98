"""Loaded by a sidecar's interpreter at its start: a disk that takes as long to sync as a file says, in seconds."""

import os
import time
from pathlib import Path
from typing import Any

_sync = os.fdatasync
_dial = Path(os.environ["SLOW_DISK"])


def fdatasync(descriptor: Any) -> None:
    time.sleep(float(_dial.read_text()))
    _sync(descriptor)


os.fdatasync = fdatasync  # type: ignore[assignment]
