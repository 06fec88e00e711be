"""Runs web servers for tests of clients: canned replies, a model of lengths."""

import contextlib
import http.server
import json
import socket
import threading

HEAD = b"HTTP/1.1 "


def reply(status: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = [HEAD + status, *headers, b"Connection: close"]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


GOOD = reply(b"200 OK", b'{"predictions": [1]}')
BUSY = reply(b"503 Busy", b'{"error": "busy"}', b"Retry-After: 0")


def answers(*replies, family=socket.AF_INET, drip=0.0):
    """Starts a server that sends each connection the next reply; returns a URL.

    An empty reply closes the connection. With `drip`, bytes are sent one by
    one, that many seconds apart.
    """
    place = ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)
    listener = socket.create_server(place, family=family)

    def go():
        with listener:
            for each in replies:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    _read_request(connection)
                    if not drip:
                        connection.sendall(each)
                        continue
                    for byte in each:
                        connection.sendall(bytes([byte]))
                        if stop.wait(drip):
                            break

    stop = threading.Event()
    threading.Thread(target=go, daemon=True).start()
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _read_request(connection):
    """Reads a whole request: closing on unread bytes resets the connection."""
    if connection.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS client hello
        connection.recv(65536)
        return
    with connection.makefile("rb") as stream:
        length = 0
        while (line := stream.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        stream.read(length)


class Lengths(http.server.BaseHTTPRequestHandler):
    """Predicts the length of each text; `server.requests` records requests."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one write

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        rows = json.loads(body)["instances"]
        self.server.requests.append((self.path, dict(self.headers), len(rows)))
        texts = [row["text"] if isinstance(row, dict) else row for row in rows]
        answer = {"predictions": [len(text) for text in texts]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        if self.server.packs:
            import gzip

            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self):
        return "here"

    def log_message(self, *words):
        pass


class _Server(http.server.ThreadingHTTPServer):
    """Closes its open connections when it ends, as a process would."""

    daemon_threads = True

    def process_request(self, request, place):
        self.open.append(request)
        super().process_request(request, place)

    def close_all(self):
        for each in self.open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self):
        self.socket.bind(self.server_address)


@contextlib.contextmanager
def lengths(*, port=0, socket_file=None, packs=False, context=None):
    """Runs a server of `Lengths` and yields it."""
    if socket_file:
        server = _UnixServer(str(socket_file), Lengths)
        server.url = f"unix://{socket_file}"
    else:
        server = _Server(("127.0.0.1", port), Lengths)
        scheme = "https" if context else "http"
        server.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.requests, server.packs, server.open = [], packs, []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        server.close_all()
        thread.join(10)
