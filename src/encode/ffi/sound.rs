//! Sample rates (libswresample).

use std::ptr::NonNull;

use ffmpeg_next::sys;

use super::{CodecError, c_string, check, no_memory};

/// Turns interleaved stereo of any rate into planar stereo of another, a little faster or slower on request.
pub(in crate::encode) struct Resampler {
    context: NonNull<sys::SwrContext>,
    from_rate: u32,
    to_rate: u32,
}

// SAFETY: a SwrContext may move between threads as long as one at a time uses it.
unsafe impl Send for Resampler {}

/// Over how many output samples a correction is spread before it is asked for again; long, so that a few parts
/// in a million are whole numbers of samples.
const CORRECTION_SPAN: i64 = 1_000_000;

impl Resampler {
    /// A resampler for two channels.
    pub(in crate::encode) fn new(from_rate: u32, to_rate: u32) -> Result<Resampler, CodecError> {
        let mut context = std::ptr::null_mut();
        // SAFETY: the layout is filled in place and owns no memory; `context` receives a new context or null;
        // options are set before it is initialised.
        unsafe {
            let mut stereo: sys::AVChannelLayout = std::mem::zeroed();
            sys::av_channel_layout_default(&raw mut stereo, 2);
            let made = sys::swr_alloc_set_opts2(
                &raw mut context,
                &raw const stereo,
                sys::AVSampleFormat::AV_SAMPLE_FMT_FLTP,
                to_rate as i32,
                &raw const stereo,
                sys::AVSampleFormat::AV_SAMPLE_FMT_FLT,
                from_rate as i32,
                0,
                std::ptr::null_mut(),
            );
            check("open the resampler", made)?;
        }
        let context = NonNull::new(context).ok_or_else(|| no_memory("open the resampler"))?;
        let resampler = Resampler { context, from_rate, to_rate };
        // The resampler must run even between equal rates, or the first correction would start it with a click;
        // linear interpolation between filter phases keeps tiny corrections clean.
        for (name, value) in [("flags", 1), ("linear_interp", 1), ("exact_rational", 0)] {
            let name = c_string(name);
            // SAFETY: the context is ours and not initialised yet; the name is a C string.
            let set = unsafe { sys::av_opt_set_int(context.as_ptr().cast(), name.as_ptr(), value, 0) };
            check("open the resampler", set)?;
        }
        // SAFETY: the context is ours and its options are set.
        check("open the resampler", unsafe { sys::swr_init(context.as_ptr()) })?;
        Ok(resampler)
    }

    pub(in crate::encode) fn input_rate(&self) -> u32 {
        self.from_rate
    }

    /// Makes `parts` in a million more (or fewer) samples from here on.
    pub(in crate::encode) fn correct(&mut self, parts_per_million: i32) -> Result<(), CodecError> {
        let delta = CORRECTION_SPAN * i64::from(parts_per_million) / 1_000_000;
        // SAFETY: the context is initialised.
        check("correct the sound's pace", unsafe {
            sys::swr_set_compensation(self.context.as_ptr(), delta as i32, CORRECTION_SPAN as i32)
        })
        .map(drop)
    }

    /// Output samples that went in and did not come out yet.
    pub(in crate::encode) fn delay(&mut self) -> i64 {
        // SAFETY: the context is initialised.
        unsafe { sys::swr_get_delay(self.context.as_ptr(), i64::from(self.to_rate)) }
    }

    /// Takes interleaved stereo and appends what it makes of it to `left` and `right`.
    pub(in crate::encode) fn convert(
        &mut self,
        interleaved: &[f32],
        left: &mut Vec<f32>,
        right: &mut Vec<f32>,
    ) -> Result<(), CodecError> {
        let count = interleaved.len() / 2;
        let room = count as u64 * u64::from(self.to_rate) / u64::from(self.from_rate.max(1)) + 1_024;
        let (had_left, had_right) = (left.len(), right.len());
        let room = room as usize + self.delay().max(0) as usize;
        left.resize(had_left + room, 0.0);
        right.resize(had_right + room, 0.0);
        let out: [*mut u8; 2] =
            [left[had_left..].as_mut_ptr().cast(), right[had_right..].as_mut_ptr().cast()];
        let input: [*const u8; 1] = [interleaved.as_ptr().cast()];
        // SAFETY: `out` holds `room` floats in each plane and `input` `count` pairs of floats, which is what the
        // context was made for.
        let made = unsafe {
            sys::swr_convert(self.context.as_ptr(), out.as_ptr(), room as i32, input.as_ptr(), count as i32)
        };
        let made = check("resample", made);
        let kept = *made.as_ref().unwrap_or(&0) as usize;
        left.truncate(had_left + kept);
        right.truncate(had_right + kept);
        made.map(drop)
    }
}

impl Drop for Resampler {
    fn drop(&mut self) {
        let mut raw = self.context.as_ptr();
        // SAFETY: the context is ours and freed once.
        unsafe { sys::swr_free(&raw mut raw) };
    }
}
