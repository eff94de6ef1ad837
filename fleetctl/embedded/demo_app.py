"""The program that the demo deploys: an HTTP server that says which copy of itself is answering.

It runs on the demo's hosts as any program would, with the standard library alone, and knows nothing of fleetctl but
the variables it finds in its environment.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def who() -> str:
    """`web.1, epoch 3, on h2`."""
    found = os.environ
    return f"{found['FLEETCTL_REPLICA']}, epoch {found['FLEETCTL_EPOCH']}, on {found['FLEETCTL_HOST']}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = f"{who()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, _format: str, *_values: object) -> None:
        """Probes come several times a second: nothing of them in the log."""


def main() -> None:
    place = (os.environ["FLEETCTL_ADDRESS"], int(os.environ["FLEETCTL_PORT_HTTP"]))
    with ThreadingHTTPServer(place, Answer) as server:
        print(f"{who()}: listening on {place[0]}:{place[1]}", flush=True)  # noqa: T201 (its log)
        server.serve_forever()


if __name__ == "__main__":
    main()
