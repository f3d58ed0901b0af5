#!/usr/bin/env bash
# Builds the pinned static FFmpeg and x264 that the binary carries.
#
#   cross/ffmpeg.sh PREFIX [CROSS_PREFIX]     for example: cross/ffmpeg.sh target/ffmpeg
#
# The sources are Debian's unmodified upstream archives, held to the checksums below; over FFmpeg go our
# cross/ffmpeg-*.patch, each of which says why. Each stage leaves a stamp named after what went into it, so an interrupted build goes on where it stopped, a second run does
# nothing, and a changed option builds again only what it touches.
set -euo pipefail

FFMPEG=ffmpeg_7.1.5.orig.tar.xz
FFMPEG_SHA256=de668509caf9e35e3cd162473441fdb29538c6d96ed080292b3cf9e6fc5d558f
X264=x264_0.164.3108+git31e19f9.orig.tar.gz
X264_SHA256=41606cb8e788a7f8c4514290646d4ba5c7bc68d9e1ccd1a73f446a90546913eb
SUITE=trixie                       # the Debian suite whose source packages hold these archives

root=$(cd "$(dirname "$0")/.." && pwd)
prefix=$(realpath -m "${1:?usage: cross/ffmpeg.sh PREFIX [CROSS_PREFIX]}")
cross=${2:-}
sources=${FOOTLIGHT_SOURCES:-$root/target/sources}
work=$prefix/build
jobs=$(nproc)

say() { printf 'ffmpeg: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Only what the box uses: each line below is a reader or writer of something that a camera, a clip or a
# cloud really sends. Everything else stays out, which keeps the binary small and the attack surface known.
options=(
  --disable-everything --disable-autodetect --disable-programs --disable-doc --disable-debug
  --disable-network --disable-shared --enable-static --enable-pic --enable-gpl --enable-libx264
  --enable-v4l2-m2m
  --enable-protocol=file,pipe
  --enable-demuxer=mov,matroska,mpegts,flv,avi,h264,hevc,aac,mp3,wav,ogg
  --enable-muxer=flv,mpegts,mp4,null
  --enable-decoder=h264,hevc,mjpeg,mpeg2video,mpeg4,vp8,vp9,rawvideo,aac,aac_latm,mp3,opus,vorbis,flac,ac3,eac3,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s32le,pcm_f32le,pcm_alaw,pcm_mulaw,h264_v4l2m2m
  --enable-encoder=libx264,aac,mjpeg,h264_v4l2m2m,hevc_v4l2m2m
  --enable-parser=h264,hevc,mjpeg,mpegvideo,mpeg4video,vp8,vp9,aac,aac_latm,mpegaudio,opus,vorbis,flac,ac3
  --enable-bsf=h264_mp4toannexb,hevc_mp4toannexb,extract_extradata,aac_adtstoasc
  --enable-filter=buffer,buffersink,abuffer,abuffersink,scale,format,fps,null,aresample,aformat,anull,yadif,transpose,hflip,vflip
)

verify() { [ -e "$1" ] && [ "$(sha256sum < "$1" | cut -d' ' -f1)" = "$2" ]; }

# A stamp names what was built by the checksums of the real archives, by the patches and by the options.
patches=("$root"/cross/ffmpeg-*.patch)
stamp() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }
name_stamps() {
  x264_stamp=$work/x264.$(stamp "$X264_SHA256" "$cross").done
  ffmpeg_stamp=$work/ffmpeg.$(stamp "$FFMPEG_SHA256" "$(cat "${patches[@]}")" "$X264_SHA256" "$cross" "${options[@]}").done
}

# Whether an archive is at hand: the pinned one, or what was taken in its stead by an earlier run (see fetch).
# The names of the pin's two variables are given; they are set to what is at hand.
at_hand() {
  local -n file_=$2 sum_=$3
  local pin name sum
  verify "$sources/$file_" "$sum_" && return
  read -r pin name sum < "$sources/$1.instead" || return
  [ "$pin" = "$sum_" ] && verify "$sources/$name" "$sum" || return
  file_=$name sum_=$sum
} 2>/dev/null

name_stamps
[ -e "$ffmpeg_stamp" ] && exit 0

# Brings an archive by apt from the suite's source index, with the machine's own mirror and keyring, without
# touching the machine's own package lists. The suite's next point release drops the pinned archive from the
# mirrors: then a newer one that matches the pattern is taken, loudly, if it has the checksum that the suite's
# signed index gives for it. The names of the pin's two variables are given; they are set to what was taken.
fetch() {
  local package=$1 pattern=$4 pinned=${!2} uri apt lists=$sources/apt
  local -n file=$2 sum=$3
  at_hand "$package" "$2" "$3" && return
  mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial" "$lists/parts"
  uri=$(cat /etc/apt/sources.list.d/debian.sources 2>/dev/null | awk '/^URIs:/ {print $2; exit}')
  [ -n "$uri" ] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null \
    | awk '$1 == "deb" && /debian/ && !/security/ {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; exit}}')
  [ -n "$uri" ] || die "found no Debian mirror among the machine's apt sources; put $file (sha256 $sum) into $sources and run again"
  printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$uri" "$SUITE" > "$lists/parts/$SUITE.sources"
  apt=(apt-get -q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$lists/parts" -o "Dir::State::Lists=$lists/lists"
    -o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false -o "Dir::Cache=$lists/cache" -o APT::Sandbox::User=root -o Acquire::Retries=3)
  say "fetching $file"
  "${apt[@]}" update >"$lists/log" 2>&1 || true
  # What the index offers, asked in an empty folder since apt leaves out what is there already.
  local offered_name='' offered_sum='' empty
  empty=$(mktemp -d)
  read -r offered_name offered_sum < <(cd "$empty" && "${apt[@]}" source --print-uris --only-source "$package" 2>>"$lists/log" |
    awk '$2 ~ /\.orig\.tar\.[a-z0-9]+$/ && sub(/^SHA256:/, "", $4) {print $2, $4; exit}') || true
  rmdir "$empty"
  # A mirror in the middle of a sync may lack the packaging files; only the upstream archive matters, and it
  # is judged by its checksum.
  (cd "$sources" && "${apt[@]}" source --download-only --only-source "$package" >>"$lists/log" 2>&1) || true
  verify "$sources/$file" "$sum" && return
  # shellcheck disable=SC2053 # the pattern is one
  if [[ $offered_name == $pattern ]] && [ "$(printf '%s\n%s\n' "$pinned" "$offered_name" | sort -V | head -n 1)" = "$pinned" ] &&
    [ "$offered_name" != "$pinned" ] && verify "$sources/$offered_name" "$offered_sum"; then
    say "NOT THE PINNED SOURCE: $SUITE no longer has $pinned"
    say "  taking what its signed index offers instead: $offered_name"
    say "  sha256 $offered_sum"
    say "  to build from the pinned one, put it (sha256 $sum) into $sources"
    printf '%s %s %s\n' "$sum" "$offered_name" "$offered_sum" > "$sources/$package.instead"
    file=$offered_name sum=$offered_sum
    return
  fi
  tail -n 5 "$lists/log" >&2
  die "could not fetch $file with sha256 $sum; put it into $sources and run again"
}

