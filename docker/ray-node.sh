#!/bin/sh
# Runs a node of a Ray cluster:  rlgns-ray-node head  or  rlgns-ray-node worker HEAD-HOST  [RAY-START-ARGUMENT ...]
#
# With RAY_AUTH_MODE=token (Ray's token authentication), RAY_AUTH_TOKEN_PATH names a file that all nodes share: the head
# makes the token if there is none, and the workers wait for it.
set -eu

warn() { echo "rlgns: $*" >&2; }

wait_for_token() {
  tries=0
  until [ -s "$RAY_AUTH_TOKEN_PATH" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 120 ] || { warn "no token in $RAY_AUTH_TOKEN_PATH after 60 s: the head and this container must share that file"; exit 2; }
    sleep 0.5
  done
}

make_token() {
  [ -s "$RAY_AUTH_TOKEN_PATH" ] && return
  umask 077
  python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH.new"
  mv "$RAY_AUTH_TOKEN_PATH.new" "$RAY_AUTH_TOKEN_PATH"
}

# By default Ray takes 30 % of the memory, and falls back to /tmp, which is slow, if /dev/shm is smaller
shm=$(df --output=size -B1 /dev/shm | tail -n 1)
if [ "$shm" -ge 268435456 ]; then
  store="--object-store-memory=$((shm / 10 * 8))"
else
  store=""
  warn "/dev/shm has $((shm / 1048576)) MiB, so Ray keeps rollouts in /tmp, which is slow; start the container with --shm-size=4g"
fi

# Ray's limit of 30 s for its start is fixed in its code and can be too short on a busy host
ray_start() {
  tries=1
  while :; do
    began=$(date +%s) stopped=""
    ray start --disable-usage-stats --block $store "$@" &
    child=$!
    trap 'stopped=1; kill -TERM $child 2>/dev/null' TERM INT
    code=0
    wait $child || code=$?
    if [ -n "$stopped" ]; then
      wait $child || true
      exit 0
    fi
    [ "$code" -ne 0 ] && [ "$tries" -lt 5 ] && [ $(($(date +%s) - began)) -lt 180 ] || exit "$code"
    tries=$((tries + 1))
    warn "Ray did not start (exit code $code); try $tries of 5"
    ray stop --force >/dev/null 2>&1 || true
  done
}

role="${1:-}"
[ $# -eq 0 ] || shift
case "$role" in
  head)
    if [ "${RAY_AUTH_MODE:-disabled}" = token ]; then
      [ -z "${RAY_AUTH_TOKEN_PATH:-}" ] || make_token
      warn "dashboard and Jobs API on port 8265 ask for the cluster's token over plain HTTP: keep the port on loopback or a private network"
    else
      warn "WARNING: dashboard and Jobs API on port 8265 ask for no password: whoever reaches it can run any command as this user; keep the port on loopback (docker/README.md)"
    fi
    ray_start --head --port=6379 --dashboard-host=0.0.0.0 "$@"
    ;;
  worker)
    [ $# -gt 0 ] || { warn "rlgns-ray-node worker needs the head's host"; exit 2; }
    host="$1"
    shift
    if [ "${RAY_AUTH_MODE:-disabled}" = token ] && [ -n "${RAY_AUTH_TOKEN_PATH:-}" ]; then wait_for_token; fi
    ray_start --address="$host:6379" "$@"
    ;;
  *)
    warn "rlgns-ray-node takes head or worker, got '$role'"
    exit 2
    ;;
esac
