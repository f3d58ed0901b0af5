//! The vocabulary of the flow, and the pure formats: no clock, no socket, no thread in here.

pub mod aac;
pub mod amf;
pub mod flv;
pub mod frame;
pub mod h26x;
pub mod packet;
pub mod rtmp;
pub mod srt;
pub mod timecode;
pub mod timeline;
pub mod ts;
