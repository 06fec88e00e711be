"""Runs clients that send texts to a server, one after another, in parallel.

Each keeps its own connection, and sends its next request when the last one is
answered. They share one thread and parse only the length of a response: they
run on the measured machine, and take CPU time from the server. Only the
standard library is needed.

Settings: address (host:port), model (its name), texts (a .json list), cores.
Requests: {"do": "ask", "clients": how many}: all texts once, shared among
them; replies with `milliseconds` of each request. {"do": "answers"}:
probabilities of all texts, requested by one client.
"""

import json
import re
import selectors
import socket
import time

from serve import serve

_HEAD = (
    "POST /v1/models/{}:predict HTTP/1.1\r\nHost: {}\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class _Client:
    """Holds a connection and its pending request."""

    def __init__(self, address: str):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, number: int, request: bytes) -> None:
        """Sends request `number`."""
        self.number, self._read = number, b""
        self.started = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Reads what has arrived; returns the body once it is whole."""
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise RuntimeError("the server has closed a connection")
        self._read += piece
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end:
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{head!r}: {body!r}")
        wanted = int(_LENGTH.search(head)[1])
        return body if len(body) == wanted else None


def prepare(settings):
    """Makes the requests; returns facts and the handler."""
    with open(settings["texts"], encoding="utf-8") as handle:
        texts = json.load(handle)
    bodies = [json.dumps({"instances": [text]}).encode() for text in texts]
    address = settings["address"]
    requests = [
        _HEAD.format(settings["model"], address, len(body)).encode() + body
        for body in bodies
    ]

    def ask_all(count):
        """Returns milliseconds and responses, in the order of the texts."""
        found = [None] * len(requests)
        following = iter(enumerate(requests))
        with selectors.DefaultSelector() as selector:
            for number, request in following:
                client = _Client(address)
                client.send(number, request)
                selector.register(client.socket, selectors.EVENT_READ, client)
                if number + 1 == count:
                    break
            while selector.get_map():
                for key, _ in selector.select():
                    client = key.data
                    answer = client.receive()
                    if answer is None:
                        continue
                    took = 1e3 * (time.perf_counter() - client.started)
                    found[client.number] = took, answer
                    after = next(following, None)
                    if after is None:
                        selector.unregister(client.socket)
                        client.socket.close()
                    else:
                        client.send(*after)
        return found

    def handle_request(request):
        found = ask_all(request.get("clients", 1))
        if request["do"] == "answers":
            rows = [json.loads(answer)["predictions"][0] for _, answer in found]
            return {"answers": [row["probabilities"] for row in rows]}
        return {"milliseconds": [took for took, _ in found]}

    return {"version": "HTTP/1.1, connections kept"}, handle_request


if __name__ == "__main__":
    serve(prepare)
