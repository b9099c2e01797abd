#!/usr/bin/env bash
# Builds the image and runs it as users do: alone, and as a cluster of a head and two workers. Needs a Docker engine.
#
#   docker/check.sh [BASE_IMAGE]
#
# BUILD_ARGS: added to `docker build` (--build-arg VARIANT=cuda; behind a proxy: --network host --secret
# id=pip_ca,src=FILE). COMPOSE: the compose command ("docker compose"). KEEP=1: keeps image and volumes.
set -euo pipefail
cd "$(dirname "$0")/.."

base="${1:-python:3.11-slim-bookworm}"
compose="${COMPOSE:-docker compose}"
image=rlgns-check
project=rlgnscheck
log=$(mktemp)
# Without CPUs the head runs no actors, so training is on another node than the job's driver
compose_up() { RLGNS_IMAGE=$image RLGNS_SHM_SIZE=1gb RLGNS_HEAD_CPUS=0 RLGNS_TRAIN="$1" $compose -p $project -f docker/compose.yaml "${@:2}"; }

clean() {
  rm -f "$log"
  docker rm -f $project-train >/dev/null 2>&1 || true
  compose_up "" down -v >/dev/null 2>&1 || true
  [ -n "${KEEP:-}" ] || { docker volume rm $project-runs >/dev/null 2>&1 || true; docker rmi $image >/dev/null 2>&1 || true; }
}
trap clean EXIT

say() { printf '\n== %s\n' "$*"; }

say "build on $base"
# shellcheck disable=SC2086
DOCKER_BUILDKIT=1 docker build -q -f docker/Dockerfile --build-arg BASE_IMAGE="$base" \
  --build-arg COMMIT="$(git describe --always --dirty=+ --abbrev=12)" ${BUILD_ARGS:-} -t $image .
docker image inspect -f '{{.Size}} bytes, user {{.Config.User}}, licences {{index .Config.Labels "org.opencontainers.image.licenses"}}' $image
[ "$(docker run --rm --entrypoint id $image -u)" = 1000 ]

say "rlgns doctor"
docker run --rm --shm-size=1g $image doctor

say "another user id, read-only root, no capabilities: rlgns doctor and a short training"
confined=(docker run --rm --shm-size=1g --user 4321:4321 --read-only --tmpfs /tmp:exec --tmpfs /home/rlgns:mode=1777
  --cap-drop ALL --security-opt no-new-privileges)
"${confined[@]}" $image doctor
"${confined[@]}" $image train --game pong --observations 4096 2>&1 | tail -n 4

say "rlgns train --game pong, 20,000 observations, into a named volume"
docker run -d --name $project-train --shm-size=1g -v $project-runs:/home/rlgns/runs $image train --game pong --observations 20000 >/dev/null
health=starting
until [ "$health" = healthy ]; do
  [ "$(docker inspect -f '{{.State.Running}}' $project-train)" = true ] || break
  sleep 2
  health=$(docker inspect -f '{{.State.Health.Status}}' $project-train)
done
echo "health check: $health"
[ "$health" = healthy ]
[ "$(docker wait $project-train)" = 0 ] || { docker logs $project-train; exit 1; }
docker logs $project-train 2>&1 | tail -n 4
foreign=$(docker run --rm -v $project-runs:/runs --entrypoint find $image /runs ! -user 1000)
[ -z "$foreign" ] || { echo "files of another user: $foreign"; exit 1; }

say "rlgns evaluate --video, workspace --write, config"
in_runs=(docker run --rm --shm-size=1g -v "$project-runs:/home/rlgns/runs" -w /home/rlgns/runs $image)
run=$(docker run --rm -v "$project-runs:/runs" -w /runs --entrypoint sh $image -c 'ls -dt pong-* | head -n 1')
"${in_runs[@]}" evaluate "$run" --episodes 1 --video game.mp4 2>/dev/null
"${in_runs[@]}" workspace --write panels.json
"${in_runs[@]}" config --runners 2 --learners 2 | grep '^# \(driver\|learners\|runners\|memory\)'

say "compose: head, two workers, a job with two runners"
compose_up "--game pong --observations 4096 --runners 2" up --no-build --no-color --scale worker=2 --exit-code-from train | tee "$log"
! grep 'the cluster lacks' "$log" || { echo "the image lacks packages that a job needs"; exit 1; }
say "all passed"
