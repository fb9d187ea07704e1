# SPDX-License-Identifier: Apache-2.0
# hub-push where networks, disks and certificates fail.
load helper
load hub
load tls

setup() { hub_home; }

teardown() {
  stop_tls
  stop_hub
  [ ! -d full ] || umount full 2> /dev/null || :
}

@test "a certificate that is not trusted, too old or of another host is refused; bundles in the environment are trusted" {
  model
  start_hub
  PLAIN=$HF_ENDPOINT
  unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE
  certificate mine.pem 2 localhost
  certificate old.pem -1 localhost
  certificate other.pem 2 other.example
  tls mine.pem
  expect 6 hub-push out ada/tiny
  has stderr "certificate"
  has stderr SSL_CERT_FILE
  for variable in SSL_CERT_FILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE; do
    expect 0 env "$variable=$PWD/mine.pem" hub-push -n out/config.json "ada/$variable"
    has output "NEW "
  done
  tls old.pem
  SSL_CERT_FILE=$PWD/old.pem expect 6 hub-push -n out/config.json ada/tiny
  has stderr "certificate has expired"
  tls other.pem
  SSL_CERT_FILE=$PWD/other.pem expect 6 hub-push -n out/config.json ada/tiny
  has stderr localhost
  SSL_CERT_FILE=$PWD/none.pem expect 7 hub-push -n out/config.json ada/tiny
  has stderr none.pem
}

@test "storage that stands still is given up after --timeout, and the piece is sent again" {
  mkdir out
  large out/a.bin 50000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  expect 2 hub-push --timeout 0 out ada/tiny
  expect 2 hub-push --timeout soon out ada/tiny
  hub_fault storage-put stall '"times":1,"seconds":3600'
  expect 0 hub-push --timeout 1s out ada/tiny
  same_files ada/tiny out
  [ "$(hub_admin GET fault | tr -dc 0-9)" = 0 ]
  stop_hub
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  hub_fault storage-put stall '"times":-1,"seconds":3600'
  expect 75 hub-push --timeout 1s --max-wait 0 out ada/tiny
  has stderr "no progress"
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
}

@test "slow storage is waited for as long as bytes move" {
  mkdir out
  large out/a.bin 30000
  start_hub --lfs-threshold 100
  hub_fault storage-put slow '"bytes":20000,"times":1'
  expect 0 hub-push --timeout 1s out ada/tiny
  same_files ada/tiny out
}

@test "requests slow down while few are left of a quota, and wait for the next window when none is left" {
  model
  start_hub --quota 12 --window 3
  expect 0 hub-push out ada/tiny
  expect 0 hub-push -n out ada/tiny
  expect 0 hub-push out ada/other
  [ "$(hub_count 'e["status"] == 429')" = 0 ]
  [ "$(hub_count)" -gt 12 ]
  # A quota that opens later than waiting is allowed for: the server is asked all the same, and says no.
  stop_hub
  start_hub --quota 2 --window 3000
  expect 75 hub-push --max-wait 1s out ada/tiny
  [ "$(hub_count 'e["status"] == 429')" = 1 ]
  has stderr "try again in"
}

@test "a full disk under the journal is said, and the push goes on without one" {
  mkdir out full
  large out/a.bin 50000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  mount -t tmpfs -o size=64k none full 2> /dev/null || skip "needs a mount"
  mkdir full/state
  cat /dev/zero > full/filler 2> /dev/null || :
  XDG_STATE_HOME=$PWD/full/state expect 0 hub-push out ada/tiny
  has stderr "no journal was kept"
  has stderr "No space left"
  same_files ada/tiny out
}

@test "a file that this user may not read is named, and nothing is committed" {
  [ "$(id -u)" = 0 ] || skip "needs root to become another user"
  model
  start_hub
  chmod 600 out/model.safetensors
  chmod 711 "$BATS_TEST_TMPDIR" && chmod -R o+rX out home
  chmod 600 out/model.safetensors
  chmod 777 home
  expect 7 setpriv --reuid 65534 --regid 65534 --clear-groups env HF_HOME="$PWD/home/hf" hub-push out ada/tiny
  has stderr "model.safetensors"
  has stderr "Permission denied"
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
  # What only remembers may be out of reach.
  chmod o+r out/model.safetensors
  mkdir -p home/locked && chmod 700 home/locked
  expect 0 setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_STATE_HOME="$PWD/home/locked/a" \
    XDG_CACHE_HOME="$PWD/home/locked/b" HF_HOME=/nonexistent hub-push out ada/tiny
  has stderr "warning: can't keep a record for the next run"
}

@test "a signal ends it within a second while a name is looked up" {
  unshare -m true 2> /dev/null || skip "needs mount namespaces"
  export HF_TOKEN=hf_any HF_HOME=$PWD/home
  mkdir out
  echo x > out/a.txt
  cat > silent.py <<'PY'
import os
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
# Of this test alone: another one may run at the same time, and machines have name servers of their own.
address = f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}.53"
server.bind((address, 53))
print(address, flush=True)
server.recv(512)
print("asked", flush=True)
server.recv(512)
while True:
    server.recv(512)
PY
  mkfifo asked
  python3 silent.py > asked 3>&- & TLS_PID=$!
  exec 7< asked
  read -r address <&7
  echo "nameserver $address" > resolv.conf
  unshare -m bash -c 'mount --bind resolv.conf /etc/resolv.conf && exec hub-push --endpoint https://hub.example out ada/tiny' \
    2> messages < /dev/null 3>&- 7>&- & pid=$!
  read -r <&7
  begin=$(date +%s%N)
  kill -TERM $pid
  code=0
  wait $pid || code=$?
  [ $(($(date +%s%N) - begin)) -lt 1000000000 ]
  [ "$code" = 143 ]
}
