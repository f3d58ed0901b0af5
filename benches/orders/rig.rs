//! The box under measure: the release binary on a core of its own, its store on the build's disk, one hot product.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;

use crate::disk;
use crate::names::HOT;
use crate::shared::cores::{LOAD, SERVER, pin};
use crate::support::{Footlight, Request, wait_until};

/// The stream is as small as one can be: what is measured here are orders.
const STREAM: &str = "[[stream]]\nname = \"main\"\nsize = \"160x120\"\nfps = 5\n";

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Rig {
    footlight: Footlight,
    _store: TempDir,
}

/// What the box has counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    commits: f64,
    committed: f64,
    cpu: Duration,
}

impl Rig {
    /// With so many units for sale.
    pub fn start(stock: i64) -> Rig {
        Rig::with(stock, &[])
    }

    /// The same, with these in its environment.
    pub fn with(stock: i64, environment: &[(&str, &str)]) -> Rig {
        let store = disk::folder();
        let config = format!(
            "[box]\ndata_dir = \"{}\"\n[http]\nmax_connections = 12000\n[orders]\nrate_per_address = 0\n{STREAM}",
            store.path().display()
        );
        let builder = Footlight::with(&config);
        let builder = environment.iter().fold(builder, |builder, (key, value)| builder.env(key, value));
        // A process stays where it was begun.
        pin(SERVER);
        let footlight = builder.start();
        pin(LOAD);
        wait_until(PATIENCE, "the store is open", || footlight.metric("footlight_store_up", "") == Some(1.0));
        let product =
            format!(r#"{{"title":"Cup","price":{{"amount":1999,"currency":"CNY"}},"stock":{stock}}}"#);
        let put = Request::new("PUT", &format!("/api/v1/products/{HOT}")).json(&product);
        let answer = put.send(footlight.http()).unwrap();
        assert!(answer.status == 201, "{}", answer.text());
        Rig { footlight, _store: store }
    }

    pub fn address(&self) -> SocketAddr {
        self.footlight.http()
    }

    pub fn counted(&self) -> Counted {
        let metric = |name| self.footlight.metric(name, "").unwrap();
        Counted {
            commits: metric("footlight_store_commits_total"),
            committed: metric("footlight_store_committed_total"),
            cpu: self.footlight.cpu_time(),
        }
    }

    /// Units that the box says it has sold.
    pub fn units_sold(&self) -> f64 {
        self.footlight.metric("footlight_show_units", "").unwrap()
    }
}

impl Counted {
    /// Requests in one commit since then, on the average.
    pub fn group_since(&self, before: &Counted) -> f64 {
        (self.committed - before.committed) / (self.commits - before.commits)
    }

    /// Processor time since then.
    pub fn cpu_since(&self, before: &Counted) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }
}
