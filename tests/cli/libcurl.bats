# SPDX-License-Identifier: Apache-2.0
# Which libcurl is used: the system's, which tests take away by putting one in front that lacks something
# (tests/faults/libcurl_stub.cc), or our own beside the programs. OWN_LIBCURL names the copy to test as our own, otherwise
# it is that of this machine. And what both do with certificates and proxies.
load helper
load hub
load tls

setup() {
  hub_home
  unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
  [ "$(head -c 4 "$BIN_DIR/hub-push" | tail -c 3)" = ELF ] || skip "programs run through a wrapper"
  STUBS=$(realpath "$BIN_DIR/../tests/faults/libcurl")
  SYSTEM=$(hub-push --version -v | sed -n "s/^libcurl .*, the system's, \(.*\): used$/\1/p")
  mkdir -p place/bin place/lib/modelutils
  cp "$BIN_DIR/hub-push" "$BIN_DIR/st-inspect" place/bin
  OWN=$PWD/place/lib/modelutils/libcurl.so.4
}

teardown() {
  stop_tls
  stop_hub
  [ -z "${PROXY_PID:-}" ] || { kill "$PROXY_PID" && wait "$PROXY_PID"; } || :
}

# without THING COMMAND...: as expect 0, where the system's libcurl lacks a thing.
without() { expect 0 env LD_LIBRARY_PATH="$STUBS/without-$1" "${@:2}"; }
own_copy() { cp "${OWN_LIBCURL:-$SYSTEM}" "$OWN"; }

