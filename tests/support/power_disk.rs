//! A disk whose cache is lost when the power is cut: served to the emulated machine over NBD, from memory.
//!
//! What was written but not flushed is what a disk still has in its cache. A power cut keeps some of those sectors and
//! loses the others, as it likes: a page can be half old and half new, and a later write can be there without an
//! earlier one. What was flushed, or written with force unit access, is there. Protocol: the NBD project's
//! `doc/proto.md`, fixed newstyle, simple replies.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use footlight::base::threads;
use tempfile::TempDir;

/// What is kept or lost as a whole.
const SECTOR: usize = 512;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054; // IHAVEOPT
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const ANSWER_MAGIC: u32 = 0x6744_6698;
/// Fixed newstyle, no zeroes.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// Has flags, takes flushes, takes force unit access.
const EXPORT_FLAGS: u16 = 0b1101;

#[derive(Debug)]
struct Platters {
    durable: Vec<u8>,
    /// Sectors in the cache.
    cached: BTreeMap<usize, [u8; SECTOR]>,
    flushes: u64,
    writes: u64,
}

/// The disk. Lives as long as this; machines come and go.
pub struct PowerDisk {
    platters: Arc<Mutex<Platters>>,
    folder: TempDir,
}

/// What a cut did.
#[derive(Debug)]
pub struct Cut {
    pub kept: usize,
    pub lost: usize,
}

impl PowerDisk {
    /// A disk with this image on it.
    pub fn new(image: Vec<u8>) -> PowerDisk {
        assert_eq!(image.len() % SECTOR, 0, "a disk has whole sectors");
        let folder = tempfile::Builder::new().prefix("footlight-disk-").tempdir().unwrap();
        let platters = Platters { durable: image, cached: BTreeMap::new(), flushes: 0, writes: 0 };
        let disk = PowerDisk { platters: Arc::new(Mutex::new(platters)), folder };
        let listener = UnixListener::bind(disk.socket()).unwrap();
        let platters = disk.platters.clone();
        let serve = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let platters = platters.clone();
                // A machine whose power is cut leaves in mid-word.
                threads::spawn("test", "disk", move || drop(talk(&stream, &platters))).unwrap();
            }
        };
        threads::spawn("test", "disks", serve).unwrap();
        disk
    }

    /// How qemu names it.
    pub fn drive(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("nbd")
    }

    /// The power is gone: of what is in the cache some sectors arrived and the others did not, by this seed. Call it
    /// once the machine is dead.
    pub fn cut(&self, seed: u64) -> Cut {
        let mut platters = lock(&self.platters);
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut cut = Cut { kept: 0, lost: 0 };
        for (sector, bytes) in std::mem::take(&mut platters.cached) {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            if dice.is_multiple_of(2) {
                platters.durable[sector * SECTOR..][..SECTOR].copy_from_slice(&bytes);
                cut.kept += 1;
            } else {
                cut.lost += 1;
            }
        }
        cut
    }

    /// Flushes and writes that it was asked for.
    pub fn asked(&self) -> (u64, u64) {
        let platters = lock(&self.platters);
        (platters.flushes, platters.writes)
    }

    /// A copy of what is on it, cache included.
    pub fn save(&self, to: &Path) {
        let platters = lock(&self.platters);
        let mut image = platters.durable.clone();
        for (sector, bytes) in &platters.cached {
            image[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
        }
        std::fs::write(to, image).unwrap();
    }
}

fn lock(platters: &Mutex<Platters>) -> MutexGuard<'_, Platters> {
    platters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Platters {
    fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = self.durable[offset..offset + length].to_vec();
        for (sector, cached) in self.cached.range(offset / SECTOR..(offset + length).div_ceil(SECTOR)) {
            let at = sector * SECTOR - offset;
            bytes[at..at + SECTOR].copy_from_slice(cached);
        }
        bytes
    }

    fn write(&mut self, offset: usize, bytes: &[u8], through: bool) {
        self.writes += 1;
        for (at, sector) in bytes.chunks_exact(SECTOR).enumerate() {
            let number = offset / SECTOR + at;
            if through {
                self.cached.remove(&number);
                self.durable[number * SECTOR..][..SECTOR].copy_from_slice(sector);
            } else {
                self.cached.insert(number, sector.try_into().unwrap());
            }
        }
    }

    fn flush(&mut self) {
        self.flushes += 1;
        for (sector, bytes) in std::mem::take(&mut self.cached) {
            self.durable[sector * SECTOR..][..SECTOR].copy_from_slice(&bytes);
        }
    }
}

fn talk(mut stream: &UnixStream, platters: &Mutex<Platters>) -> io::Result<()> {
    let size = lock(platters).durable.len() as u64;
    stream.write_all(b"NBDMAGIC")?;
    stream.write_all(&OPTION_MAGIC.to_be_bytes())?;
    stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    read::<4>(stream)?;
    loop {
        assert_eq!(u64::from_be_bytes(read(stream)?), OPTION_MAGIC);
        let option = u32::from_be_bytes(read(stream)?);
        let length = u32::from_be_bytes(read(stream)?);
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        match option {
            // EXPORT_NAME
            1 => {
                stream.write_all(&size.to_be_bytes())?;
                stream.write_all(&EXPORT_FLAGS.to_be_bytes())?;
                break;
            }
            // INFO and GO: what the export is (NBD_INFO_EXPORT), then yes.
            6 | 7 => {
                let mut info = vec![0, 0];
                info.extend(size.to_be_bytes());
                info.extend(EXPORT_FLAGS.to_be_bytes());
                reply(stream, option, 3, &info)?;
                reply(stream, option, 1, &[])?;
                if option == 7 {
                    break;
                }
            }
            // ABORT
            2 => return reply(stream, option, 1, &[]),
            // NBD_REP_ERR_UNSUP
            _ => reply(stream, option, 0x8000_0001, &[])?,
        }
    }
    loop {
        assert_eq!(u32::from_be_bytes(read(stream)?), REQUEST_MAGIC);
        let flags = u16::from_be_bytes(read(stream)?);
        let kind = u16::from_be_bytes(read(stream)?);
        let cookie: [u8; 8] = read(stream)?;
        let offset = u64::from_be_bytes(read(stream)?) as usize;
        let length = u32::from_be_bytes(read(stream)?) as usize;
        let mut answer = Vec::new();
        match kind {
            0 => answer = lock(platters).read(offset, length),
            1 => {
                let mut bytes = vec![0; length];
                stream.read_exact(&mut bytes)?;
                lock(platters).write(offset, &bytes, flags & 1 == 1);
            }
            2 => return Ok(()),
            3 => lock(platters).flush(),
            other => panic!("the machine asks its disk for {other}, which was not offered"),
        }
        stream.write_all(&ANSWER_MAGIC.to_be_bytes())?;
        stream.write_all(&[0; 4])?;
        stream.write_all(&cookie)?;
        stream.write_all(&answer)?;
    }
}

fn read<const N: usize>(mut stream: &UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn reply(mut stream: &UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    stream.write_all(&REPLY_MAGIC.to_be_bytes())?;
    stream.write_all(&option.to_be_bytes())?;
    stream.write_all(&kind.to_be_bytes())?;
    stream.write_all(&(data.len() as u32).to_be_bytes())?;
    stream.write_all(data)
}
