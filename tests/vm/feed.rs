//! Feeds a v4l2loopback device, so that it is a camera of any format: `feed DEVICE FOURCC WIDTH HEIGHT FPS FILE`.
//!
//! FILE holds frames, each after its length (four bytes, big-endian); they are written in a loop, at FPS.
//! Built alone by prepare.sh, with the standard library only.

use std::ffi::{c_int, c_ulong, c_void};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// `VIDIOC_S_FMT`: `_IOWR('V', 5, struct v4l2_format)`, which has 208 bytes on 64-bit machines.
const VIDIOC_S_FMT: c_ulong = 0xc0d0_5605;
/// `VIDIOC_S_PARM`: `_IOWR('V', 22, struct v4l2_streamparm)`, 204 bytes.
const VIDIOC_S_PARM: c_ulong = 0xc0cc_5616;
const V4L2_BUF_TYPE_VIDEO_OUTPUT: u32 = 2;
const V4L2_FIELD_NONE: u32 = 1;

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, device, fourcc, width, height, fps, file] = &words[..] else {
        panic!("usage: feed DEVICE FOURCC WIDTH HEIGHT FPS FILE");
    };
    let film = std::fs::read(file).expect("the film can be read");
    let mut frames = Vec::new();
    let mut rest = &film[..];
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame);
        rest = after;
    }
    let largest = frames.iter().map(|frame| frame.len()).max().expect("the film has frames");

    let mut camera = std::fs::OpenOptions::new().read(true).write(true).open(device).expect("the device opens");
    let number = |text: &String| text.parse::<u32>().expect("a number");
    let pixel_format = u32::from_le_bytes(fourcc.as_bytes().try_into().expect("four letters"));
    // struct v4l2_format: type, 4 bytes of padding, then struct v4l2_pix_format: width, height, pixelformat,
    // field, bytesperline, sizeimage, colorspace.
    let mut format = [0u32; 52];
    format[0] = V4L2_BUF_TYPE_VIDEO_OUTPUT;
    format[2..8].copy_from_slice(&[number(width), number(height), pixel_format, V4L2_FIELD_NONE, 0, largest as u32]);
    // SAFETY: the file is open, and `format` is as long as the request's number says.
    let outcome = unsafe { ioctl(camera.as_raw_fd(), VIDIOC_S_FMT, format.as_mut_ptr().cast()) };
    assert_eq!(outcome, 0, "the device refuses the format: {}", std::io::Error::last_os_error());

    // struct v4l2_streamparm: type, then struct v4l2_outputparm: capability, outputmode, timeperframe.
    let mut rate = [0u32; 51];
    rate[0] = V4L2_BUF_TYPE_VIDEO_OUTPUT;
    rate[3..5].copy_from_slice(&[1, number(fps)]);
    // SAFETY: as above. A refusal is no harm: the device then names another rate than it keeps, as cameras do.
    unsafe { ioctl(camera.as_raw_fd(), VIDIOC_S_PARM, rate.as_mut_ptr().cast()) };

    let start = Instant::now();
    let step = Duration::from_secs(1) / number(fps);
    for (at, frame) in (0u32..).zip(frames.iter().cycle()) {
        std::thread::sleep((step * at).saturating_sub(start.elapsed()));
        camera.write_all(frame).expect("the device takes a frame");
    }
}
