#!/bin/bash
# Runs in the container of systemd.sh.
exec >/mnt/test/out 2>&1
trap 'poweroff' EXIT
set -eu
cd /mnt/test
check() { printf '\n== %s\n' "$*"; }
fail() { echo "FAIL: $*"; journalctl --no-pager -n 60; exit 1; }
show() { systemctl show --value --property="$1" "$2"; }
# within SECONDS COMMAND...: waits until a command succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "not in time: $*"
    sleep 0.1
  done
}

systemctl --version | head -1
uname -r
install -m 755 gridagent gridcoordinator gridctl /usr/local/bin/
find /etc /usr /var/lib/systemd \( -type f -o -type l \) | sort >before

check "refused: not root, from a home folder, without a grid"
if setpriv --reuid=65534 --clear-groups gridagent stop; then fail "stopped by nobody"; fi
mkdir -p /root/bin && cp gridagent /root/bin/
if gridagent stop; then fail "stopped what is not installed"; fi
if gridagent uninstall; then fail "removed what is not installed"; fi
if gridagent install; then fail "installed without a grid"; fi
if gridcoordinator install; then fail "installed without a grid"; fi

check "install"
gridcoordinator init
gridcoordinator install -- --listen 127.0.0.1:7745
token=$(gridcoordinator token --class always-on)
if /root/bin/gridagent install --join-token "$token" -- --listen 127.0.0.1:7746; then fail "runs what is in a home folder"; fi
[ ! -e /var/lib/idlegrid/agent ] || fail "joined, and was not installed"
gridagent install --join-token "$token" -- --listen 127.0.0.1:7746
systemctl is-active gridagent gridcoordinator
systemctl is-enabled gridagent gridcoordinator
systemctl --global is-enabled gridagent-session.service
grep -x 'Exec=/usr/local/bin/gridagent session-helper --state /var/lib/idlegrid/agent' /etc/xdg/autostart/gridagent-session.desktop
pid=$(show MainPID gridagent.service)
grep -E '^(Uid|NoNewPrivs|CapEff|CapBnd|Seccomp):' "/proc/$pid/status"
ps -o user,cls,ni,args -p "$pid,$(show MainPID gridcoordinator.service)" -ww
echo "oom_score_adj $(cat "/proc/$pid/oom_score_adj"), cgroup $(cat "/proc/$pid/cgroup")"
stat -c '%U %a %n' /var/lib/idlegrid /var/lib/idlegrid/agent /var/lib/idlegrid/coordinator /run/idlegrid
[ "$(stat -c %U /var/lib/idlegrid/agent/key.pem)" = idlegrid ] || fail "the agent's key is another's"
if setpriv --reuid=idlegrid --clear-groups cat /var/lib/idlegrid/coordinator/key.pem; then fail "the agent reads the coordinator's key"; fi

check "exposure, at most 4.0"
for s in gridagent gridcoordinator; do systemd-analyze security --no-pager --threshold=40 $s.service | tail -1; done
systemd-analyze verify /etc/systemd/system/idlegrid.slice /etc/systemd/system/gridagent.service /etc/systemd/system/gridcoordinator.service || true
XDG_RUNTIME_DIR=/run systemd-analyze verify --user /etc/systemd/user/gridagent-session.service

check "a job"
export GRID_CONFIG=/tmp/gridctl
gridctl login "$(gridcoordinator token --role submitter --owner tester)"
within 60 gridctl submit tour/small.yaml --wait -d /tmp/results --timeout 120s
ls /tmp/results
setpriv --reuid=idlegrid --clear-groups gridagent status

check "kill -9, and it is started again"
kill -9 "$pid"
restarted() { [ "$(show NRestarts gridagent.service)" = 1 ] && systemctl -q is-active gridagent; }
within 30 restarted
echo "NRestarts $(show NRestarts gridagent.service)"

check "stop within five seconds while units run, start again"
gridctl submit tour/job.yaml
busy() { [ "$(pgrep -c -P "$(show MainPID gridagent.service)")" -gt 0 ]; }
within 60 busy
begin=$(date +%s%N)
gridagent stop
took=$((($(date +%s%N) - begin) / 1000000))
echo "stopped in $took ms, result $(show Result gridagent.service), still running: $(pgrep -c gridagent || true)"
[ $took -lt 5500 ] || fail "took $took ms"
[ "$(show Result gridagent.service)" = success ] || fail "stopped by force"
gridagent start
systemctl is-active gridagent

