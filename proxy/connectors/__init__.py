"""Edge: how a granted credential is minted (I/O) and put on a request (pure). One file per kind of credential."""
