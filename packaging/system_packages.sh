#!/bin/sh
# Installs the distribution's packages that are missing, where this user may.
# Usage: system_packages.sh need PACKAGE=WHAT... want PACKAGE=WHAT...
# WHAT shows that the package is there: a command or a library. Without what is needed this ends with 1; without
# what is wanted it says so and goes on.
set -eu
# Debian keeps daemons where only root looks, and PostgreSQL's programs where nobody does.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done

is_there() {
  case $1 in
    *.so.*) ldconfig -p 2>/dev/null | grep -qF "$1 " ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}
# No password is asked for: who is to give it would not know what for.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

mode=need needed='' wanted=''
for word in "$@"; do
  case $word in
    need | want) mode=$word ;;
    *)
      is_there "${word#*=}" && continue
      [ "$mode" = need ] && needed="$needed ${word%%=*}" || wanted="$wanted ${word%%=*}"
      ;;
  esac
done
[ -n "$needed$wanted" ] || exit 0

report() {
  [ -z "$needed$wanted" ] || echo "set-up: missing:$needed$wanted ($1); to have it: sudo apt install$needed$wanted" >&2
  [ -z "$needed" ]
}
command -v apt-get >/dev/null 2>&1 || { report "no apt here"; exit; }
as_root true 2>/dev/null || { report "this user may not install it"; exit; }

# Debian starts a broker and a database the moment they are installed; ours are private, so it must not.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
  trap 'as_root rm -f "$guard"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$guard" >/dev/null
  as_root chmod +x "$guard"
fi
why=''
# One by one: a distribution that lacks one of them has the others. Prints those that were not to be had.
install_each() {
  for name in "$@"; do
    said=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install \
      -y -qq --no-install-recommends "$name" 2>&1) && continue
    left="$left $name" why=$(printf '%s\n' "$said" | grep '^E:' | tail -n 1)
  done
}
echo "set-up: installing$needed$wanted"
as_root apt-get update -qq >/dev/null 2>&1 || true # the lists of yesterday may do
# shellcheck disable=SC2086
left='' && install_each $needed && needed=$left
# shellcheck disable=SC2086
left='' && install_each $wanted && wanted=$left
report "${why:-apt could not}"
