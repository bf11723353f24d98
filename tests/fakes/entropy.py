"""Names and secrets that count upwards, so that a test knows them beforehand."""

import itertools

from proxy.model.grant import Secret


class CountingEntropy:
    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._secrets = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._ids)}"

    def new_secret(self) -> Secret:
        return Secret(f"jgs_counted_{next(self._secrets)}")
