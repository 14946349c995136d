"""ID tokens of an issuer on this machine: its keys over HTTP, and tokens that are true or not."""

from __future__ import annotations

import base64
import datetime
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt

from headrace.pipelines.triggers.service.login import GOOGLE, IAP, Issuer

_PKCS8 = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


class TokenIssuer:
    """Signs tokens as Google does: ID tokens by RSA with certificates, assertions of its proxy by ECDSA."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.requests = 0
        self.broken = False
        self._signers: dict[str, Any] = {}
        self.rotate("one")
        key = ec.generate_private_key(ec.SECP256R1())
        self._signers["proxy"] = crypt.EsSigner.from_string(key.private_bytes(*_PKCS8), "proxy")
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.keys["proxy"] = public.decode()

    def rotate(self, key_id: str, *, published: bool = True) -> None:
        """Makes another key."""
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        self._signers[key_id] = crypt.RSASigner.from_string(key.private_bytes(*_PKCS8), key_id)
        if published:
            self.keys[key_id] = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def token(self, email: str = "ann@example.com", *, key_id: str = "one", **claims: Any) -> str:
        """A token for the audience https://trigger, of five minutes; a claim of None is left out."""
        now = int(time.time())
        payload = {
            "iss": "https://accounts.google.com",
            "aud": "https://trigger",
            "sub": "1",
            "email": email,
            "email_verified": True,
            "iat": now - 10,
            "exp": now + 300,
            **claims,
        }
        kept = {name: value for name, value in payload.items() if value is not None}
        token: bytes = jwt.encode(self._signers[key_id], kept)
        return token.decode()

    def assertion(self, email: str = "ann@example.com", **claims: Any) -> str:
        """An assertion of Identity-Aware Proxy."""
        proxy = {"iss": "https://cloud.google.com/iap", "aud": "/projects/1/apps/demo", "email_verified": None}
        return self.token(email, key_id="proxy", **{**proxy, **claims})


def forged(token: str, **claims: Any) -> str:
    """A token with other claims and the old signature."""
    head, payload, signature = token.split(".")
    return ".".join([head, encoded({**decoded(payload), **claims}), signature])


def unsigned(token: str, algorithm: str = "none") -> str:
    """A token that says that it needs no signature."""
    head, payload, _ = token.split(".")
    return ".".join([encoded({**decoded(head), "alg": algorithm}), payload, ""])


def decoded(segment: str) -> dict[str, Any]:
    """The JSON of a segment."""
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return content


def encoded(content: dict[str, Any]) -> str:
    """JSON as a segment."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@contextmanager
def key_server(issuer: TokenIssuer) -> Iterator[tuple[Issuer, Issuer]]:
    """Serves the keys, and yields the issuers that `Login` trusts instead of Google."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests += 1
            body = json.dumps(issuer.keys).encode()
            self.send_response(503 if issuer.broken else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Writes nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/certs"
    try:
        yield replace(GOOGLE, keys_url=url), replace(IAP, keys_url=url)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
