//! Why a line came to its end, in words that say what to do.

use std::io;
use std::time::Duration;

use crate::base::tls::TlsError;
use crate::media::rtmp::{LoginError, Phase, SessionError, Stage};
use crate::media::srt::{Reason, SrtError};

use super::failover::{Ending, LineEvent, Phase as Step, Refusal};
use super::link::Name;
use super::wire::words;

/// What ended a line. `host` is the far end as the configuration names it, without path and key.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the name in {host} cannot be resolved; check `{field}` and the box's network")]
    Resolve {
        host: String,
        field: &'static str,
        #[source]
        cause: io::Error,
    },
    #[error("{host}: {}", words(cause))]
    Tls {
        host: String,
        #[source]
        cause: TlsError,
    },
    #[error("{host}: {cause}")]
    Login {
        host: String,
        #[source]
        cause: LoginError,
    },
    #[error("{host}: the box has no network interface {interface}; plug it in, or correct `interface`")]
    NoInterface { host: String, interface: String },
    #[error("{host}: this version does not speak that")]
    NotSpoken { host: String },
    #[error("{host} cannot be reached")]
    Connect {
        host: String,
        #[source]
        cause: io::Error,
    },
    #[error("{host} did not {} within {} s{}", step_words(*step), limit.as_secs(), step_hint(*step))]
    TimedOut { host: String, step: Step, limit: Duration },
    #[error("{host}: {}", refusal(cause, field))]
    Session {
        host: String,
        field: &'static str,
        #[source]
        cause: SessionError,
    },
    #[error("{host}: {cause}{}", srt_hint(*cause, field))]
    Srt {
        host: String,
        field: &'static str,
        #[source]
        cause: SrtError,
    },
    #[error("{host} closed the connection {}", closed_words(*phase, field, host))]
    Closed { host: String, field: &'static str, phase: Phase },
    #[error("the line to {host} broke")]
    Broken {
        host: String,
        #[source]
        cause: io::Error,
    },
    #[error("{host} has taken nothing for {} s: dialled afresh", silent.as_secs())]
    Stalled { host: String, silent: Duration },
    #[error("{host} is connected, but its program has read nothing for {} s: dialled afresh", silent.as_secs())]
    Frozen { host: String, silent: Duration },
}

/// What kind of failure it is. What a far end or the system says in its own words may hold a number that is never
/// the same, so failures are told apart by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Resolve,
    Connect(io::ErrorKind),
    TimedOut(Step),
    Handshake,
    Protocol,
    /// With the code, if it is one of RTMP's.
    Refused(Stage, Option<String>),
    /// `None` for a demand that is about to be answered.
    Login(Option<LoginError>),
    Ended(Option<String>),
    Closed(Phase),
    Broken,
    Stalled,
    Frozen,
    Srt(SrtError),
    Tls(std::mem::Discriminant<TlsError>),
    NoInterface,
    NotSpoken,
}

impl LinkError {
    pub(super) fn tls(name: &Name, cause: TlsError) -> LinkError {
        LinkError::Tls { host: name.host.clone(), cause }
    }

