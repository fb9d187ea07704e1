#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tls_proxy.py CERTIFICATE KEY PORT: prints a port of localhost that speaks TLS and passes everything on to PORT."""
import socket
import ssl
import sys
import threading

from tunnel import tunnel


def serve(raw):
    try:
        client = context.wrap_socket(raw, server_side=True)
    except (ssl.SSLError, OSError):  # the client hung up on our certificate
        raw.close()
        return
    server = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
    tunnel(client, server)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
