//! A name server of the tests' own, which can be cut.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use footlight::base::threads;

const ADDRESS: &str = "127.0.0.53";

/// Answers for a few names on 127.0.0.53 of the calling thread's namespace; gone when dropped.
pub struct Dns {
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    over: AtomicBool,
    ignored: AtomicU64,
}

impl Dns {
    /// For these names and their addresses; any other name does not exist.
    #[track_caller]
    pub fn start(names: &[(&str, &str)]) -> Dns {
        let names: Vec<(String, Ipv4Addr)> =
            names.iter().map(|(name, address)| ((*name).to_owned(), address.parse().unwrap())).collect();
        let socket = UdpSocket::bind((ADDRESS, 53)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let server = threads::spawn("test", "dns", move || serve(&socket, &names, &theirs)).unwrap();
        Dns { shared, server: Some(server) }
    }

    /// The words that start a program with such a server as its only one. It gets a mount namespace of its own.
    pub fn words(folder: &Path, program: &str) -> Vec<String> {
        let file = folder.join("resolv.conf");
        std::fs::write(&file, format!("nameserver {ADDRESS}\noptions timeout:1 attempts:1\n")).unwrap();
        let bind = format!("mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"", file.display());
        ["unshare", "--mount", "sh", "-c", &bind, program].map(str::to_owned).to_vec()
    }

    /// Answers nobody any more, as when the line to it is cut.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::Relaxed);
    }

    /// Answers again.
    pub fn heal(&self) {
        self.shared.cut.store(false, Ordering::Relaxed);
    }

    /// Questions that were not answered.
    pub fn ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn serve(socket: &UdpSocket, names: &[(String, Ipv4Addr)], shared: &Shared) {
    let mut question = [0; 512];
    while !shared.over.load(Ordering::Relaxed) {
        let Ok((bytes, from)) = socket.recv_from(&mut question) else { continue };
        if shared.cut.load(Ordering::Relaxed) {
            shared.ignored.fetch_add(1, Ordering::Relaxed);
        } else if let Some(answer) = answer(&question[..bytes], names) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to one question of class IN (RFC 1035 §4.1): an A record, no record for other types, or no such name.
fn answer(question: &[u8], names: &[(String, Ipv4Addr)]) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while let length @ 1..=63 = usize::from(*question.get(at)?) {
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let found = names.iter().find(|(name, _)| *name == labels.join("."));
    let records = u8::from(found.is_some() && kind == 1);
    let code = if found.is_some() { 0 } else { 3 };
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x84, 0x80 | code, 0, 1, 0, records, 0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    if let (Some((_, address)), 1) = (found, records) {
        // The name of the question, type A, class IN, good for no time at all, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
