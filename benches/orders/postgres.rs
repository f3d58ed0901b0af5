//! The same order in PostgreSQL, as a shop server would take it: one transaction for each, asked for by 16 clients.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::disk;
use crate::names::{HOT, STOCK};
use crate::shared::cores::{LOAD, SERVER, pin};
use crate::support::{output_within, wait};

const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);

/// PostgreSQL refuses to run as root; this is the user that its package makes.
const USER: &str = "postgres";

/// The tables that the box has, as far as one order fills them.
const TABLES: &str = "
    CREATE TABLE product (sku text PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0), sold bigint NOT NULL);
    CREATE TABLE orders (number bigserial PRIMARY KEY, id uuid NOT NULL UNIQUE, sku text NOT NULL REFERENCES product,
        quantity int NOT NULL, buyer text NOT NULL, contact text NOT NULL, total bigint NOT NULL, state text NOT NULL,
        at timestamptz NOT NULL);
    CREATE INDEX order_buyer ON orders (buyer, sku);
    CREATE TABLE answer (key uuid PRIMARY KEY, fingerprint bytea NOT NULL, of uuid NOT NULL, at timestamptz NOT NULL);
    CREATE TABLE event (seq bigserial PRIMARY KEY, at timestamptz NOT NULL, kind text NOT NULL, sku text, of uuid);";

/// One order in one statement, which is one transaction and one round trip: the least that it can be.
const ORDER: &str = "
    \\set buyer random(1, 1000000000)
    WITH taken AS (UPDATE product SET available = available - 1, sold = sold + 1
            WHERE sku = 'HOT-1' AND available >= 1 RETURNING sku),
        ordered AS (INSERT INTO orders (id, sku, quantity, buyer, contact, total, state, at)
            SELECT gen_random_uuid(), sku, 1, 'buyer-' || :buyer, '+86 138 00000000', 1999, 'accepted', now()
            FROM taken RETURNING id),
        answered AS (INSERT INTO answer
            SELECT gen_random_uuid(), decode('00112233445566778899aabbccddeeff', 'hex'), id, now() FROM ordered)
    INSERT INTO event (at, kind, sku, of) SELECT now(), 'order', 'HOT-1', id FROM ordered;";

/// A server of its own; ended when dropped.
pub struct Postgres {
    server: Child,
    folder: TempDir,
    programs: PathBuf,
}

impl Postgres {
    /// Starts one on the measured core; `None` where PostgreSQL is not installed.
    pub fn start() -> Option<Postgres> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
        let programs =
            versions.map(|version| version.path().join("bin")).find(|bin| bin.join("pgbench").exists())?;
        let folder = disk::folder();
        run(Command::new("chown").arg(USER).arg(folder.path()));
        let data = folder.path().join("data");
        pin(SERVER);
        let mut initdb = as_user(&programs, "initdb");
        run(initdb.args(["--auth=trust", "--username", USER, "--pgdata"]).arg(&data));
        let mut postgres = as_user(&programs, "postgres");
        postgres.args(["-c", "listen_addresses=", "-c", "shared_buffers=256MB", "-k"]).arg(folder.path());
        let server =
            postgres.arg("-D").arg(&data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pin(LOAD);
        let postgres = Postgres { server, folder, programs };
        wait::until(PATIENCE, "PostgreSQL answers", || {
            postgres.client("psql", &["-c", "SELECT 1"]).output().is_ok_and(|output| output.status.success())
        });
        let product = format!("INSERT INTO product VALUES ('{HOT}', {STOCK}, 0);");
        run(&mut postgres.client("psql", &["-c", TABLES, "-c", &product]));
        Some(postgres)
    }

    /// Orders a second.
    pub fn orders(&self, span: Duration) -> f64 {
        let script = self.folder.path().join("order.sql");
        std::fs::write(&script, ORDER).unwrap();
        let (clients, seconds) = (CLIENTS.to_string(), span.as_secs().to_string());
        let mut bench = self.client(
            "pgbench",
            &["--no-vacuum", "--protocol=prepared", "--client", &clients, "--time", &seconds, "--file"],
        );
        let told = run(bench.arg(script).arg(USER));
        let rate = told.lines().find_map(|line| line.strip_prefix("tps = "));
        rate.unwrap_or_else(|| panic!("{told}")).split(' ').next().unwrap().parse().unwrap()
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.arg("--host").arg(self.folder.path()).args(["--username", USER]).args(arguments);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is its fast way to stop.
        let _ = kill(Pid::from_raw(self.server.id() as i32), Signal::SIGINT);
        let _ = self.server.wait();
    }
}

fn as_user(programs: &Path, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(programs.join(program));
    command
}

fn run(command: &mut Command) -> String {
    let output = output_within(PATIENCE, command);
    assert!(output.status.success(), "{command:?}: {}", output.stderr);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
