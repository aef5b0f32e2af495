#!/usr/bin/env bash
# A throw-away grid on this machine: a coordinator and three agents on loopback, each a process with a state
# folder of its own, joined by one-time tokens over mutual TLS; a real job; its results. Everything that this
# script starts it stops, also on Ctrl-C and on failure, unless KEEP=1 leaves the grid running.
#
# usage: demo.sh [job.yaml]     with bin/ and the job's program built (see make demo)
set -euo pipefail
cd "$(dirname "$0")/../.."
job=${1:-jobs/examples/tour/job.yaml}
agents=3

dir=$(mktemp -d "${TMPDIR:-/tmp}/idlegrid-demo.XXXXXX")
grid=$dir/grid
mkdir "$grid"
pids=()
keep=

stop() {
  trap - EXIT INT TERM
  if [ "$keep" ]; then return; fi
  if [ ${#pids[@]} -gt 0 ]; then
    kill "${pids[@]}" 2>/dev/null || true
    # A daemon leaves within five seconds; one that does not is a fault and is killed.
    for _ in $(seq 100); do
      kill -0 "${pids[@]}" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  rm -rf "$grid"
  rmdir "$dir" 2>/dev/null || true # stays where it holds results
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME FOLDER COMMAND...: runs a daemon in the background until it says where it listens. It gets a
# session of its own, so that a later Ctrl-C in this terminal does not end a grid that was to be kept.
start() {
  local name=$1 folder=$2 log=$grid/$1.log
  shift 2
  setsid "$@" --state "$folder" --listen 127.0.0.1:0 >"$log" 2>&1 &
  local pid=$!
  pids+=("$pid")
  for _ in $(seq 300); do
    [ -f "$folder/addresses.json" ] && return
    if ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
  done
  echo "demo: $name does not start:" >&2
  tail -n 20 "$log" >&2
  exit 1
}

export GRID_CONFIG=$grid/gridctl

echo "== a grid in $grid"
bin/gridcoordinator init --state "$grid/coordinator"
start coordinator "$grid/coordinator" bin/gridcoordinator run
for i in $(seq $agents); do
  bin/gridagent join --state "$grid/agent$i" \
    "$(bin/gridcoordinator token --state "$grid/coordinator" --class always-on)"
  start "agent$i" "$grid/agent$i" bin/gridagent run --cores 1
done
bin/gridctl login "$(bin/gridcoordinator token --state "$grid/coordinator" --role submitter --owner "${USER:-you}")"

echo
echo "== gridctl submit $job --wait"
# In the background, so that a signal to this script is acted on at once.
bin/gridctl submit "$job" --wait -d "$dir/results" ${DEMO_TIMEOUT:+--timeout "$DEMO_TIMEOUT"} &
pids+=($!)
wait $!
unset 'pids[-1]'
pictures=$(find "$dir/results/combined/out" -name '*.png' 2>/dev/null || true)
[ -z "$pictures" ] || printf '\n== the picture\n%s\n' "$pictures"

if [ "${KEEP:-}" = 1 ]; then
  keep=1
  cat <<END

== the grid is still running; play with it:
export GRID_CONFIG=$GRID_CONFIG
bin/gridctl status
bin/gridctl submit jobs/examples/tour/small.yaml --wait
tail -f $grid/agent1.log
# and stop it:
kill ${pids[*]}; rm -rf $dir
END
fi
