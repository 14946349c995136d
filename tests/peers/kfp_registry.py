"""A registry of compiled pipelines on this machine, as Artifact Registry's kind KFP answers an upload."""

from __future__ import annotations

import email
import email.policy
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml


@dataclass
class KfpRegistry:
    """A running registry.

    Attributes:
        url: where it answers.
        versions: the text of each version, by PACKAGE/sha256:DIGEST.
        tags: the version that each PACKAGE/TAG names.
        refusals: statuses that the next uploads are answered with.
    """

    url: str = ""
    versions: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)

    def keep(self, spec: bytes, tags: str) -> str:
        """Takes a spec; the version's name."""
        package = yaml.safe_load(spec)["pipelineInfo"]["name"]
        version = f"{package}/sha256:{hashlib.sha256(spec).hexdigest()}"
        self.versions[version] = spec
        self.tags |= {f"{package}/{tag}": version for tag in tags.split(",")}
        return version


@contextmanager
def serving_registry() -> Iterator[KfpRegistry]:
    """A registry on a free port."""
    registry = KfpRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if registry.refusals:
                return self._send(registry.refusals.pop(0), "refused")
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
            parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
            spec = parts["content"].get_payload(decode=True)
            return self._send(200, registry.keep(spec, parts["tags"].get_payload()))

        def _send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
