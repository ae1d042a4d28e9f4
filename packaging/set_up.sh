#!/bin/sh
# Makes .venv hold exactly what requirements/<set>.txt names, by hash, and nothing from source.
# A stamp (lock + Python + machine) makes the second run a comparison of two strings.
# Why it looks like this: Debian has no ensurepip without python3-venv, so the environment is made
# without pip and filled from outside; uv does it in seconds and pip alone is the fallback.
set -eu
cd "$(dirname "$0")/.."
set_name=${1:-dev}
lock=requirements/$set_name.txt
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null 2>&1 || python=python3
command -v "$python" >/dev/null 2>&1 || { echo "set-up: python3 is missing: apt install python3 python3-pip" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "set-up: Python 3.11 or newer is needed, $python is $("$python" -V)" >&2; exit 1; }
"$python" -m pip --version >/dev/null 2>&1 || { echo "set-up: pip is missing: apt install python3-pip" >&2; exit 1; }

want=$({ cat "$lock" packaging/set_up.sh; "$python" -VV; uname -m; pwd; } | sha256sum | cut -d' ' -f1)
[ "$(cat .venv/.stamp 2>/dev/null || true)" = "$want" ] && exit 0

echo "set-up: installing $(grep -c '^[a-z]' "$lock") locked packages into .venv"
rm -rf .venv
"$python" -m venv --without-pip .venv
run_pip() { "$python" -m pip --python .venv/bin/python --disable-pip-version-check "$@"; }
if [ -z "${NO_UV:-}" ] && run_pip install -q --only-binary :all: uv==0.13.9 2>/dev/null; then
  UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=$PWD/.venv \
    .venv/bin/uv pip install -q --no-deps --require-hashes --only-binary :all: -r "$lock" \
    || { echo "set-up: a locked package could not be had (is the package index reachable?)" >&2; exit 1; }
else
  run_pip install -q --no-deps --require-hashes --only-binary :all: -r "$lock" \
    || { echo "set-up: a locked package could not be had (is the package index reachable?)" >&2; exit 1; }
fi

# The packages run from the checkout: no build backend has to be fetched.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pwd > "$site/_doorstep.pth"
for half in edge cloud; do
  printf '#!%s/.venv/bin/python\nimport sys\n\nfrom %s.__main__ import main\n\nsys.exit(main())\n' "$PWD" "$half" \
    > ".venv/bin/doorstep-$half"
  chmod +x ".venv/bin/doorstep-$half"
done
echo "$want" > .venv/.stamp
