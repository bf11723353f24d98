"""What every section of the settings is made of: strict, frozen, and values written as people write them."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from proxy.model.authority import Authority, parse_authority, parse_host
from proxy.model.durations import parse_duration
from proxy.model.errors import ProtocolError


def _listener(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_listener(value)
    except ProtocolError as error:
        raise ValueError(f"{error}; write host:port, with port 0 for any free one") from None


def parse_listener(text: str) -> Authority:
    """Read where to listen: as an authority, or with port 0 for one the system picks. Raises ProtocolError."""
    host, _, port = text.rpartition(":")
    return Authority(parse_host(host), 0) if port == "0" else parse_authority(text, None)


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _networks(value: object) -> object:
    return value if not isinstance(value, str) else [value]


Listener = Annotated[Authority, BeforeValidator(_listener)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]


class Section(BaseModel):
    """Inert data; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, strict=False)
