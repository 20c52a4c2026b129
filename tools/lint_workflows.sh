#!/usr/bin/env bash
# Lint .github with what PyPI offers and no network needs: zizmor (security) and check-jsonschema
# (vendored schemas). Takes the folder of their executables; the PATH's if none is given.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ $# -gt 0 ]]; then
  PATH="$(cd "$1" && pwd):$PATH"
fi

zizmor --offline --quiet --no-progress .github
check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