@test "--version -v adds libcurl's version and place where a program may need it; -v alone, --version alone don't" {
  for tool in card-gen hub-push st-inspect; do
    for order in "--version -v" "-v --version"; do
      expect 0 $tool $order
      [[ ${lines[0]} =~ ^$tool\ [0-9.]+$ ]]
      [[ ${lines[1]} =~ ^libcurl\ [0-9.]+[^,]*,\ the\ system\'s,\ /.*/libcurl.so.4.*:\ used$ ]]
      [ ${#lines[@]} = 2 ] && [ -z "$stderr" ]
    done
    expect 0 $tool --version
    [ ${#lines[@]} = 1 ]
  done
  for tool in ckpt-prune lora-extract st-pack; do
    expect 0 $tool --version -v
    [ ${#lines[@]} = 1 ]
  done
}

@test "the system's libcurl is used where it can do all that is asked of it, our own only where it can't" {
  own_copy
  start_hub
  model
  expect 0 place/bin/hub-push --version -v
  [[ ${lines[1]} == *", the system's, $SYSTEM: used" ]]
  [[ ${lines[2]} == *", our own, $OWN: not needed" ]]
  for row in "poll it has no curl_multi_poll" "option it has no CURLOPT_PROXY" "https it can't speak https"; do
    without "${row%% *}" place/bin/hub-push --version -v
    [ "${lines[1]}" = "libcurl 7.61.1 OpenSSL/1.1.1k, the system's, $STUBS/without-${row%% *}/libcurl.so.4: not used, ${row#* }" ]
    [[ ${lines[2]} == "libcurl "*", our own, $OWN: used" ]]
    without "${row%% *}" place/bin/hub-push out "ada/${row%% *}"
    same_files "ada/${row%% *}" out
    without "${row%% *}" place/bin/st-inspect --names "hf://ada/${row%% *}"
  done
}

@test "a system's libcurl that can't be loaded is passed over, too" {
  own_copy
  mkdir broken
  echo "not a library" > broken/libcurl.so.4
  expect 0 env LD_LIBRARY_PATH="$PWD/broken" place/bin/hub-push --version -v
  has output "broken/libcurl.so.4: "
  [[ ${lines[2]} == *", our own, $OWN: used" ]]
}

@test "no libcurl that can be used: one line, exit 7; local work and --version go on" {
  start_hub
  model
  for own in none broken; do
    [ $own = none ] || echo "not a library" > "$OWN"
    expect 7 env LD_LIBRARY_PATH="$STUBS/without-poll" place/bin/hub-push -n out ada/tiny
    [ "$(wc -l <<< "$stderr")" = 1 ]
    has stderr "libcurl can't be used: $STUBS/without-poll/libcurl.so.4: it has no curl_multi_poll"
    has stderr "7.66 or newer is needed"
    [ $own = none ] || has stderr "; $OWN: "
    without poll place/bin/hub-push --version -v
    [ ${#lines[@]} = $([ $own = none ] && echo 2 || echo 3) ]
    ! grep -q ": used" <<< "$output"
    without poll place/bin/st-inspect --names out
    without poll place/bin/hub-push --endpoint "file://$PWD/cache-$own" out ada/tiny
  done
}

@test "certificates: those that a variable names are trusted, and no server that they don't vouch for, with either libcurl" {
  own_copy
  start_hub
  model
  PLAIN=$HF_ENDPOINT
  certificate mine.pem 2 localhost
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout other.key -days 2 -subj /CN=localhost -out wrong.pem 2> /dev/null
  tls mine.pem
  refused() { # COMMAND...: in a line that says what to do
    expect 6 "$@" hub-push -n out ada/tiny
    [ "$(wc -l <<< "$stderr")" = 1 ]
    has stderr certificate
    has stderr "name the certificates to trust with SSL_CERT_FILE"
  }
  own=(env LD_LIBRARY_PATH="$STUBS/without-poll" PATH="$PWD/place/bin:$PATH")
  [ ! -e /etc/ssl/certs/ca-certificates.crt ] || refused "${own[@]}"
  for libcurl in system own; do
    run=(env)
    [ $libcurl = system ] || run=("${own[@]}")
    refused "${run[@]}" SSL_CERT_FILE="$PWD/wrong.pem"
    expect 0 "${run[@]}" SSL_CERT_FILE="$PWD/mine.pem" hub-push -n out ada/tiny
    mkdir -p folder
    cp mine.pem "folder/$(openssl x509 -in mine.pem -noout -hash).0"
    expect 0 "${run[@]}" SSL_CERT_DIR="/no/such/folder:$PWD/folder" hub-push -n out ada/tiny
    # The first that is set counts.
    refused "${run[@]}" SSL_CERT_FILE="$PWD/wrong.pem" CURL_CA_BUNDLE="$PWD/mine.pem"
    refused "${run[@]}" CURL_CA_BUNDLE="$PWD/wrong.pem" REQUESTS_CA_BUNDLE="$PWD/mine.pem"
    for variable in SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE; do
      expect 7 "${run[@]}" $variable="$PWD/none" hub-push -n out ada/tiny
      [ "$(wc -l <<< "$stderr")" = 1 ]
      has stderr "$variable names $PWD/none, which can't be read: No such file or directory; correct $variable or unset it"
    done
    echo "not a certificate" > text.pem
    expect 7 "${run[@]}" SSL_CERT_FILE="$PWD/text.pem" hub-push -n out ada/tiny
    has stderr text.pem
    expect 0 "${run[@]}" SSL_CERT_FILE="$PWD/none" HF_ENDPOINT="$PLAIN" hub-push -n out ada/tiny
  done
}

@test "proxies: http_proxy for plain http, HTTPS_PROXY for TLS, no_proxy around both, with either libcurl" {
  own_copy
  start_hub
  model
  PLAIN=$HF_ENDPOINT
  certificate mine.pem 2 localhost
  mkfifo proxy
  python3 "$BATS_TEST_DIRNAME/forward_proxy.py" asked > proxy 3>&- & PROXY_PID=$!
  read -r port < proxy
  proxy=http://127.0.0.1:$port
  tls mine.pem
  unset no_proxy NO_PROXY
  export SSL_CERT_FILE=$PWD/mine.pem
  for libcurl in system own; do
    run=(env)
    [ $libcurl = system ] || run=(env LD_LIBRARY_PATH="$STUBS/without-poll" PATH="$PWD/place/bin:$PATH")
    repo=ada/$libcurl # hubs don't tell cases of names apart
    for variable in http_proxy HTTP_PROXY ALL_PROXY; do
      : > asked
      repo+=-again
      expect 0 "${run[@]}" HF_ENDPOINT="$PLAIN" $variable="$proxy" hub-push out "$repo"
      grep -q "^POST $PLAIN/api/models/$repo/commit/main" asked
      grep -q "^PUT http://" asked || [ $variable != http_proxy ]
      HF_ENDPOINT=$PLAIN same_files "$repo" out
    done
    for variable in https_proxy HTTPS_PROXY ALL_PROXY; do
      : > asked
      expect 0 "${run[@]}" $variable="$proxy" hub-push -n out "ada/$libcurl-new"
      [ "$(sort -u asked)" = "CONNECT ${HF_ENDPOINT#https://}" ]
    done
    : > asked
    expect 0 "${run[@]}" HF_ENDPOINT="$PLAIN" http_proxy="$proxy" no_proxy=127.0.0.1 hub-push -n out "ada/$libcurl-new"
    expect 0 "${run[@]}" https_proxy="$proxy" no_proxy=localhost hub-push -n out "ada/$libcurl-new"
    [ ! -s asked ]
    expect 75 "${run[@]}" https_proxy=http://127.0.0.1:9 hub-push --max-wait 0 -n out "ada/$libcurl-new"
  done
}
