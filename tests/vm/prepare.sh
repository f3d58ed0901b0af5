#!/usr/bin/env bash
# Prepares the emulated machine that tests/machine.rs boots, under target/vm/:
#   vmlinuz, initrd      Debian's own kernel, with a small system of busybox, v4l2-ctl, tc and the modules wanted
#   (vivid               a camera in the kernel: many pixel formats, can be unplugged and told to fail)
#   (v4l2loopback, feed  a camera of whatever it is fed with: MJPEG and H.264 as USB cameras give them)
# Nothing is installed and nothing runs as part of this system: packages are fetched by apt, which checks their
# sums, and unpacked. A second run does nothing; an interrupted one starts its unfinished step again.
set -euo pipefail
cd "$(dirname "$0")/../.."
vm=target/vm here=tests/vm

die() { echo "prepare.sh: $*" >&2; exit 1; }
# Debian keeps some of these out of the path of ordinary users.
PATH=$PATH:/usr/sbin:/sbin
for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio depmod:kmod mke2fs:e2fsprogs \
    v4l2-ctl:v4l-utils tc:iproute2 gcc:build-essential make:build-essential xz:xz-utils rustc:rustc; do
    command -v "${pair%%:*}" >/dev/null || die "${pair%%:*} is missing: apt-get install ${pair#*:}"
done

wanted=$(cat $here/prepare.sh $here/init.sh $here/feed.rs | sha256sum | cut -c 1-16)
[ "$(cat $vm/.complete 2>/dev/null)" = "$wanted" ] && exit 0

# The release's current kernel, as its metapackage names it. The lists are renewed once if they are too old.
kernel_package() { apt-cache depends --important linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1; }
fetch() { (cd $vm/debs && apt-get -qq download "$@" 2>/dev/null); }
mkdir -p $vm/debs
image=$(kernel_package)
version=${image#linux-image-}
headers=linux-headers-$version
common=${headers%-amd64}-common
kbuild() { apt-cache depends --important "$headers" | sed -n 's/.*Depends: \(linux-kbuild-.*\)$/\1/p' | head -n 1; }
if [ -z "$image" ] || ! fetch "$image" "$headers" "$common" "$(kbuild)" v4l2loopback-dkms; then
    as_root=; [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get -qq update || true
    image=$(kernel_package) && [ -n "$image" ] || die "apt knows no linux-image-amd64"
    version=${image#linux-image-} headers=linux-headers-$version common=${headers%-amd64}-common
    fetch "$image" "$headers" "$common" "$(kbuild)" v4l2loopback-dkms ||
        die "apt could not fetch $image, $headers, $common, $(kbuild) and v4l2loopback-dkms"
fi

rm -rf $vm/root && mkdir -p $vm/root
# Fetched packages of earlier kernels stay behind when the release moves on: only what was asked for is unpacked.
for package in "$image" "$headers" "$common" "$(kbuild)" v4l2loopback-dkms; do
    newest=$(ls -t $vm/debs/"$package"_*.deb | head -n 1)
    dpkg -x "$newest" $vm/root
done

# v4l2loopback against those headers. They name each other by absolute paths, so these are turned to where they are.
root=$PWD/$vm/root
find "$root/usr/src/$headers" "$root/usr/src/$common" -maxdepth 1 \( -name Makefile -o -name .kernelvariables \) -type f -exec \
    sed -i "s#/usr/src/#$root/usr/src/#g; s#/usr/lib/linux-kbuild#$root/usr/lib/linux-kbuild#g" {} +
for tree in "$headers" "$common"; do
    for name in scripts tools; do
        [ -L "$root/usr/src/$tree/$name" ] || continue
        to=$(readlink "$root/usr/src/$tree/$name")
        ln -sfn "$root/usr/lib/${to##*/lib/}" "$root/usr/src/$tree/$name"
    done
done
loopback=$(echo "$root"/usr/src/v4l2loopback-*)
make -s -C "$root/usr/src/$headers" M="$loopback" modules >$vm/loopback.log 2>&1 ||
    die "v4l2loopback does not build; see $vm/loopback.log"

# The small system.
tree=$vm/tree
rm -rf $tree && mkdir -p $tree/{bin,sbin,dev,proc,sys,tmp,etc,data,run,lib/modules/"$version"}
cp "$(command -v busybox)" $tree/bin/busybox
file -L $tree/bin/busybox | grep -q 'statically linked' || die "busybox is not the static one: apt-get install busybox-static"
cp $here/init.sh $tree/init && chmod 755 $tree/init
echo "127.0.0.1 localhost" >$tree/etc/hosts
echo "root:x:0:0:root:/:/bin/sh" >$tree/etc/passwd
# v4l2-ctl and tc with the libraries they name; busybox has a tc of its own, which knows no netem, and goes before it
# unless it is called by its path.
for program in v4l2-ctl tc; do
    cp "$(command -v $program)" $tree/sbin/
    ldd "$(command -v $program)" | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "$tree$library"
    done
done
rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols -o $tree/bin/feed $here/feed.rs
# Modules with what they need, uncompressed, since busybox may not read every compression.
modules=$tree/lib/modules/$version
cp $vm/root/lib/modules/"$version"/modules.{order,builtin} "$modules"/ 2>/dev/null || true
depmod -b $vm/root "$version"
for module in virtio_pci virtio_net virtio_blk virtio_console ext4 vivid snd-aloop softdog sch_netem; do
    modprobe -d $vm/root -S "$version" --show-depends $module | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
    case $file in
        *.xz) xz -dc "$file" >"$modules/$(basename "$file" .xz)" ;;
        *) cp "$file" "$modules"/ ;;
    esac
done
cp "$loopback"/v4l2loopback.ko "$modules"/
depmod -b $tree "$version" 2>&1 | { grep -v modules.builtin.modinfo || true; }

cp $vm/root/boot/vmlinuz-"$version" $vm/vmlinuz
(cd $tree && find . | cpio --quiet -o -H newc -R 0:0) >$vm/initrd.new
mv $vm/initrd.new $vm/initrd
rm -rf $vm/root $tree
echo "$wanted" >$vm/.complete
