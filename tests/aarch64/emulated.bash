# SPDX-License-Identifier: Apache-2.0
# For scripts that start what is built for aarch64.

# emulated TREE FILE SCRIPT: makes SCRIPT, which starts FILE under qemu-user with the libraries of that tree. FILE learns by
# its argument 0 what it is called.
emulated() {
  mkdir -p "$(dirname "$3")" &&
    printf '#!/bin/sh\nexec qemu-aarch64-static -L "%s" -0 "$0" "%s" "$@"\n' "$1" "$2" > "$3" && chmod +x "$3"
}

# emulated_program TREE BIN SCRIPT: the same for the program in BIN that SCRIPT is named after. Not by its launcher: what an
# emulated program starts would need the emulator, too.
emulated_program() { emulated "$1" "$2/../libexec/modelutils" "$3"; }
