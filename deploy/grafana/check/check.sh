#!/usr/bin/env bash
# Checks the dashboards against Grafana's published types. Grafana itself takes nearly any JSON and shows a wrong option
# as none. Needs npm, and the two packages of package.json.
set -euo pipefail
cd "$(dirname "$0")/../../.."
work=bin/grafana-check
if ! command -v npm >/dev/null; then
  echo "NOT CHECKED: no npm here (Debian: apt install npm)"
  exit 0
fi
mkdir -p "$work"
cp deploy/grafana/check/{package.json,package-lock.json,types.ts} "$work"
if ! npm --prefix "$work" ls >/dev/null 2>&1 && ! npm --prefix "$work" ci --no-audit --no-fund >"$work/npm.log" 2>&1; then
  tail -n 5 "$work/npm.log"
  echo "NOT CHECKED: npm cannot get @grafana/schema and typescript"
  exit 0
fi
rm -f "$work"/*.dashboard.ts
for file in deploy/grafana/dashboards/*.json; do
  {
    echo "import type { Checked } from './types';"
    echo "export const dashboard: Checked ="
    cat "$file"
  } >"$work/$(basename "$file" .json).dashboard.ts"
done
(cd "$work" && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --target es2022 --module esnext --moduleResolution bundler *.dashboard.ts)
echo "the dashboards are what Grafana's types say"
