//! Why a text is no URL that can be pushed to, and what to do about it.

use super::{PARAMETERS, STREAM_ID_BYTES_MAX, URL_BYTES_MAX};
use crate::config::problems::listed;
use crate::config::secrets::{PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN};

/// Why a text is not a URL that can be pushed to. Says nothing of what may be secret in it: its login, its
/// path, its parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushUrlError {
    /// No text.
    #[error("the URL is empty")]
    Empty,
    /// Longer than any server accepts.
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A space, a line break or a control character.
    #[error("the URL holds a space or a control character")]
    Blank,
    /// No `scheme://`.
    #[error("the URL has no scheme")]
    NoScheme,
    /// Another scheme than ours.
    #[error("\"{scheme}://\" cannot be pushed to{}", .near.map(|near| format!(" (did you mean {near}://?)")).unwrap_or_default())]
    Scheme {
        /// As written, cut.
        scheme: String,
        /// What was probably meant.
        near: Option<&'static str>,
    },
    /// Something before an `@` that is not `user:password`.
    #[error("what stands before the @ in the URL is not user:password")]
    Login,
    /// A `/`, `?` or `#` before the `@`, where it ends the host.
    #[error("a /, ? or # stands in the URL's user:password@, where it ends the host")]
    LoginCut,
    /// SRT has none.
    #[error("an srt:// URL has no user:password@")]
    LoginOfSrt,
    /// `%` without two hexadecimal digits, or bytes that are no printable text.
    #[error("a % in the URL's {0} stands for no printable character")]
    Percent(&'static str),
    /// Nothing between the slashes.
    #[error("the URL has no host")]
    NoHost,
    /// Not a name, an IPv4 address or an IPv6 address in brackets.
    #[error("the URL's host is neither a name nor an address")]
    Host,
    /// Not 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// SRT has no port of its own.
    #[error("the srt:// URL has no port")]
    NoPort,
    /// Nothing, or only one part, after the host.
    #[error("the URL has no application: its path needs two parts")]
    NoApp,
    /// Nothing after the last slash.
    #[error("the URL has no stream key: nothing stands after its last /")]
    NoKey,
    /// An SRT URL with more than a `/` after its port.
    #[error("an srt:// URL has no path")]
    PathOfSrt,
    /// A parameter that other tools know and this one does not.
    #[error("the parameter {0} of the srt:// URL is not known here")]
    Parameter(&'static str),
    /// A parameter that nobody knows.
    #[error("the srt:// URL has a parameter that is not known{}", .0.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default())]
    UnknownParameter(Option<&'static str>),
    /// One parameter, two values.
    #[error("the srt:// URL has the parameter {0} twice")]
    Twice(&'static str),
    /// `latency=`, whose unit depends on who reads it.
    #[error(
        "the srt:// URL has the parameter {0}, which some tools read as milliseconds and others as microseconds"
    )]
    Latency(&'static str),
    /// `mode=listener`, `mode=rendezvous`.
    #[error("the srt:// URL asks for another mode than caller")]
    NotCaller,
    /// Empty or too long (SRT draft-01 §3.2.1.3: at most 512 bytes).
    #[error("the URL's streamid has {0} bytes")]
    StreamId(usize),
    /// Too short or too long.
    #[error("the URL's passphrase has {0} bytes")]
    Passphrase(usize),
}

impl PushUrlError {
    /// What to do about it.
    pub fn advice(&self) -> String {
        let advice = match self {
            PushUrlError::Blank => "copy it again in one piece; a space inside a key is written %20",
            PushUrlError::Scheme { .. } => "use the destination's rtmp://, rtmps:// or srt:// address",
            PushUrlError::Login | PushUrlError::LoginCut => {
                "write user:password@host; inside the two, @ is %40, : is %3A, / is %2F, ? is %3F, # is %23 \
                 and % is %25"
            }
            PushUrlError::LoginOfSrt => "leave it out: what lets you publish by SRT stands in streamid",
            PushUrlError::Percent(_) => "a % itself is written %25",
            PushUrlError::Host => {
                "write a name of letters, digits, - and ., an IPv4 address, or an IPv6 address in [ ]"
            }
            PushUrlError::Port => "write host:1935; rtmp:// and rtmps:// may leave the port out",
            PushUrlError::NoPort => "write srt://host:port; there is no usual one, the destination tells it",
            PushUrlError::PathOfSrt => "name the stream by a parameter: srt://host:port?streamid=NAME",
            PushUrlError::Parameter(_) | PushUrlError::UnknownParameter(_) | PushUrlError::Twice(_) => {
                return format!("known are {}; a & inside a value is written %26", listed(PARAMETERS));
            }
            PushUrlError::Latency(_) => {
                "leave it out and write the destination as a table: { url = \"srt://...\", latency = \"120ms\" }"
            }
            PushUrlError::NotCaller => "leave mode out: footlight calls, and the destination listens",
            PushUrlError::StreamId(_) => return format!("it has 1 to {STREAM_ID_BYTES_MAX}"),
            PushUrlError::Passphrase(_) => {
                return format!("SRT takes {PASSPHRASE_BYTES_MIN} to {PASSPHRASE_BYTES_MAX}");
            }
            PushUrlError::Empty
            | PushUrlError::TooLong
            | PushUrlError::NoScheme
            | PushUrlError::NoHost
            | PushUrlError::NoApp
            | PushUrlError::NoKey => {
                "write it whole, as rtmp://host/app/key, rtmps://host/app/key or srt://host:port?streamid=NAME"
            }
        };
        advice.to_owned()
    }
}
