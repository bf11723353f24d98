"""Roles handed to a service: whoever names one in a request also does `iam:PassRole` with it.

Source: IAM User Guide, "grant a user permissions to pass a role to an AWS service".
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from proxy.model.intent import EffectClass, Intent, Resource

_ARN: Final = re.compile(r"arn:[a-z0-9-]+:iam::[0-9]{12}:(?:role|instance-profile)/[\w+=,.@/-]+")
_NAME: Final = re.compile(r"[\w+=,.@/-]{1,512}")


def pass_roles(texts: Iterable[str], partition: str) -> Iterator[Intent]:
    """Yield one `iam:PassRole` for each role named, by ARN or by name; for what is neither, one for any role."""
    for text in dict.fromkeys(text for text in texts if text):
        arn = "*"
        if _ARN.fullmatch(text):
            arn = text
        elif _NAME.fullmatch(text):
            arn = f"arn:{partition}:iam::*:role/{text.lstrip('/')}"
        yield Intent(
            protocol="aws",
            action="iam:PassRole",
            resource=Resource(type="arn" if arn != "*" else "aws", id=arn),
            effect=EffectClass.ADMIN,
            exact=True,
        )
