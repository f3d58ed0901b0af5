//! Proving a name and a password to a far end that asks for them.
//!
//! RTMP has no login. Two habits grew in its place, both of them told in the description of a refused `connect`, and
//! both answered by a query behind the application's name on the next connection:
//!
//! ```text
//!   connect live                            <── code=403 need auth; authmod=adobe
//!   connect live?authmod=adobe&user=U       <── ?reason=needauth&user=U&salt=S&challenge=C&opaque=O
//!   connect live?authmod=adobe&user=U&challenge=..&response=..&opaque=O           taken, or ?reason=authfailed
//! ```
//!
//! Adobe's servers and those who follow them (Akamai, Wowza) want `adobe`, Limelight's want `llnw`, a digest like
//! HTTP's (RFC 2617) with a fixed realm. Neither is written down by its maker: this is what FFmpeg and librtmp do.
//!
//! Pure: whoever dials tells what was refused ([`Login::answer`]) and asks what the next connection begins with
//! ([`Login::begin`]). A far end gets two answers in a row at most, then it takes the login or has refused it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::base::secret::Secret;

/// The name of an unknown method, at most, when it is told to people.
const METHOD_CHARS_MAX: usize = 20;

/// Limelight's digest: what stands where HTTP has its realm, its method and its count of requests.
const REALM: &str = "live";
const ACTION: &str = "publish";
const COUNT: &str = "00000001";
const QUALITY: &str = "auth";

/// What servers call an application's only instance.
const DEFAULT_INSTANCE: &str = "/_definst_";

/// How a login is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `authmod=adobe`.
    Adobe,
    /// `authmod=llnw`.
    Limelight,
}

/// What a far end that refused `connect` wants first.
#[derive(Clone, PartialEq, Eq)]
pub enum Demand {
    /// A login, by this method.
    Login(Method),
    /// The proof that belongs to an Adobe challenge.
    Adobe {
        /// Goes into the password's hash.
        salt: String,
        /// The far end's random part.
        challenge: String,
        /// If not empty, stands for `challenge` in the proof, and is said back.
        opaque: String,
    },
    /// The proof that belongs to Limelight's nonce.
    Limelight {
        /// The far end's random part.
        nonce: String,
    },
    /// Another login: it does not take this one.
    Other {
        /// Whether it was plain enough to say that the user does not exist.
        no_such_user: bool,
    },
    /// A login by a method that is not known here.
    Unknown(String),
}

/// Why there is no use in answering. The words follow the far end's name and a colon; `field` is where the URL stands
/// in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// It wants a login, and none is configured.
    #[error("it wants a login; write user:password@ before the host in `{field}`")]
    Missing {
        /// Where the URL stands.
        field: String,
    },
    /// It knows the user and not the password, or does not say which.
    #[error("it does not take the login; check user and password in `{field}`")]
    Refused {
        /// Where the URL stands.
        field: String,
    },
    /// It does not know the user.
    #[error("it does not know the user; check the name before the colon in `{field}`")]
    NoSuchUser {
        /// Where the URL stands.
        field: String,
    },
    /// It wants a login by a method that is not known here.
    #[error("it wants a login by the method {0:?}, which is not known here; adobe and llnw are")]
    Unknown(String),
}

/// A user and a password, and how far the proof for the next connection has come.
#[derive(Debug, Clone)]
pub struct Login {
    user: Secret,
    password: Secret,
    method: Option<Method>,
    /// What the next connection has to say to a challenge; good for one connection.
    proof: Option<Secret>,
    said: Said,
}

/// What the latest connection began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    User,
    Proof,
}

impl Login {
    /// A login that was asked for by nobody yet.
    pub fn new(user: Secret, password: Secret) -> Login {
        Login { user, password, method: None, proof: None, said: Said::Nothing }
    }

    /// What a connection that is dialled now shall append to the application, to be given to
    /// [`super::Publisher::log_in`]. Empty until a far end asked for a login; once it did, later connections name
    /// the user at once and save a refusal.
    pub fn begin(&mut self) -> Secret {
        let Some(method) = self.method else {
            self.said = Said::Nothing;
            return Secret::default();
        };
        let proof = self.proof.take();
        self.said = if proof.is_some() { Said::Proof } else { Said::User };
        let proof = proof.unwrap_or_default();
        Secret::new(format!("authmod={method}&user={}{}", self.user_in_query(), proof.reveal()))
    }