unpack() { # archive, folder: afresh, so that a half-unpacked tree is never built
  rm -rf "$2" "$2.part" && mkdir -p "$2.part"
  tar -xf "$sources/$1" -C "$2.part" --strip-components=1
  mv "$2.part" "$2"
}

quietly() { # log, command...
  local log=$1; shift
  "$@" >>"$log" 2>&1 || { tail -n 25 "$log" >&2; die "'$1 ${2:-}' failed; the whole log is $log"; }
}

mkdir -p "$sources" "$work"
exec 9>"$work/lock"; flock 9        # two makes at once: the second waits and finds it done
[ -e "$ffmpeg_stamp" ] && exit 0
started=$SECONDS

fetch x264 X264 X264_SHA256 'x264_0.*.orig.tar.*'
fetch ffmpeg FFMPEG FFMPEG_SHA256 'ffmpeg_7.1.*.orig.tar.*'
name_stamps
[ -e "$ffmpeg_stamp" ] && exit 0

cross_x264=() cross_ffmpeg=()
if [ -n "$cross" ]; then
  cross_x264=(--cross-prefix="$cross" --host="${cross%-}")
  cross_ffmpeg=(--enable-cross-compile --cross-prefix="$cross" --target-os=linux --arch="${cross%%-*}")
fi

# From here on the library that lies in the prefix is none that an earlier stamp speaks of.
rm -f "$work"/ffmpeg.*.done
if [ ! -e "$x264_stamp" ]; then
  rm -f "$work"/x264.*.done
  say "building x264"
  log=$work/x264.log; : >"$log"
  unpack "$X264" "$work/x264"
  cd "$work/x264"
  quietly "$log" ./configure --prefix="$prefix" --enable-static --enable-pic --disable-cli --disable-opencl --bit-depth=8 "${cross_x264[@]}"
  quietly "$log" make -j"$jobs"
  quietly "$log" make install
  touch "$x264_stamp"
fi

say "building FFmpeg (about two minutes on two cores)"
log=$work/ffmpeg.log
configured=$work/ffmpeg/.configured.$(basename "$ffmpeg_stamp")
if [ ! -e "$configured" ]; then
  : >"$log"
  unpack "$FFMPEG" "$work/ffmpeg"
  cd "$work/ffmpeg"
  for patch in "${patches[@]}"; do quietly "$log" patch -p1 --input="$patch"; done
  PKG_CONFIG_PATH=$prefix/lib/pkgconfig PKG_CONFIG_LIBDIR=$prefix/lib/pkgconfig quietly "$log" ./configure --prefix="$prefix" \
    --pkg-config=pkg-config --pkg-config-flags=--static "${cross_ffmpeg[@]}" "${options[@]}"
  touch "$configured"
fi
cd "$work/ffmpeg"
quietly "$log" make -j"$jobs"
quietly "$log" make install

# The crate that binds FFmpeg does not know of x264: with both in one archive no linker flag is needed.
say "joining x264 into libavcodec"
rm -f "$work/joined.a"
"${cross}ar" -M <<MRI
CREATE $work/joined.a
ADDLIB $prefix/lib/libavcodec.a
ADDLIB $prefix/lib/libx264.a
SAVE
END
MRI
mv "$work/joined.a" "$prefix/lib/libavcodec.a"
"${cross}ranlib" "$prefix/lib/libavcodec.a"
rm -rf "$work/ffmpeg" "$work/x264"
touch "$ffmpeg_stamp"

# Cargo does not watch the library: it would go on linking the old one into what it has built before.
relink() {
  local folder profile triple arguments target=${CARGO_TARGET_DIR:-$root/target}
  command -v cargo >/dev/null || return 0
  for folder in "$target"/{debug,release} "$target"/*/{debug,release}; do
    [ -d "$folder/.fingerprint" ] || continue
    profile=${folder##*/} triple=${folder%/*}
    arguments=(--profile "${profile/debug/dev}")
    [ "$triple" = "$target" ] || arguments+=(--target "${triple##*/}")
    (cd "$root" && cargo clean --quiet --offline --package ffmpeg-sys-next "${arguments[@]}") ||
      say "cargo may still link the FFmpeg of before in $folder: 'cargo clean' helps"
  done
}
relink
say "done after $((SECONDS - started)) s: $prefix"
