//! TUN devices: network interfaces whose far side is a file of this process (Linux, networking/tuntap.rst).
//!
//! Whoever reads the file gets the IP packets that the kernel sends out by the device, whole, with their checksums,
//! no longer than its MTU; whoever writes one makes the kernel receive it.
#![allow(unsafe_code, reason = "one ioctl that no crate here wraps")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::{IFF_NO_PI, IFF_TUN, O_NONBLOCK, c_int, c_short, ifreq};

nix::ioctl_write_ptr_bad!(
    /// `TUNSETIFF`, which is declared with an `int` and takes a `struct ifreq`.
    tun_set_iff,
    nix::request_code_write!(b'T', 202, size_of::<c_int>()),
    ifreq
);

/// Makes a device of this name in the calling thread's network namespace; it goes when the file is closed.
pub fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is a plain C structure for which all zeros are valid.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "the kernel's names have 15 bytes: {name}");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as _;
    }
    request.ifr_ifru.ifru_flags = (IFF_TUN | IFF_NO_PI) as c_short;
    // SAFETY: the file is open, the request is whole and outlives the call, which only reads it.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}
