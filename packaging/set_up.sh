#!/bin/sh
# Makes .venv hold exactly what requirements/<set>.txt names, by hash, and nothing from source.
# A stamp (lock + Python + machine) makes the second run a comparison of two strings.
# PYTHON names another interpreter; NO_UV=1 leaves uv out, as a machine does for which there is none.
# Why it looks like this: Debian has no ensurepip without python3-venv, so the environment is made
# without pip and filled from outside; uv does it in seconds and pip alone is the fallback.
set -eu
cd "$(dirname "$0")/.."
set_name=${1:-dev}
lock=requirements/$set_name.txt
log=.venv/set-up.log

fail() { echo "set-up: $1" >&2; exit 1; }
is_usable() {
  "$1" -c 'import sys, importlib.util as u; sys.exit(sys.version_info < (3, 11) or u.find_spec("pip") is None)' \
    >/dev/null 2>&1
}
explain() {
  "$1" -c 'import sys' >/dev/null 2>&1 || fail "$1 is missing: apt install python3 python3-pip"
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed, $1 is $("$1" -V)"
  fail "$1 has no pip: apt install python3-pip"
}
if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
  is_usable "$python" || explain "$python"
else
  for python in python3.11 python3 ''; do is_usable "${python:-false}" && break; done
  [ -n "$python" ] || explain python3
fi

# Two set-ups at once would each delete what the other installs.
exec 9<"$lock"
flock 9 2>/dev/null || true
want=$({ cat "$lock" packaging/set_up.sh; "$python" -VV; uname -m; pwd; } | sha256sum | cut -d' ' -f1)
[ "$(cat .venv/.stamp 2>/dev/null || true)" = "$want" ] && exit 0

echo "set-up: installing $(grep -c '^[a-z]' "$lock") locked packages into .venv"
{ rm -f .venv/.stamp && rm -rf .venv; } 2>/dev/null || fail "$PWD/.venv cannot be removed: whose is it?"
"$python" -m venv --without-pip .venv || fail "$PWD/.venv cannot be made"
: > "$log"

run_pip() { "$python" -m pip --python .venv/bin/python --disable-pip-version-check "$@" >>"$log" 2>&1; }
# By hash like the rest, for it is what checks the rest. The two machines we lock for; any other gets on with pip.
fetch_uv() {
  run_pip install -q --no-deps --only-binary :all: --retries 2 -r /dev/stdin <<'UV'
uv==0.13.9 \
    --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19 \
    --hash=sha256:ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375
UV
}
with_uv() {
  UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install -q --no-deps --require-hashes \
    --only-binary :all: -r "$lock" >>"$log" 2>&1
}
# uv knows neither pip's configuration nor the system's certificates, so where it gets nothing pip still may.
{ [ -z "${NO_UV:-}" ] && fetch_uv && with_uv; } \
  || run_pip install -q --no-deps --require-hashes --only-binary :all: -r "$lock" \
  || fail "is the package index reachable? $(grep '^ERROR' "$log" | tail -n 1) (all of it in $log)"

# The packages run from the checkout: no build backend has to be fetched.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pwd > "$site/_doorstep.pth"
for half in edge cloud; do
  printf '#!%s/.venv/bin/python\nimport sys\n\nfrom %s.__main__ import main\n\nsys.exit(main())\n' "$PWD" "$half" \
    > ".venv/bin/doorstep-$half"
  chmod +x ".venv/bin/doorstep-$half"
done
echo "$want" > .venv/.stamp
