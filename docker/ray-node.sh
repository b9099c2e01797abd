#!/bin/sh
# A container that is a node of a Ray cluster:  rlgns-ray-node head  or  rlgns-ray-node worker HEAD-HOST  [RAY-START-ARGUMENT ...]
#
# RAY_AUTH_MODE=token (Ray's own token authentication) with RAY_AUTH_TOKEN_PATH naming a file that all nodes share: the
# head makes the token where there is none, and the others wait for it.
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

# Ray asks for 30 % of the memory, and goes to /tmp, which is slow, where /dev/shm is smaller than that
shm=$(df --output=size -B1 /dev/shm | tail -n 1)
if [ "$shm" -ge 268435456 ]; then
  store="--object-store-memory=$((shm / 10 * 8))"
else
  store=""
  warn "/dev/shm has $((shm / 1048576)) MiB, so that Ray keeps rollouts in /tmp, which is slow; start the container with --shm-size=4g"
fi

# Ray gives itself 30 s to start, fixed in its code; on a busy host that can be too short
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
      warn "dashboard and Jobs API on port 8265 ask for the cluster's token, but speak plain HTTP: keep the port on loopback or a private network"
    else
      warn "WARNING: dashboard and Jobs API on port 8265 ask for no password: whoever reaches it runs any command as this user; keep the port on loopback (docker/README.md)"
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
