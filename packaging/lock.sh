#!/bin/sh
# Rewrites requirements/*.txt from pyproject.toml; the dev lock pins what the two halves then share.
set -eu
cd "$(dirname "$0")/.."
compile() {
  UV_PYTHON_DOWNLOADS=never .venv/bin/uv pip compile --universal --generate-hashes --no-header --no-emit-index-url \
    --no-annotate --only-binary :all: --python-version 3.11 -q pyproject.toml "$@"
}
compile --extra edge --extra cloud --group dev -o requirements/dev.txt
compile --extra edge -c requirements/dev.txt -o requirements/edge.txt
compile --extra cloud -c requirements/dev.txt -o requirements/cloud.txt