    /// Takes what the far end said to the latest connection. After `Ok` dial again, at once: the next
    /// [`Login::begin`] holds the answer.
    ///
    /// `app` is the application without any of this; `random` makes the proof one of a kind.
    ///
    /// # Errors
    /// [`LoginError`]: dialling again changes nothing by itself. All starts anew then.
    pub fn answer(&mut self, demand: &Demand, app: &str, random: u32, field: &str) -> Result<(), LoginError> {
        let said = self.said;
        let answer = match demand {
            Demand::Login(method) if said == Said::Nothing => {
                self.method = Some(*method);
                return Ok(());
            }
            Demand::Adobe { salt, challenge, opaque } if said != Said::Proof => {
                self.method = Some(Method::Adobe);
                Ok(self.adobe(salt, challenge, opaque, random))
            }
            Demand::Limelight { nonce } if said != Said::Proof => {
                self.method = Some(Method::Limelight);
                Ok(self.limelight(nonce, app, random))
            }
            Demand::Other { no_such_user: true } => Err(LoginError::NoSuchUser { field: field.to_owned() }),
            Demand::Unknown(method) => Err(LoginError::Unknown(method.clone())),
            // Being asked for the same once more is a refusal too.
            _ => Err(LoginError::Refused { field: field.to_owned() }),
        };
        match answer {
            Ok(proof) => {
                self.proof = Some(Secret::new(proof));
                Ok(())
            }
            Err(refusal) => {
                (self.method, self.proof) = (None, None);
                Err(refusal)
            }
        }
    }

    fn adobe(&self, salt: &str, challenge: &str, opaque: &str, random: u32) -> String {
        let ours = format!("{random:08x}");
        let theirs = if opaque.is_empty() { challenge } else { opaque };
        let password = STANDARD.encode(md5(&[self.user.reveal(), salt, self.password.reveal()]));
        let response = STANDARD.encode(md5(&[&password, theirs, &ours]));
        let said_back = if opaque.is_empty() { String::new() } else { format!("&opaque={opaque}") };
        format!("&challenge={ours}&response={response}{said_back}")
    }

    fn limelight(&self, nonce: &str, app: &str, random: u32) -> String {
        let ours = format!("{random:08x}");
        let instance = if app.contains('/') { "" } else { DEFAULT_INSTANCE };
        let who = hex(&[self.user.reveal(), ":", REALM, ":", self.password.reveal()]);
        let what = hex(&[ACTION, ":/", app, instance]);
        let response = hex(&[&who, ":", nonce, ":", COUNT, ":", &ours, ":", QUALITY, ":", &what]);
        format!("&nonce={nonce}&cnonce={ours}&nc={COUNT}&response={response}")
    }

    /// The name as it is, which is how others send it; only what would end it is escaped.
    fn user_in_query(&self) -> String {
        let mut name = String::new();
        for letter in self.user.reveal().chars() {
            match letter {
                '%' => name.push_str("%25"),
                '&' => name.push_str("%26"),
                '#' => name.push_str("%23"),
                ' ' => name.push_str("%20"),
                plain => name.push(plain),
            }
        }
        name
    }
}

impl Demand {
    /// Reads the description of a refused `connect`; `None` if it is about something else.
    pub fn read(description: &str) -> Option<Demand> {
        let values = |text: &str, name: &str| {
            let of_name = |pair: &str| {
                let (key, value) = pair.split_once('=')?;
                (key == name).then(|| value.to_owned())
            };
            text.split([' ', ';', '?', '&', ']', '[']).find_map(of_name)
        };
        if let Some((_, query)) = description.split_once("?reason=") {
            let reason = query.split(['&', ' ']).next().unwrap_or_default();
            let value = |name| values(query, name).unwrap_or_default();
            return match reason {
                "needauth" => {
                    let (salt, nonce) = (value("salt"), value("nonce"));
                    if !nonce.is_empty() && salt.is_empty() {
                        Some(Demand::Limelight { nonce })
                    } else {
                        Some(Demand::Adobe { salt, challenge: value("challenge"), opaque: value("opaque") })
                    }
                }
                "nosuchuser" => Some(Demand::Other { no_such_user: true }),
                "authfailed" => Some(Demand::Other { no_such_user: false }),
                _ => None,
            };
        }
        match values(description, "authmod")?.as_str() {
            "adobe" => Some(Demand::Login(Method::Adobe)),
            "llnw" => Some(Demand::Login(Method::Limelight)),
            other => {
                let plain = other.chars().filter(char::is_ascii_alphanumeric);
                Some(Demand::Unknown(plain.take(METHOD_CHARS_MAX).collect()))
            }
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Adobe => "adobe",
            Method::Limelight => "llnw",
        })
    }
}

/// Without what a far end made up for this connection.
impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Demand::Login(_) => "Login",
            Demand::Adobe { .. } => "Adobe",
            Demand::Limelight { .. } => "Limelight",
            Demand::Other { .. } => "Other",
            Demand::Unknown(_) => "Unknown",
        })
    }
}

