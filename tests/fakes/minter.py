"""A minter that records what it was asked and fails on cue."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Dropped, Edits, Grant, MintRequest, Need, Plan, Secret
from proxy.model.intent import Intent, RequestView


class RecordingMinter:
    """Mints one bearer secret per session and grant."""

    def __init__(self) -> None:
        self.minted: list[MintRequest] = []
        self.dropped: list[str] = []
        self.needs_digest = False
        self.need: Need = ()
        self.at_hand: Credential | None = None
        self.plan_error: CredentialError | None = None
        self.mint_error: BaseException | None = None
        self.apply_error: CredentialError | None = None

    def plan(self, view: RequestView, intent: Intent, grant: Grant) -> Plan:
        if self.plan_error is not None:
            raise self.plan_error
        return Plan(needs_digest=self.needs_digest, need=self.need)

    def held(self, session_id: str, grant: Grant, need: Need, now: datetime) -> Credential | None:
        return self.at_hand

    async def mint(self, request: MintRequest) -> Credential:
        self.minted.append(request)
        if self.mint_error is not None:
            raise self.mint_error
        text = "-".join(["secret-of", request.session_id, request.grant.key, *(value for _, value in request.need)])
        return Credential(
            connector=request.grant.connector,
            secrets={"token": Secret(text)},
            facts={"role": "tester"},
            fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        )

    def apply(self, view: RequestView, grant: Grant, credential: Credential, body_digest: str | None) -> Edits:
        if self.apply_error is not None:
            raise self.apply_error
        token = credential.secrets["token"]
        return Edits(
            remove=frozenset({"authorization"}),
            put=(("authorization", Secret(f"Bearer {token.reveal()}")),),
            watch=(token,),
        )

    async def drop(self, session_id: str) -> Sequence[Dropped]:
        self.dropped.append(session_id)
        return ()
