"""Bring one response to the job: strict fields, our own framing, watched for the credential we injected."""

from dataclasses import replace

from proxy.gateway.echo import EchoGuard
from proxy.gateway.framing import CHUNKED, EMPTY, UNTIL_CLOSE, Framing, encode_chunk
from proxy.gateway.heads import Request, Response, forwardable_trailers
from proxy.gateway.pumps import Pump, Tally
from proxy.gateway.rewriting import write_response, write_trailers
from proxy.gateway.wire import Wire
from proxy.model.errors import ProtocolError
from proxy.model.grant import AnswerReader, Edits
from proxy.model.intent import Headers
from proxy.model.reason import Reason


class Relay:
    """One response on its way. `prepare` may still refuse; from `begin` on, a fault can only cut it short."""

    __slots__ = (
        "_client",
        "_echo",
        "_fields",
        "_pump",
        "_reader",
        "_request",
        "_response",
        "_upstream",
        "has_begun",
        "keeps_client",
        "keeps_upstream",
        "tally",
    )

    def __init__(self, client: Wire, upstream: Wire, request: Request, response: Response) -> None:
        self._client = client
        self._upstream = upstream
        self._request = request
        self._response = response
        self._fields: Headers = response.fields
        self._echo: EchoGuard | None = None
        self._pump: Pump | None = None
        self._reader: AnswerReader | None = None
        self.tally = Tally()
        """What was received."""
        self.has_begun = False
        self.keeps_client = True
        self.keeps_upstream = False

    @property
    def redactions(self) -> int:
        """How often the credential was found and blanked."""
        return self._echo.hits if self._echo is not None else 0

    def prepare(self, edits: Edits, *, keeps_cookies: bool) -> None:
        """Clean the fields. Raises ProtocolError when the response cannot be watched as it must be."""
        if not keeps_cookies:
            # A cookie obtained with our credential is a credential (C07).
            self._fields = tuple([pair for pair in self._fields if pair[0] != "set-cookie"])
        if edits.watch:
            is_empty = self._response.framing.is_empty
            echo = self._echo = EchoGuard(edits.watch, None if is_empty else self._response.coding)
            if echo.is_blind:
                raise ProtocolError("the response's coding cannot be searched", Reason.CREDENTIAL_ECHO)
            if not echo.is_clean_head(self._response.raw):
                self._fields = _clean(echo, self._fields)
                self._response = replace(self._response, phrase=echo.clean_value(self._response.phrase))
        if edits.reader is not None:
            self._reader = edits.reader(self._response.status, self._response.coding, self._fields)

    def begin(self, *, keep: bool) -> None:
        """Send the head, with what of the body is here already, in one write. Raises ProtocolError before any byte."""
        framing = self._response.framing
        outgoing = framing
        if framing.length < 0:
            outgoing = Framing(CHUNKED if self._request.version == "1.1" else UNTIL_CLOSE)
        self.keeps_client = keep and outgoing.length != UNTIL_CLOSE
        head = write_response(self._response, self._fields, outgoing, keep=self.keeps_client)
        if framing is EMPTY or framing.is_empty:
            self.has_begun = True
            self._client.write(head)
            return
        if 0 < framing.length <= len(self._upstream.buffer):
            payload = self._take_whole(framing.length)
            self.has_begun = True
            self._client.write(head + payload)
            return
        decoder = framing.decoder()
        chunked = outgoing.length == CHUNKED
        pump = self._pump = Pump(
            self._upstream,
            self._client,
            decoder,
            chunked=chunked,
            gone=Reason.CLIENT_GONE,
            tally=self.tally,
            cleaner=self._echo,
            reader=self._reader,
            trailers=self._clean_trailers,
        )
        piece, self._upstream.buffer = self._upstream.buffer, b""
        payload = self._first_payload(pump, piece) if piece else b""
        framed = b"".join(encode_chunk(payload)) if chunked and payload else payload
        if decoder.done:
            framed += pump.closing_bytes()
        self.has_begun = True
        self._client.write(head + framed)
        if decoder.done:
            pump.stop(None)
        else:
            pump.start()

    def _take_whole(self, length: int) -> bytes:
        """Return a counted body that is all here already, as most answers are: there is nothing to pump."""
        buffer = self._upstream.buffer
        payload, self._upstream.buffer = buffer[:length], buffer[length:]
        try:
            if self._echo is not None:
                payload = self._echo.feed_last(payload)
        except ProtocolError as error:
            raise self._blame(error) from None
        self.tally.add(payload)
        if self._reader is not None:
            self._reader.feed(payload)
            self._reader.finish()
        return payload

    async def finish(self) -> None:
        """Wait for the body's end. Raises ProtocolError when it was cut."""
        if self._pump is not None:
            try:
                await self._pump.wait()
            except ProtocolError as error:
                raise self._blame(error) from None
        until_close = self._response.framing.length == UNTIL_CLOSE
        self.keeps_upstream = self._response.keep_alive and not until_close and not self._upstream.buffer

    def stop(self, error: ProtocolError) -> None:
        """Cut it."""
        if self._pump is not None:
            self._pump.stop(error)

    def _first_payload(self, pump: Pump, piece: bytes) -> bytes:
        try:
            return pump.convert(piece)
        except ProtocolError as error:
            raise self._blame(error) from None

    def _blame(self, error: ProtocolError) -> ProtocolError:
        """Return the fault as the upstream's: in a response nothing malformed is the job's."""
        if error.reason is not Reason.BODY_MALFORMED:
            return error
        return ProtocolError(str(error), Reason.UPSTREAM_CLOSED if self._upstream.eof else Reason.UPSTREAM_MALFORMED)

    def _clean_trailers(self, raw: bytes) -> bytes:
        fields = forwardable_trailers(raw)
        if self._echo is not None:
            fields = _clean(self._echo, fields)
        return write_trailers(fields)


def _clean(echo: EchoGuard, fields: Headers) -> Headers:
    """Return fields with every value blanked; a field whose very name repeats a secret is left out."""
    return tuple((name, echo.clean_value(value)) for name, value in fields if not echo.is_repeated(name))
