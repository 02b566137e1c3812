"""A web server on this machine that misbehaves as asked."""

import gzip
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves files.

    Attributes:
        files: content by name.
        ranges: whether it can start in the middle of a file.
        compresses: whether it compresses on the way what it sends, for clients that can bear it.
        drops: how many bytes each of the next answers has before the connection breaks off.
        statuses: what the next answers are instead of a file.
        range_error: by how many bytes it starts too late.
        requests: name and Range header of every request.
        served: bytes sent.
    """

    def __init__(self, files):
        self.files = files
        self.ranges, self.compresses, self.range_error = True, False, 0
        self.drops, self.statuses = [], []
        self.requests, self.served = [], 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def answer(self, request):
        name, asked = request.path.lstrip("/"), request.headers.get("Range")
        self.requests.append((name, asked))
        if self.statuses:
            return request.send_error(self.statuses.pop(0))
        if name not in self.files:
            return request.send_error(404)
        content, start = self.files[name], 0
        if asked and self.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + self.range_error
            if start >= len(content):
                return request.send_error(416)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        body = content[start:]
        if self.compresses and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
            request.send_header("Content-Encoding", "gzip")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        body = body[: self.drops.pop(0) if self.drops else None]
        request.wfile.write(body)
        self.served += len(body)
        return None
