#!/bin/sh
# After install and upgrade. Before a grid was joined or made, the unit's condition keeps it from starting.
set -e
if [ -d /run/systemd/system ]; then
  systemd-sysusers @NAME@.conf
  systemctl daemon-reload
  systemctl enable --quiet @NAME@.service
  systemctl restart @NAME@.service
fi
