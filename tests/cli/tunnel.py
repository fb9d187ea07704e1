# SPDX-License-Identifier: Apache-2.0
"""For the proxies of tests: passes bytes on between two connections."""
import socket
import threading


def pump(source, sink):
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def tunnel(one, other):
    """Both ways at once, until either side ends; that ends the other, too."""
    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()
