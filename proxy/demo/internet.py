"""The rest of the internet: a server that nothing may ever reach. It keeps a list of who did."""

import ssl

from proxy.demo.web import Exchange, Site


class Internet:
    """Answers 200 to everybody and counts connections, so that a leak is seen and not merely an error."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.site = Site(_InternetExchange, tls)

    @property
    def visits(self) -> int:
        """How many connections arrived; the promise is none."""
        return self.site.counts.connections

    def start(self) -> None:
        """Serve."""
        self.site.start()

    def stop(self) -> None:
        """Stop serving."""
        self.site.stop()


class _InternetExchange(Exchange):
    """Takes whatever it is given."""

    def answer(self) -> None:
        for _ in self.body_blocks():
            pass
        self.reply(200, b"the open internet says hello\n")