fn md5(parts: &[&str]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn hex(parts: &[&str]) -> String {
    md5(parts).iter().fold(String::with_capacity(32), |mut text, byte| {
        for digit in [byte >> 4, byte & 0x0F] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED_ADOBE: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
    const FIELD: &str = "output.cloud.primary";

    fn login() -> Login {
        Login::new(Secret::new("anchor"), Secret::new("s3cr3tw0rd"))
    }

    fn demand(description: &str) -> Demand {
        Demand::read(description).expect("a demand")
    }

    /// What the third connection begins with, if the first two are refused by these words.
    fn proven(words: [&str; 2], random: u32) -> String {
        let mut login = login();
        assert_eq!(login.begin().reveal(), "", "nobody asked yet");
        for words in words {
            login.begin();
            login.answer(&demand(words), "live", random, FIELD).expect("an answer");
        }
        login.begin().reveal().to_owned()
    }

    #[test]
    fn proofs_are_those_that_ffmpeg_gave_for_the_same_challenges() {
        let needs = "[ authmod=adobe ] : ?reason=needauth&user=anchor&salt=6MnrBnKW&challenge=7C5OrwQg";
        let with_opaque = format!("{needs}&opaque=vbi2V");
        assert_eq!(
            proven([NEED_ADOBE, &with_opaque], 0xEB50_218D),
            "authmod=adobe&user=anchor&challenge=eb50218d&response=3Daj9HvVd8ggVvlSRMQejw==&opaque=vbi2V"
        );
        assert_eq!(
            proven([NEED_ADOBE, needs], 0x785B_01D6),
            "authmod=adobe&user=anchor&challenge=785b01d6&response=hNJm0vzuOM2oCVeyudiRPg=="
        );
        let limelight = ["code=403 need auth; authmod=llnw", "?reason=needauth&user=anchor&nonce=nonce42"];
        assert_eq!(
            proven(limelight, 0xC70D_F015),
            "authmod=llnw&user=anchor&nonce=nonce42&cnonce=c70df015&nc=00000001\
             &response=de6e01bb1bc959c6c82765e1eaa71a2e"
        );
    }

    #[test]
    fn a_later_connection_names_the_user_at_once_and_uses_no_proof_twice() {
        let mut login = login();
        login.begin();
        login.answer(&demand(NEED_ADOBE), "live", 1, FIELD).expect("an answer");
        assert_eq!(login.begin().reveal(), "authmod=adobe&user=anchor");
        let challenge = demand("authmod=adobe ?reason=needauth&salt=a&challenge=b");
        for _ in 0..3 {
            login.answer(&challenge, "live", 1, FIELD).expect("an answer");
            assert!(login.begin().reveal().contains("&response="));
            assert_eq!(login.begin().reveal(), "authmod=adobe&user=anchor");
        }
    }

    #[test]
    fn whoever_goes_on_asking_has_refused_and_all_starts_anew() {
        let refused = LoginError::Refused { field: FIELD.into() };
        let no_such_user = LoginError::NoSuchUser { field: FIELD.into() };
        let challenge = "?reason=needauth&user=anchor&salt=a&challenge=b&opaque=c";
        for (words, want) in [
            (&[NEED_ADOBE, NEED_ADOBE][..], refused.clone()),
            (&[NEED_ADOBE, "authmod=llnw"], refused.clone()),
            (&[NEED_ADOBE, challenge, challenge], refused.clone()),
            (&[NEED_ADOBE, challenge, NEED_ADOBE], refused.clone()),
            (&[NEED_ADOBE, challenge, "[ authmod=adobe ] : ?reason=authfailed"], refused),
            (&[NEED_ADOBE, "[ authmod=adobe ] : ?reason=nosuchuser&x=y"], no_such_user),
            (&["[ code=403 need auth; authmod=qu/ux ] : "], LoginError::Unknown("quux".into())),
        ] {
            let mut login = login();
            for (at, said) in words.iter().enumerate() {
                login.begin();
                let answer = login.answer(&demand(said), "live", 7, FIELD);
                let last = at + 1 == words.len();
                assert_eq!(answer, if last { Err(want.clone()) } else { Ok(()) }, "{said}");
            }
            assert_eq!(login.begin().reveal(), "");
        }
    }

    #[test]
    fn what_is_no_demand_is_none() {
        for words in ["", "no such application", "code=403 forbidden", "?reason=full", "authmod", "?reason="]
        {
            assert_eq!(Demand::read(words), None, "{words}");
        }
        assert_eq!(
            demand("?reason=needauth&salt=&challenge=a=b"),
            Demand::Adobe { salt: String::new(), challenge: "a=b".into(), opaque: String::new() }
        );
    }

    #[test]
    fn a_name_cannot_break_out_of_the_query() {
        let mut login = Login::new(Secret::new("a&b=c d%#"), Secret::new("p"));
        login.begin();
        login.answer(&demand(NEED_ADOBE), "live", 1, FIELD).expect("an answer");
        assert_eq!(login.begin().reveal(), "authmod=adobe&user=a%26b=c%20d%25%23");
        assert!(!format!("{login:?}{:?}", demand("?reason=needauth&salt=s4lt&challenge=b")).contains("s4lt"));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_words_never_panic(words in ".{0,60}", app in ".{0,20}", reason in "[?]reason=needauth&.{0,40}") {
            let mut login = login();
            for words in [words, reason] {
                if let Some(demand) = Demand::read(&words) {
                    let _ = login.answer(&demand, &app, 3, FIELD);
                    let _ = login.begin();
                }
            }
        }
    }
}
