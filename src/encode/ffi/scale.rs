//! Pixel formats and sizes (libswscale).

use std::ptr::NonNull;

use ffmpeg_next::sys;
use sys::AVPixelFormat as Px;

use crate::base::units::PictureSize;
use crate::encode::colour::Colour;

use super::picture::{Layout, Picture};
use super::{CodecError, c_string, check, no_memory};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    from_format: i32,
    from_full_range: bool,
    from: PictureSize,
    to_layout: Layout,
    to: PictureSize,
    colour: Colour,
}

/// Converts pictures of one kind into another; remade when the kind changes.
pub(in crate::encode) struct Scaler {
    open: Option<(Job, Context)>,
    threads: u32,
}

impl Scaler {
    /// Shares each picture among `threads`.
    pub(in crate::encode) fn new(threads: u32) -> Scaler {
        Scaler { open: None, threads }
    }

    /// Draws `from` into `to`, filling the part of `to` that begins at (`x`, `y`) and is `size` large. Luma ends
    /// up in 16 to 235. `colour` is the matrix of the YUV side; it only matters where the other side is RGB.
    pub(in crate::encode) fn draw(
        &mut self,
        from: &Picture,
        to: &mut Picture,
        (x, y): (u32, u32),
        size: PictureSize,
        colour: Colour,
    ) -> Result<(), CodecError> {
        let to_layout = to.layout().ok_or_else(|| CodecError::new("scale", "not a 4:2:0 picture"))?;
        let job = Job {
            from_format: plain_format(from.format()),
            from_full_range: from.full_range(),
            from: from.size(),
            to_layout,
            to: size,
            colour,
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != job) {
            self.open = None;
            self.open = Some((job, Context::open(&job, self.threads)?));
        }
        let Some((_, context)) = &mut self.open else { return Err(no_memory("scale")) };
        let mut window = to.window(x, y, size)?;
        let mut source = from.as_plain(job.from_format)?;
        // SAFETY: the context was made for exactly these formats and sizes; both frames are valid, and the
        // destination's memory is written by nobody else (`to` is borrowed mutably).
        check("scale", unsafe {
            sys::sws_scale_frame(context.0.as_ptr(), window.as_mut_ptr(), source.as_mut_ptr())
        })
        .map(drop)
    }
}

struct Context(NonNull<sys::SwsContext>);

// SAFETY: a SwsContext may move between threads as long as one at a time uses it.
unsafe impl Send for Context {}

impl Context {
    fn open(job: &Job, threads: u32) -> Result<Context, CodecError> {
        // SAFETY: allocates, or returns null.
        let context = NonNull::new(unsafe { sys::sws_alloc_context() })
            .map(Context)
            .ok_or_else(|| no_memory("open the scaler"))?;
        let rgb = job.from_format == Px::AV_PIX_FMT_BGR24 as i32;
        let options = [
            ("srcw", i64::from(job.from.width)),
            ("srch", i64::from(job.from.height)),
            ("src_format", i64::from(job.from_format)),
            ("src_range", i64::from(job.from_full_range || rgb)),
            ("dstw", i64::from(job.to.width)),
            ("dsth", i64::from(job.to.height)),
            ("dst_format", job.to_layout.pixel_format() as i64),
            ("dst_range", 0),
            // Bilinear widens its filter when it makes smaller, so nothing flickers; bicubic costs more than
            // it shows at a stream's bitrate.
            ("sws_flags", i64::from(sys::SWS_BILINEAR)),
            ("threads", i64::from(threads.max(1))),
        ];
        // SAFETY: the context is ours; names are C strings; options are set before the context is initialised,
        // as sws_init_context wants it; the coefficient tables are FFmpeg's own constants.
        unsafe {
            for (name, value) in options {
                let name = c_string(name);
                let set = sys::av_opt_set_int(context.0.as_ptr().cast(), name.as_ptr(), value, 0);
                check("open the scaler", set)?;
            }
            let made = sys::sws_init_context(context.0.as_ptr(), std::ptr::null_mut(), std::ptr::null_mut());
            check("open the scaler", made)?;
            if rgb {
                let matrix = sys::sws_getCoefficients(match job.colour {
                    Colour::Bt709 => sys::SWS_CS_ITU709,
                    Colour::Bt601 => sys::SWS_CS_ITU601,
                });
                let one = 1 << 16;
                sys::sws_setColorspaceDetails(context.0.as_ptr(), matrix, 1, matrix, 0, 0, one, one);
            }
        }
        Ok(context)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours and freed once.
        unsafe { sys::sws_freeContext(self.0.as_ptr()) };
    }
}

/// FFmpeg's `YUVJ` formats are the plain ones with another range, which the scaler is told apart.
fn plain_format(format: i32) -> i32 {
    let pairs = [
        (Px::AV_PIX_FMT_YUVJ420P, Px::AV_PIX_FMT_YUV420P),
        (Px::AV_PIX_FMT_YUVJ422P, Px::AV_PIX_FMT_YUV422P),
        (Px::AV_PIX_FMT_YUVJ444P, Px::AV_PIX_FMT_YUV444P),
        (Px::AV_PIX_FMT_YUVJ440P, Px::AV_PIX_FMT_YUV440P),
    ];
    pairs.into_iter().find(|(jpeg, _)| *jpeg as i32 == format).map_or(format, |(_, plain)| plain as i32)
}
