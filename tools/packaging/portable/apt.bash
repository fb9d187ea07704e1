# SPDX-License-Identifier: Apache-2.0
# For scripts that fetch from Debian with lists of their own, so that those of this machine, and the architectures that it
# knows, stay as they are. What is fetched is checked by Debian's signatures.

# own_apt FOLDER TYPE [ARCHITECTURE]: reads the lists of packages (deb) or sources (deb-src) of Debian 12 into FOLDER. Then
# `get` is apt-get on them; it downloads into the current folder.
own_apt() {
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg architecture=${3:-$(dpkg --print-architecture)}
  mkdir -p "$1/lists/partial" "$1/archives/partial"
  touch "$1/status"
  cat > "$1/sources.list" << END
$2 [signed-by=$keys] http://deb.debian.org/debian bookworm main
$2 [signed-by=$keys] http://deb.debian.org/debian bookworm-updates main
$2 [signed-by=$keys] http://deb.debian.org/debian-security bookworm-security main
END
  own_apt_options=(-o Dir::Etc::sourcelist="$1/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State="$1"
    -o Dir::State::status="$1/status" -o Dir::Cache="$1" -o APT::Architecture="$architecture" -o APT::Architectures="$architecture"
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none)
  get update
}
get() { apt-get -qq "${own_apt_options[@]}" "$@" >&2; }
