#!/bin/sh
# Boots this machine's systemd as PID 1 of namespaces of its own, on a copy of its root that is written to memory
# alone (kit/booted.py). The network is this machine's: a test's servers on loopback are reached from inside.
#
#   boot.sh CGROUP FOLDER PYTHON PACKAGES DEPLOY
#
# CGROUP an empty one, of version 2; FOLDER is mounted upon; the other three are seen as /opt/python, /opt/packages and
# /opt/deploy inside.
set -eu

if [ "${inside:-}" = '' ]; then
    echo $$ >"$1/cgroup.procs"
    inside=yes exec unshare --fork --kill-child --pid --mount --uts --ipc --cgroup "$0" "$@"
fi

folder=$2 root=$2/root
mount -t tmpfs -o mode=755 tmpfs "$folder"
mkdir "$folder/up" "$folder/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/up,workdir=$folder/work" overlay "$root"

# What it sees of the kernel: to be read, as in any container; so it sets nothing that is this machine's.
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for one in null zero full random urandom tty; do
    : >"$root/dev/$one"
    mount --bind "/dev/$one" "$root/dev/$one"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for one in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${one%:*}" "$root/dev/${one#*:}"; done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# A machine as it comes: nothing of what this one starts, mounts or has installed of ours.
rm -rf "$root/etc/systemd/system" "$root/var/log/journal" "$root/etc/fstab" "$root/etc/chimeway" \
    "$root/opt/chimeway" "$root/var/lib/chimeway" "$root/usr/local/lib/systemd" \
    "$root/usr/lib/systemd/system-generators" "$root/lib/systemd/system-generators"
mkdir "$root/etc/systemd/system"
echo chimeway-test >"$root/etc/hostname"
for one in "python:$3" "packages:$4" "deploy:$5"; do
    mkdir -p "$root/opt/${one%%:*}"
    mount --bind "${one#*:}" "$root/opt/${one%%:*}"
done
# An interpreter that is linked with its library looks for it where it was built, below /home perhaps.
echo /opt/python/lib >"$root/etc/ld.so.conf.d/chimeway-test.conf"

# Credentials are mounted by a child, and reach the others for all of it being shared, as wherever systemd boots itself.
cd "$root"
pivot_root . mnt
exec chroot . /bin/sh -c '
    umount -l /mnt && mount --make-rshared / && ldconfig &&
    exec env -i container=chimeway-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
        --system --unit=basic.target --log-target=journal --show-status=no'
