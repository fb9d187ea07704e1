# SPDX-License-Identifier: Apache-2.0
# A way to the local Hub through TLS, for suites that call stop_tls in their teardown: `load tls` after `load hub`.

stop_tls() {
  [ -z "${TLS_PID:-}" ] || { kill "$TLS_PID" && wait "$TLS_PID"; } || :
  TLS_PID=
}

# certificate FILE DAYS NAME: signed by itself with key.pem, which is made when missing.
certificate() {
  [ -f key.pem ] || openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out key.pem 2> /dev/null \
    || openssl ecparam -name prime256v1 -genkey -noout -out key.pem
  openssl req -new -key key.pem -subj "/CN=$3" -addext "subjectAltName=DNS:$3" -out request.pem
  openssl x509 -req -in request.pem -signkey key.pem -days "$2" -copy_extensions copy -out "$1" 2> /dev/null
}

# tls CERTIFICATE: HF_ENDPOINT leads through TLS, to the same Hub.
tls() {
  stop_tls
  mkfifo ready
  python3 "$BATS_TEST_DIRNAME/tls_proxy.py" "$1" key.pem "${PLAIN##*:}" > ready 3>&- &
  TLS_PID=$!
  local port
  read -r port < ready
  rm ready
  HF_ENDPOINT=https://localhost:$port
}
