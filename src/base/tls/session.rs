//! What TLS to one destination needs: whom to trust, and what was agreed upon last time.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::refusal::TlsError;
use super::trust::{Trust, Verifier};

/// Sessions remembered for a quick return; a destination has one name, and its servers hand out two tickets each.
const SESSIONS_REMEMBERED: usize = 4;

/// TLS to one destination. Cheap to clone; all clones resume each other's sessions.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    host: String,
    trust: Trust,
    /// Made at the first use. A file that cannot be read is tried again, so that a person who puts it right is
    /// rewarded without a restart.
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// TLS to `host`, a name or an address as it stands in a URL.
    pub fn new(host: &str, trust: Trust) -> Tls {
        // An IPv6 address stands in brackets in a URL, and without them in a certificate.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Tls(Arc::new(Shared { host, trust, config: OnceLock::new() }))
    }

    /// One connection's side of TLS, for whoever moves the bytes. The first time this reads certificates from the
    /// disk, away from the network's threads.
    ///
    /// # Errors
    /// [`TlsError::CaFile`] and [`TlsError::Name`].
    pub async fn session(&self) -> Result<ClientConnection, TlsError> {
        let (config, name) = self.config().await?;
        let mut connection = ClientConnection::new(config, name)?;
        // The caller bounds what it pushes; a record must never be refused half-way.
        connection.set_buffer_limit(None);
        Ok(connection)
    }

    /// The same in parts, for a stream that makes the session itself.
    ///
    /// # Errors
    /// [`TlsError::CaFile`] and [`TlsError::Name`].
    pub async fn config(&self) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
        let Shared { host, trust, config } = &*self.0;
        let name = ServerName::try_from(host.clone()).map_err(|_| TlsError::Name(host.clone()))?;
        let config = if let Some(config) = config.get() {
            Arc::clone(config)
        } else {
            let trust = trust.clone();
            let made = tokio::task::spawn_blocking(move || client_config(&trust)).await;
            let made = made.map_err(|_| TlsError::Interrupted)??;
            Arc::clone(config.get_or_init(|| made))
        };
        Ok((config, name))
    }
}

fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(trust, &provider)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_REMEMBERED);
    Ok(Arc::new(config))
}
