#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks: `cross/install.sh build` to build and run, `cross/install.sh test`
# for the peers that the tests run against as well. Does nothing, and asks for no rights, when all is there.
set -euo pipefail

build=(build-essential clang libclang-dev nasm pkg-config xz-utils curl ca-certificates)
test=(ffmpeg nginx-light libnginx-mod-rtmp chromium iproute2 iptables procps python3 python3-pip
  qemu-system-x86 busybox-static cpio kmod file v4l-utils e2fsprogs)

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

case ${1:-} in
  build) wanted=("${build[@]}") ;;
  test) wanted=("${build[@]}" "${test[@]}") ;;
  *) die "usage: cross/install.sh build|test" ;;
esac

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Rust: whatever cargo is on the PATH if it is new enough; else Debian's own build for its browsers, which is
# kept current in every stable release.
rust_min=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
if ! command -v cargo >/dev/null; then
  wanted+=(rustc-web cargo-web)
elif have=$(rustc --version 2>/dev/null | cut -d' ' -f2) && ! at_least "$rust_min" "$have"; then
  die "Rust $have is too old, $rust_min is needed: run 'rustup update', or remove Debian's rustc and cargo and run this again"
fi

# Node builds the pages. Any from 18 on will do; Debian's is taken where there is none.
if ! command -v node >/dev/null; then
  wanted+=(nodejs npm)
elif have=$(node --version | tr -d v) && ! at_least 18 "$have"; then
  die "Node $have is too old, 18 or newer is needed to build the pages"
elif ! command -v npm >/dev/null; then
  wanted+=(npm)
fi

installed() { dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed'; }
missing=()
for package in "${wanted[@]}"; do installed "$package" || missing+=("$package"); done
[ ${#missing[@]} -eq 0 ] && exit 0

command -v apt-get >/dev/null || die "this is no Debian machine; install by hand what stands for: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "must be root to install: apt-get install ${missing[*]}"
  as_root=(sudo)
fi
say "installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update ||
  say "the package lists could not all be renewed; going on with what is there"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
