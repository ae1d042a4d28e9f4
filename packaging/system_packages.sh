#!/bin/sh
# Installs the distribution's packages named on the command line where they are missing and we may.
# Usage: system_packages.sh need|want NAME=COMMAND...   (need: fail when one cannot be had)
set -eu
mode=$1
shift
missing=
for pair in "$@"; do
  name=${pair%%=*} command=${pair#*=}
  PATH="$PATH:/usr/sbin:/usr/lib/postgresql/15/bin:/usr/lib/postgresql/17/bin" command -v "$command" >/dev/null 2>&1 \
    || ldconfig -p 2>/dev/null | grep -q "$command" || missing="$missing $name"
done
[ -z "$missing" ] && exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if command -v apt-get >/dev/null 2>&1 && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
  echo "set-up: installing$missing"
  # Debian starts a broker and a database the moment they are installed; ours are private, so it must not.
  export DEBIAN_FRONTEND=noninteractive
  guard=
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=yes
    printf '#!/bin/sh\nexit 101\n' | $sudo tee /usr/sbin/policy-rc.d >/dev/null
    $sudo chmod +x /usr/sbin/policy-rc.d
  fi
  # shellcheck disable=SC2086
  { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1 && ok=yes || ok=
  [ -z "$guard" ] || $sudo rm -f /usr/sbin/policy-rc.d
  [ -n "$ok" ] && exit 0
fi
echo "set-up: missing and not installable from here: apt install$missing" >&2
[ "$mode" = need ] && exit 1
exit 0