    pub(super) fn srt(name: &Name, cause: SrtError) -> LinkError {
        LinkError::Srt { host: name.host.clone(), field: name.field, cause }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            LinkError::Resolve { .. } => Kind::Resolve,
            LinkError::Connect { cause, .. } => Kind::Connect(cause.kind()),
            LinkError::TimedOut { step, .. } => Kind::TimedOut(*step),
            LinkError::Session { cause, .. } => match cause {
                SessionError::Handshake(_) => Kind::Handshake,
                SessionError::Chunk(_) | SessionError::Amf(_) | SessionError::TooLong(_) => Kind::Protocol,
                SessionError::Refused { stage, code, .. } => Kind::Refused(*stage, known_code(code)),
                SessionError::Login(_) => Kind::Login(None),
                SessionError::Ended { code, .. } => Kind::Ended(known_code(code)),
            },
            LinkError::Closed { phase, .. } => Kind::Closed(*phase),
            LinkError::Broken { .. } => Kind::Broken,
            LinkError::Stalled { .. } => Kind::Stalled,
            LinkError::Frozen { .. } => Kind::Frozen,
            LinkError::Tls { cause, .. } => Kind::Tls(std::mem::discriminant(cause)),
            LinkError::Login { cause, .. } => Kind::Login(Some(cause.clone())),
            LinkError::Srt { cause, .. } => Kind::Srt(*cause),
            LinkError::NoInterface { .. } => Kind::NoInterface,
            LinkError::NotSpoken { .. } => Kind::NotSpoken,
        }
    }

    /// What the failover core is told of it.
    pub(super) fn event(&self) -> LineEvent {
        match self {
            LinkError::Session { cause: SessionError::Refused { code, description, .. }, .. } => {
                LineEvent::Refused(Refusal::read(code, description))
            }
            LinkError::Login { .. } => LineEvent::Refused(Refusal::Auth),
            LinkError::Srt { cause: SrtError::Refused(reason), .. } => LineEvent::Refused(match reason {
                reason if reason.is_busy() => Refusal::Busy,
                reason if reason.is_auth() => Refusal::Auth,
                _ => Refusal::Other,
            }),
            LinkError::Closed { .. } | LinkError::Srt { cause: SrtError::Closed, .. } => {
                LineEvent::Ended(Ending::Closed)
            }
            LinkError::Broken { cause, .. } if is_reset(cause) => LineEvent::Ended(Ending::Reset),
            _ => LineEvent::Ended(Ending::Error),
        }
    }

    /// Whether it takes a person: trying again changes nothing by itself.
    pub(super) fn wants_a_person(&self) -> bool {
        match self {
            LinkError::Session { cause, .. } => {
                matches!(
                    cause,
                    SessionError::Refused { .. } | SessionError::Login(_) | SessionError::Handshake(_)
                )
            }
            LinkError::Closed { phase, .. } => (Phase::Connect..Phase::Live).contains(phase),
            LinkError::NotSpoken { .. } | LinkError::NoInterface { .. } | LinkError::Login { .. } => true,
            LinkError::Tls { cause, .. } => cause.wants_a_person(),
            LinkError::Srt { cause, .. } => !matches!(
                cause,
                SrtError::Closed | SrtError::Peer(_) | SrtError::Silent | SrtError::Unanswered
            ),
            _ => false,
        }
    }

    /// The message with its causes behind it.
    pub(super) fn in_words(&self) -> String {
        use std::error::Error;
        let mut words = self.to_string();
        // The words of these are in the message already.
        let whole = matches!(
            self,
            LinkError::Session { .. }
                | LinkError::Tls { .. }
                | LinkError::Login { .. }
                | LinkError::Srt { .. }
        );
        let mut cause = if whole { None } else { self.source() };
        while let Some(error) = cause {
            words.push_str(": ");
            words.push_str(&error.to_string());
            cause = error.source();
        }
        words
    }
}

fn step_words(step: Step) -> &'static str {
    match step {
        Step::Resolve => "get its name resolved",
        Step::Tcp => "accept a connection",
        Step::Tls => "finish the TLS handshake",
        Step::Handshake => "answer the RTMP handshake",
        Step::Publish => "let the stream be published",
    }
}

fn step_hint(step: Step) -> &'static str {
    match step {
        // A server of plain RTMP waits for the rest of what it takes for its own handshake.
        Step::Tls => "; check the port, and write rtmp:// if it takes plain RTMP",
        _ => "",
    }
}

/// The far end's kernel knows nothing of the connection: by TCP it says so with a reset, by UDP with a refusal.
fn is_reset(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

/// Where to look when an SRT listener says no.
fn srt_hint(cause: SrtError, field: &str) -> String {
    match cause {
        SrtError::Refused(reason) if reason.is_secret() => format!("; check `passphrase` of `{field}`"),
        // gosrt says so of a wrong passphrase, too.
        SrtError::Refused(Reason(1002)) => {
            format!(
                "; check `streamid` in `{field}`, `passphrase` if there is one, and the far end's own log"
            )
        }
        SrtError::Refused(_) => format!("; check `streamid` in `{field}`, and the far end's own log"),
        SrtError::Unfit(_) => format!("; check host and port in `{field}`"),
        _ => String::new(),
    }
}

fn known_code(code: &str) -> Option<String> {
    let is_known = code.starts_with("Net") && code.chars().all(|c| c.is_ascii_alphabetic() || c == '.');
    is_known.then(|| code.to_owned())
}

fn refusal(cause: &SessionError, field: &str) -> String {
    let hint = match cause {
        SessionError::Refused { stage: Stage::Connect, .. } => {
            format!("; check the application, the path before the key in `{field}`")
        }
        SessionError::Refused { stage: Stage::CreateStream | Stage::Publish, .. } => {
            format!("; check the key at the end of `{field}`, and that nobody else publishes with it")
        }
        SessionError::Handshake(_) => format!("; check host and port in `{field}`"),
        _ => String::new(),
    };
    format!("{cause}{hint}")
}

fn closed_words(phase: Phase, field: &str, host: &str) -> String {
    match phase {
        Phase::Handshake if host.starts_with("rtmp:") => {
            format!("during the handshake; check host and port in `{field}`, and whether it wants rtmps://")
        }
        Phase::Handshake => format!("during the handshake; check host and port in `{field}`"),
        // What nginx-rtmp does about an application that it does not have.
        Phase::Connect => {
            format!("when asked for the application; check the path before the key in `{field}`")
        }
        Phase::CreateStream | Phase::Publish => {
            format!("when asked to take the stream; check the key at the end of `{field}`")
        }
        Phase::Live | Phase::Finished => "in mid-stream".to_owned(),
    }
}
