#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks: `cross/install.sh build` to build and run, `cross/install.sh lint`
# for cargo's fmt and clippy as well, `cross/install.sh test` for these and the peers that the tests run against.
# Does nothing, and asks for no rights, when all is there.
set -euo pipefail

# A fresh machine renews its packages by itself first, which takes minutes and holds apt's locks.
LOCK_PATIENCE_S=600

build=(build-essential clang libclang-dev nasm pkg-config xz-utils curl ca-certificates)
test=(ffmpeg nginx-light libnginx-mod-rtmp libnginx-mod-stream chromium iproute2 iptables procps srt-tools python3 python3-pip
  qemu-system-x86 busybox-static cpio kmod file v4l-utils e2fsprogs)

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

case ${1:-} in
  build | lint) wanted=("${build[@]}") ;;
  test) wanted=("${build[@]}" "${test[@]}") ;;
  *) die "usage: cross/install.sh build|lint|test" ;;
esac

# `make -j` asks for several sets at once: the second waits and finds the packages there.
exec 9<"$0"
flock 9

installed() { dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed'; }

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Rust: whatever cargo is on the PATH if it is new enough; else Debian's own build for its browsers, which is
# kept current in every stable release.
rust_min=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
debian_cargo=
if ! command -v cargo >/dev/null; then
  wanted+=(rustc-web cargo-web)
  debian_cargo=yes
elif have=$(rustc --version 2>/dev/null | cut -d' ' -f2) && ! at_least "$rust_min" "$have"; then
  die "Rust $have is too old, $rust_min is needed: run 'rustup update', or remove Debian's rustc and cargo and run this again"
fi

# cargo's fmt and clippy come with the toolchain or beside it, never from another one.
if [ "$1" != build ]; then
  if [ -n "$debian_cargo" ] || { installed rustc-web && [ "$(command -v cargo)" = /usr/bin/cargo ]; }; then
    wanted+=(rustfmt-web rust-web-clippy)
  elif ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    if command -v rustup >/dev/null; then advice="run 'rustup component add rustfmt clippy'"
    else advice="install rustfmt and clippy of Rust $have"; fi
    # No test needs them.
    if [ "$1" = lint ]; then die "cargo has no fmt or no clippy: $advice"
    else say "cargo has no fmt or no clippy, which 'make lint' needs: $advice"; fi
  fi
fi

# Node builds the pages. Any from 18 on will do (18.20 was tried); Debian's is taken where there is none.
if ! command -v node >/dev/null; then
  wanted+=(nodejs npm)
elif have=$(node --version | tr -d v) && ! at_least 18 "$have"; then
  die "Node $have is too old, 18 or newer is needed to build the pages"
elif ! command -v npm >/dev/null; then
  wanted+=(npm)
fi

missing=()
for package in "${wanted[@]}"; do installed "$package" || missing+=("$package"); done
[ ${#missing[@]} -eq 0 ] && exit 0

command -v apt-get >/dev/null || die "this is no Debian machine; install by hand what stands for: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "must be root to install: apt-get install ${missing[*]}"
  as_root=(sudo)
fi

# Without our own lock (9), which a server that a package starts would go on holding.
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
    apt-get -qq -o "DPkg::Lock::Timeout=$LOCK_PATIENCE_S" "$@" 9<&-
}

# apt waits for its lock on packages, but not for the one on their lists.
renew_lists() {
  local said until=$((SECONDS + LOCK_PATIENCE_S)) waiting=
  while ! said=$(apt update 2>&1); do
    if [[ $said != *"Could not get lock"* ]] || [ "$SECONDS" -ge "$until" ]; then
      printf '%s\n' "$said" >&2
      return 1
    fi
    [ -n "$waiting" ] || say "waiting for another apt to end"
    waiting=yes
    sleep 3
  done
}

say "installing ${missing[*]}"
renew_lists || say "the package lists could not all be renewed; going on with what is there"
apt install -y --no-install-recommends "${missing[@]}" >/dev/null
