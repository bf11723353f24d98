"""A queue in Amazon SQS, emptied as the sidecar: messages come at least once, and go when they were dealt with.

Source: Amazon SQS API Reference, AWS JSON protocol: `ReceiveMessage`, `DeleteMessage`.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from proxy.connectors.answers import read_object
from proxy.connectors.aws_own import SignedCaller, aws_host
from proxy.connectors.parts import ConnectorParts
from proxy.model.errors import CredentialError
from proxy.outbound import Call, OutboundError

WAIT: Final = 20
"""Seconds that a call waits for messages: the most SQS takes."""
_HIDDEN: Final = 60
_AT_ONCE: Final = 10
_LIMIT: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its text, what deletes it, and how often it was received."""

    body: str
    receipt: str
    times: int


class Queue:
    """One queue, by its URL."""

    def __init__(self, parts: ConnectorParts, url: str, region: str) -> None:
        self._caller = SignedCaller(parts=parts, service="sqs", region=region)
        self._url = url
        self._endpoint = f"https://{aws_host('sqs', region)}/"

    async def receive(self) -> list[Message]:
        """Wait for messages, and return a few. Raises CredentialError with SQS's code."""
        asked = {
            "MaxNumberOfMessages": _AT_ONCE,
            "WaitTimeSeconds": WAIT,
            "VisibilityTimeout": _HIDDEN,
            "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
        }
        found = (await self._ask("ReceiveMessage", asked)).get("Messages") or []
        return [_read(each) for each in found if isinstance(each, dict)]

    async def delete(self, message: Message) -> None:
        """Take a message away for good. Raises CredentialError."""
        await self._ask("DeleteMessage", {"ReceiptHandle": message.receipt})

    async def _ask(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{operation}"}
        body = json.dumps({"QueueUrl": self._url, **asked}).encode()
        call = Call(method="POST", url=self._endpoint, headers=headers, body=body, timeout=WAIT + 10.0, limit=_LIMIT)
        try:
            answer = await self._caller.call(call)
        except OutboundError as error:
            raise CredentialError(f"SQS: {error}") from None
        found = read_object(answer.body)
        if answer.status != 200 or found is None:
            code = str((found or {}).get("__type", "")).rpartition("#")[2]
            raise CredentialError(f"SQS: {code if code.replace('.', '').isalnum() else f'status {answer.status}'}")
        return found


def _read(message: dict[str, Any]) -> Message:
    attributes = message.get("Attributes")
    times = str(attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else None)
    return Message(
        body=str(message.get("Body", "")),
        receipt=str(message.get("ReceiptHandle", "")),
        times=int(times) if times.isdigit() else 1,
    )
