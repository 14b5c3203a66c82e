"""A certificate for localhost, for as long as a benchmark over TLS takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .server import Certificate


@contextmanager
def certificate() -> Iterator[Certificate | None]:
    """Files that are gone afterwards; None where `trustme` is not installed (extra `bench`)."""
    try:
        import trustme
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        chain, key, ca = (Path(folder) / name for name in ("chain.pem", "key.pem", "ca.pem"))
        issued.private_key_pem.write_to_path(str(key))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(chain), append=True)
        authority.cert_pem.write_to_path(str(ca))
        yield Certificate(chain=str(chain), key=str(key), authority=str(ca))
