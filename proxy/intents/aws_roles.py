"""Roles handed to a service: whoever names one in a request also does `iam:PassRole` with it.

Source: IAM User Guide, "grant a user permissions to pass a role to an AWS service".
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from proxy.model.intent import EffectClass, Intent, Resource

_ARN: Final = re.compile(r"arn:[a-z0-9-]+:iam::[0-9]{12}:(?:role|instance-profile)/[\w+=,.@/-]+")
_NAME: Final = re.compile(r"[\w+=,.@/-]{1,512}")
_PROFILES: Final = frozenset({"iaminstanceprofile", "custominstanceprofile", "customiaminstanceprofile", "jobflowrole"})
"""Members that name an instance profile: the role is in it, and only IAM knows which."""


def pass_roles(named: Iterable[tuple[str, str]], partition: str) -> Iterator[Intent]:
    """Yield one `iam:PassRole` for each member and the role it names, by ARN or by name; any other text is any role."""
    for member, text in dict.fromkeys((member, text) for member, text in named if text):
        arn = "*"
        if _ARN.fullmatch(text):
            arn = text
        elif _NAME.fullmatch(text):
            kind = "instance-profile" if member in _PROFILES else "role"
            arn = f"arn:{partition}:iam::*:{kind}/{text.lstrip('/')}"
        yield Intent(
            protocol="aws",
            action="iam:PassRole",
            resource=Resource(type="arn" if arn != "*" else "aws", id=arn),
            effect=EffectClass.ADMIN,
            exact=True,
        )
