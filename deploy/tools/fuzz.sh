#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time. go test fuzzes one target at a time.
# usage: fuzz.sh 10s
set -euo pipefail
cd "$(dirname "$0")/../.."
n=0
while read -r file target; do
  echo "== $target in ./$(dirname "$file")"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-10s}" "./$(dirname "$file")"
  n=$((n + 1))
done < <(git grep -oE "^func Fuzz[A-Za-z0-9_]+" -- "*_test.go" | sed -E "s/^(.*):func (.*)$/\1 \2/")
[ "$n" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$n fuzz targets passed"
