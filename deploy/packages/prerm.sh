#!/bin/sh
# Before removal, not before an upgrade: deb says remove, rpm how many versions stay.
set -e
case "$1" in
  remove | 0) if [ -d /run/systemd/system ]; then systemctl disable --quiet --now @NAME@.service; fi ;;
esac
