#!/usr/bin/env bash
# The services under a real systemd: boots a Debian in a container with a network of its own, installs a coordinator and
# an agent there with their own verbs, runs a job, kills, stops and removes them, and shuts down. Nothing of this machine
# is changed but the folder with the container's system, which is kept for the next time. About a minute.
#
# usage: systemd.sh [FOLDER]     as root, with bin/ and the job's program built (make build examples);
#                                needs debootstrap and systemd-container
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-/var/tmp/idlegrid-systemd}
base=$folder/bookworm
packages=systemd,systemd-sysv,dbus,libpam-systemd,polkitd,procps

for tool in debootstrap systemd-nspawn; do
  command -v $tool >/dev/null || { echo "systemd.sh: no $tool: apt install debootstrap systemd-container" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "systemd.sh: containers are root's" >&2; exit 1; }

if [ ! -f "$base/.whole" ]; then
  mkdir -p "$folder"
  rm -rf "$base"
  debootstrap --variant=minbase --include=$packages bookworm "$base" ${DEBIAN:+"$DEBIAN"}
  touch "$base/.whole"
fi
cat >"$base/etc/systemd/system/gridtest.service" <<'END'
[Unit]
After=multi-user.target systemd-logind.service
[Service]
ExecStart=/bin/bash /mnt/test/inside.sh
END
mkdir -p "$base/etc/systemd/system/default.target.wants" "$base/mnt/test"
ln -sf ../gridtest.service "$base/etc/systemd/system/default.target.wants/"

work=$(mktemp -d "$folder/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # a user of the container works there too
cp bin/gridagent bin/gridcoordinator bin/gridctl deploy/test/inside.sh "$work"
cp -r jobs/examples/tour "$work/tour"
cp "bin/packages/"*"_$(dpkg --print-architecture).deb" "$work" 2>/dev/null || echo "systemd.sh: no packages here, not tried: make packages"
CGO_ENABLED=0 go test -c -o "$work/service.test" ./agent/service

# All that the container changes of its system is in memory, and gone with it.
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout 300 systemd-nspawn --quiet --directory="$base" --volatile=overlay \
  --bind="$work:/mnt/test" --boot --register=no --keep-unit --private-network --kill-signal=SIGRTMIN+4 \
  </dev/null >"$work/console" 2>&1 || { echo "systemd.sh: the container ended badly"; tail -n 50 "$work/console"; exit 1; }
cat "$work/out"
tail -n 1 "$work/out" | grep -q '^PASS$' || { echo "systemd.sh: it did not come to its end" >&2; exit 1; }
printf '\n== what the service was told\n'
cat "$work/events"
grep -q '^shutdown$' "$work/events" || { echo "systemd.sh: the shutdown was not told" >&2; exit 1; }
