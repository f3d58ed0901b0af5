#!/bin/busybox sh
# The first process of the emulated machine: mounts, modules, network, then the agent that runs what tests ask for.
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/
mount -t tmpfs tmp /tmp
for module in virtio_pci virtio_console virtio_net virtio_blk crc32c_generic ext4; do modprobe $module; done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mkdir -p /data
[ -b /dev/vda ] && mount -t ext4 /dev/vda /data

# The agent: a line is a command for sh; the answer is "EXITCODE BYTES" and that many bytes of its output.
# vport0p1 takes commands, vport0p2 is where long-running programs write their log.
while [ ! -c /dev/vport0p1 ]; do usleep 10000; done
exec 3<>/dev/vport0p1
echo "0 0" >&3
while read -r line <&3; do
    sh -c "$line" >/tmp/.answer 2>&1 3<&-
    code=$?
    echo "$code $(stat -c %s /tmp/.answer)" >&3
    cat /tmp/.answer >&3
done
poweroff -f
