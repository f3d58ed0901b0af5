//! The sender that one writes first: a blocking socket, a write timeout, and on any error the next destination.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use footlight::media::flv::TagType;
use footlight::media::rtmp::{Phase, Publisher, Target};

use crate::support::{Viewer, wait};

/// What a careful programmer sets.
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Carries the stream to one of these addresses after the other until told to stop.
pub fn run(source: SocketAddr, clouds: &[SocketAddr], stop: &Arc<AtomicBool>) {
    for cloud in clouds.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if carry(source, *cloud, stop).is_err() && clouds.len() == 1 {
            wait::pause(RETRY_AFTER);
        }
    }
}

fn carry(source: SocketAddr, cloud: SocketAddr, stop: &AtomicBool) -> Result<(), Box<dyn std::error::Error>> {
    let mut socket = TcpStream::connect_timeout(&cloud, TIMEOUT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    let target =
        Target { tc_url: format!("rtmp://{cloud}/live"), app: "live".to_owned(), key: "k3y".to_owned() };
    let mut session = Publisher::new(target)?;
    while session.phase() != Phase::Live {
        flush(&mut socket, &mut session)?;
        let mut heard = [0; 4_096];
        let bytes = socket.read(&mut heard)?;
        if bytes == 0 {
            return Err("the far end hung up".into());
        }
        session.receive(&heard[..bytes])?;
    }
    let mut viewer = Viewer::try_open(source, "/live/main.flv", TIMEOUT)?;
    while !stop.load(Ordering::Relaxed) {
        let tag = viewer.next_tag()?;
        let kind = match tag.kind {
            8 => TagType::Audio,
            9 => TagType::Video,
            _ => TagType::Script,
        };
        session.send(kind, tag.millis, &Bytes::from(tag.body))?;
        flush(&mut socket, &mut session)?;
    }
    session.finish()?;
    flush(&mut socket, &mut session)?;
    Ok(())
}

fn flush(socket: &mut TcpStream, session: &mut Publisher) -> std::io::Result<()> {
    let output = session.output();
    socket.write_all(output)?;
    output.advance(output.len());
    Ok(())
}
