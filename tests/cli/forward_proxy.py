#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""forward_proxy.py LOG: prints a port of localhost that is an HTTP proxy; LOG gets a line for each request to it."""
import http.client
import http.server
import socket
import sys
import urllib.parse

from tunnel import tunnel


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def note(self):
        with open(sys.argv[1], "a") as log:
            print(self.command, self.path, file=log)

    def do_CONNECT(self):
        self.note()
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            tunnel(self.connection, server)
        self.close_connection = True

    def forward(self):
        self.note()
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = http.client.HTTPConnection(url.netloc)
        server.request(self.command, urllib.parse.urlunsplit(("", "", *url[2:])), body, dict(self.headers))
        answer = server.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = forward

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(server.server_address[1], flush=True)
server.serve_forever()
