"""A web server that notes down what is posted to it: PORT LOG [CERTIFICATE KEY].

At /busy it is too busy for the first two, at /gone it knows nothing, and at /hang it never answers."""

import http.server
import json
import ssl
import sys
import threading

port, log = int(sys.argv[1]), sys.argv[2]
lock = threading.Lock()
busy = 2


class Place(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global busy
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            status = 204
            if self.path == "/gone":
                status = 404
            elif self.path == "/busy" and busy > 0:
                status, busy = 503, busy - 1
            note = {
                "path": self.path,
                "authorization": self.headers["authorization"],
                "type": self.headers["content-type"],
                "host": self.headers["host"],
                "status": status,
                "body": json.loads(body),
            }
            with open(log, "a") as file:
                file.write(json.dumps(note) + "\n")
        if self.path == "/hang":
            threading.Event().wait()
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("0.0.0.0", port), Place)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
