#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""terminal.py COLUMNS COMMAND...: runs a command whose stdout and stderr are a terminal of that width, prints
what it wrote there and ends with its status. If COLUMNS begins with "2:", only stderr is the terminal."""
import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

columns, command = sys.argv[1], sys.argv[2:]
only_err = columns.startswith("2:")
main, side = pty.openpty()
fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(columns.removeprefix("2:")), 0, 0))
process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if only_err else side,
                           stderr=side, env={"TERM": "xterm"} | os.environ)
os.close(side)
text = b""
while True:
    try:
        piece = os.read(main, 65536)
    except OSError as error:  # Linux' way to say that nobody holds the other side any more
        if error.errno != errno.EIO:
            raise
        break
    if not piece:
        break
    text += piece
sys.stdout.buffer.write(text.replace(b"\r\n", b"\n"))
sys.stdout.flush()
sys.exit(process.wait())
