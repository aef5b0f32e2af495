#!/bin/sh
# After removal. State and user stay, but for dpkg's purge: keys of a grid are not deleted by the way.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ "$1" = purge ]; then
  rm -rf /var/lib/idlegrid/@ROLE@
  rmdir /var/lib/idlegrid 2>/dev/null || true # others may have state there
  if getent passwd @USER@ >/dev/null; then userdel @USER@; fi
fi
