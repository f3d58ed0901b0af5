//! The LAN server: HTTP for viewers, pages, probes and the API.
//!
//! ```text
//!   listener ──> connection (hyper 1, HTTP/1.x) ──> routes ──> answers, pages
//!                     └── a viewer is let in: the socket leaves hyper ──> flv ──tags── hub
//! ```
//!
//! `listener.rs` takes connections in and bounds their number; `connection.rs` runs hyper on each, with bounds on
//! time and size; `paths.rs` (pure) says what a path means and `routes.rs` what to answer; `pages.rs` has the web
//! build in it; `api/` has the parts of the API, `auth/` who may ask what of it; `flv/` writes streams. `house.rs` is what they all share.
//!
//! This room knows the others by their handles only. It holds no media, decides nothing about streams, and
//! never waits for a client longer than a written bound.

mod answers;
mod api;
pub mod auth;
mod body;
mod connection;
mod flv;
mod gate;
mod house;
mod listener;
mod pages;
mod paths;
mod routes;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::config::schema::Http;

use self::house::House;

pub use house::{Describe, Parts, Ready};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address} (http.listen)")]
    Listen {
        /// `http.listen`
        address: SocketAddr,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// The running server. Ended by [`Server::shutdown`]; dropped without it, it ends at once.
pub struct Server {
    address: SocketAddr,
    house: Arc<House>,
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens and serves from here on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn start(http: &Http, parts: Parts) -> Result<Server, ServeError> {
        let failed = |cause| ServeError::Listen { address: http.listen, cause };
        let listener = listener::listen(http.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let house = Arc::new(House::new(http, parts));
        let stopping = watch::Sender::new(false);
        let task = tokio::spawn(listener::run(listener, house.clone(), stopping.subscribe()));
        info!(%address, "serving HTTP");
        Ok(Server { address, house, stopping, task })
    }

    /// The address that it listens on, with the port that the system chose if the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether it ended without being told to, which only a bug can do.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Viewers now.
    pub fn viewers(&self) -> u32 {
        self.house.viewing.viewers()
    }

    /// Takes other bounds, at once and for those who are connected already. `listen` stays as it is: another address
    /// needs another server.
    pub fn reconfigure(&self, http: &Http) {
        self.house.reconfigure(http);
    }

    /// Takes another bound for new orders a second from one address; 0: none.
    pub fn set_order_rate(&self, per_second: u32) {
        self.house.set_order_rate(per_second);
    }

    /// Takes nobody in any more, ends all viewers, lets answers that were begun be finished, and returns when all
    /// is closed, or after `deadline`.
    pub async fn shutdown(mut self, deadline: Duration) {
        self.stopping.send_replace(true);
        self.house.pages.shutdown();
        let closing = async {
            self.house.viewing.shutdown().await;
            // A server that panicked is closed as well.
            let _ = (&mut self.task).await;
        };
        // What is not closed by then is cut when the server is dropped.
        let _ = tokio::time::timeout(deadline, closing).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