check "install again: replaced and restarted"
gridagent install -- --listen 127.0.0.1:7746 --cores 1
grep -q -- '--cores 1$' /etc/systemd/system/gridagent.service || fail "not replaced"

check "an agent with an owner divides its cgroup"
gridagent uninstall >/dev/null
rm -rf /var/lib/idlegrid/agent
gridagent install --join-token "$(gridcoordinator token --class office)" -- --listen 127.0.0.1:7746
[ "$(show ControlGroup gridagent.service)" = /idlegrid.slice/gridagent.service ] || fail "in $(show ControlGroup gridagent.service)"
[ "$(show CPUWeight idlegrid.slice)" = 5 ] || fail "the slice weighs $(show CPUWeight idlegrid.slice)"
group=/sys/fs/cgroup$(show ControlGroup gridagent.service)
(cd "$group" && for d in . agent units; do echo "$d: controllers '$(cat $d/cgroup.controllers)', $(wc -l <$d/cgroup.procs) processes"; done)
grep -qx "$(show MainPID gridagent.service)" "$group/agent/cgroup.procs" || fail "the agent is not in a cgroup of its own"

check "warnings of systemd about the units"
journalctl --no-pager -b _PID=1 | grep -E 'grid(agent|coordinator).*(Unknown|Invalid|deprecated)' || echo none

check "uninstall leaves state only"
gridagent uninstall
gridcoordinator uninstall
find /etc /usr /var/lib/systemd \( -type f -o -type l \) | sort >after
diff before after | grep -vE '^[0-9,adc]+$|(passwd|group|shadow|gshadow|subuid|subgid)-$' && fail "left behind"
if getent passwd idlegrid idlegrid-coordinator; then fail "users left behind"; fi
[ ! -e /run/idlegrid ] || fail "/run/idlegrid left behind"
stat -c '%U %a %n' /var/lib/idlegrid/agent /var/lib/idlegrid/agent/key.pem

if ls gridagent_*.deb >/dev/null 2>&1; then
  check "packages"
  rm -rf /var/lib/idlegrid /usr/local/bin/grid*
  hash -r
  find /etc /usr /var/lib/systemd \( -type f -o -type l \) | sort >before
  dpkg -i gridcoordinator_*.deb gridagent_*.deb
  systemctl is-enabled gridcoordinator gridagent
  if systemctl is-active gridcoordinator gridagent; then fail "runs before there is a grid"; fi
  for s in gridcoordinator:7745:coordinator gridagent:7746:agent; do # there is no network but loopback here
    IFS=: read -r name port role <<<"$s"
    mkdir -p "/run/systemd/system/$name.service.d"
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/%s run --state /var/lib/idlegrid/%s --listen 127.0.0.1:%s\n' \
      "$name" "$role" "$port" >"/run/systemd/system/$name.service.d/local.conf"
  done
  systemctl daemon-reload
  gridcoordinator init
  systemctl start gridcoordinator
  gridagent join "$(setpriv --reuid=idlegrid-coordinator --clear-groups gridcoordinator token --class always-on)"
  systemctl start gridagent
  systemctl is-active gridagent
  dpkg -i gridagent_*.deb
  systemctl is-active gridagent
  dpkg -r gridagent gridcoordinator
  stat -c '%U %a %n' /var/lib/idlegrid/agent
  dpkg -P gridagent gridcoordinator
  [ ! -e /var/lib/idlegrid ] || fail "purged, and state is left"
  find /etc /usr /var/lib/systemd \( -type f -o -type l \) | sort >after
  diff before after | grep -vE '^[0-9,adc]+$|(passwd|group|shadow|gshadow|subuid|subgid)-$' && fail "left behind"
  if getent passwd idlegrid idlegrid-coordinator; then fail "users left behind"; fi
fi

check "sleep and shutdown, by the real logind"
useradd --system watcher
touch /mnt/test/events && chown watcher /mnt/test/events
systemd-run --quiet --unit=watcher --uid=watcher --setenv=GRID_EVENTS=/mnt/test/events /mnt/test/service.test -test.v -test.run '^TestLogindHere$'
within 20 grep -q '^watching$' /mnt/test/events
locked() { systemd-inhibit --list --no-pager | grep idlegrid; }
within 10 locked
trap - EXIT
echo PASS
busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager PowerOff b false
