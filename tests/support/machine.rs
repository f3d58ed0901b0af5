//! The emulated machine: Debian's kernel under qemu, with cameras that can be plugged, pulled and told to fail.
//!
//! Made by `tests/vm/prepare.sh`. It is emulated instruction by instruction (no KVM: guests hang on some build
//! machines that offer it), so it is some ten times slower than the machine below it: small pictures, long
//! deadlines. Its port 8080 is reached through [`Machine::http`]; an agent in it runs shell commands.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::power_disk::PowerDisk;
use super::tool::{output_within, require};
use super::{Request, Viewer, films, wait};

/// From qemu's start to the agent's first word: 3 to 6 s on a machine that does nothing else.
const BOOT: Duration = Duration::from_secs(90);
/// One command in the machine.
const COMMAND: Duration = Duration::from_secs(60);

/// A running machine; killed when dropped. A failing test shows its console and footlight's log.
pub struct Machine {
    qemu: Child,
    agent: BufReader<UnixStream>,
    http: SocketAddr,
    /// What its disk is for qemu.
    drive: String,
    folder: TempDir,
}

/// What a command in the machine said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub output: String,
}

impl Machine {
    /// Boots a machine with footlight's static binary in `/bin` and an empty disk on `/data`.
    #[track_caller]
    pub fn boot() -> Machine {
        Machine::boot_with(&[])
    }

    /// The same, with a film in each of these formats for [`Machine::plug_fed_camera`].
    #[track_caller]
    pub fn boot_with(films: &[&str]) -> Machine {
        let folder = tempfile::Builder::new().prefix("footlight-vm-").tempdir().unwrap();
        let disk = folder.path().join("disk");
        empty_disk(&disk);
        Machine::prepare_and_boot(folder, films, disk.display().to_string())
    }

    /// Boots a machine on a disk that stands outside of it, so that its power can be cut as well.
    #[track_caller]
    pub fn boot_on(disk: &PowerDisk) -> Machine {
        let folder = tempfile::Builder::new().prefix("footlight-vm-").tempdir().unwrap();
        Machine::prepare_and_boot(folder, &[], disk.drive())
    }

    #[track_caller]
    fn prepare_and_boot(folder: TempDir, films: &[&str], drive: String) -> Machine {
        let mut files = vec![("bin/footlight".to_owned(), std::fs::read(static_binary()).unwrap())];
        files.extend(films.iter().map(|fourcc| (format!("film-{fourcc}"), films::film(fourcc))));
        let mut image = std::fs::read(prepared("initrd")).unwrap();
        image.extend(archive_of(&files));
        std::fs::write(folder.path().join("initrd"), image).unwrap();
        Machine::boot_in(folder, drive)
    }

    /// Cuts the power, without a word to anybody in the machine, and boots it again with the same disk.
    #[track_caller]
    pub fn cut_the_power_and_boot(mut self) -> Machine {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let empty = tempfile::tempdir().unwrap();
        let drive = std::mem::take(&mut self.drive);
        Machine::boot_in(std::mem::replace(&mut self.folder, empty), drive)
    }

    /// Cuts the power, and waits until the machine is dead.
    pub fn cut_the_power(mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }

    #[track_caller]
    fn boot_in(folder: TempDir, drive: String) -> Machine {
        let qemu = require("qemu-system-x86_64", "apt-get install qemu-system-x86");
        let at = |name: &str| folder.path().join(name);
        let socket = at("agent");
        let _ = std::fs::remove_file(&socket);
        // Freed right before qemu takes it: whoever else is given this port meanwhile makes the boot fail, loudly.
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(qemu);
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768"])
            .args(["-nodefaults", "-no-reboot", "-display", "none", "-device", "virtio-serial-pci"])
            .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable"])
            .arg("-kernel")
            .arg(prepared("vmlinuz"))
            .arg("-initrd")
            .arg(at("initrd"))
            .args(["-serial", &format!("file:{}", at("console").display())])
            .args(["-chardev", &format!("socket,id=agent,server=on,wait=off,path={}", socket.display())])
            .args(["-device", "virtserialport,chardev=agent,name=agent"])
            .args(["-chardev", &format!("file,id=log,append=on,path={}", at("log").display())])
            .args(["-device", "virtserialport,chardev=log,name=log"])
            .args(["-drive", &format!("file={drive},if=virtio,format=raw")])
            .args(["-netdev", &format!("user,id=lan,hostfwd=tcp:{http}-:8080")])
            .args(["-device", "virtio-net-pci,netdev=lan,romfile="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(at("qemu")).unwrap());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let agent = wait::for_some(Duration::from_secs(20), "qemu's socket", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "qemu ended with {status}: {}",
                    std::fs::read_to_string(at("qemu")).unwrap_or_default()
                );
            }
            UnixStream::connect(&socket).ok()
        });
        agent.set_read_timeout(Some(BOOT)).unwrap();
        let mut machine = Machine { qemu: child, agent: BufReader::new(agent), http, drive, folder };
        machine.answer();
        machine
    }

    /// Where the machine's port 8080 is found from here.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// A URL on the machine's port 8080.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Runs one line of shell in the machine, to its end.
    #[track_caller]
    pub fn try_run(&mut self, line: &str) -> Ran {
        assert!(!line.contains('\n'), "the agent takes one line: {line:?}");
        self.agent.get_ref().set_read_timeout(Some(COMMAND)).unwrap();
        writeln!(self.agent.get_mut(), "{line}").unwrap();
        self.answer()
    }

    /// The same, for a command that must succeed; hands back what it said.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> String {
        let ran = self.try_run(line);
        assert_eq!(ran.code, 0, "in the machine: {line}\n{}", ran.output);
        ran.output
    }

    #[track_caller]
    fn answer(&mut self) -> Ran {
        let mut head = String::new();
        self.agent.read_line(&mut head).expect("the machine answers in time");
        let numbers = head
            .trim()
            .split_once(' ')
            .and_then(|(code, size)| Some((code.parse().ok()?, size.parse().ok()?)));
        let (code, size): (i32, usize) = numbers.unwrap_or_else(|| panic!("the agent said {head:?}"));
        let mut output = vec![0; size];
        self.agent.read_exact(&mut output).expect("the machine answers whole");
        Ran { code, output: String::from_utf8_lossy(&output).into_owned() }
    }

    /// Writes a file in the machine.
    #[track_caller]
    pub fn write(&mut self, path: &str, content: &str) {
        let quoted =
            content.replace('\\', "\\\\").replace('\'', "\\047").replace('\n', "\\n").replace('%', "%%");
        self.run(&format!("printf '{quoted}' >{path}"));
    }

    /// Starts footlight in the machine on this configuration, listening on its port 8080.
    #[track_caller]
    pub fn start_footlight(&mut self, config: &str) {
        self.write("/tmp/footlight.toml", config);
        self.run(
            "cd /data && FOOTLIGHT_HTTP__LISTEN=0.0.0.0:8080 NO_COLOR=1 \
             footlight run --config /tmp/footlight.toml </dev/null >/dev/vport0p2 2>&1 & echo $! >/tmp/footlight.pid",
        );
        let http = self.http;
        wait::until(Duration::from_secs(60), "200 from /healthz in the machine", || {
            let answer = Request::new("GET", "/healthz").patience(Duration::from_secs(5)).send(http);
            answer.is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Waits until a stream has pictures.
    #[track_caller]
    pub fn wait_for_picture(&self, stream: &str) {
        let path = format!("/live/{stream}.flv");
        wait::until(Duration::from_secs(60), &format!("a picture of stream {stream}"), || {
            Viewer::try_open(self.http, &path, Duration::from_secs(10))
                .is_ok_and(|mut viewer| (0..50).any(|_| viewer.next_tag().is_ok_and(|tag| tag.is_picture())))
        });
    }

    /// Ends footlight in the machine, politely; it must be gone within the time a box gives it.
    #[track_caller]
    pub fn stop_footlight(&mut self) {
        self.run(
            "kill -TERM $(cat /tmp/footlight.pid); for i in $(seq 200); do \
             kill -0 $(cat /tmp/footlight.pid) 2>/dev/null || exit 0; usleep 50000; done; exit 1",
        );
    }

    /// Plugs vivid cameras in: `/dev/video0` and on, each a webcam with the sizes and rates of one, unless
    /// `options` say otherwise (they are the module's).
    #[track_caller]
    pub fn plug_vivid(&mut self, options: &str) {
        self.run(&format!(
            "modprobe vivid n_devs=1 node_types=0x1,0x1 num_inputs=1,1 input_types=0x0,0x0 {options}"
        ));
    }

    /// Pulls the plug of the vivid cameras: their devices are gone while whoever has one open still holds on to it.
    #[track_caller]
    pub fn pull_vivid(&mut self) {
        self.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind");
    }

    /// Plugs them in again.
    #[track_caller]
    pub fn replug_vivid(&mut self) {
        self.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind");
    }

    /// Sets a control of a camera, by the name that `v4l2-ctl --list-ctrls` gives it.
    #[track_caller]
    pub fn set_control(&mut self, device: &str, control: &str, value: i64) {
        self.run(&format!("v4l2-ctl -d {device} -c {control}={value}"));
    }

    /// Plugs `/dev/video8` in, a camera that shows the film in this format. The one before it is unplugged.
    #[track_caller]
    pub fn plug_fed_camera(&mut self, fourcc: &str) {
        let (width, height, fps) = (films::WIDTH, films::HEIGHT, films::FPS);
        self.run(&format!(
            "killall feed 2>/dev/null; for i in $(seq 100); do rmmod v4l2loopback 2>/dev/null; \
             [ -d /sys/module/v4l2loopback ] || break; usleep 50000; done; \
             modprobe v4l2loopback video_nr=8 exclusive_caps=1 card_label=Fed && \
             (feed /dev/video8 {fourcc} {width} {height} {fps} /film-{fourcc} </dev/null >/dev/console 2>&1 &) && \
             for i in $(seq 100); do v4l2-ctl -d /dev/video8 --list-formats | grep -q {fourcc} && exit 0; \
             usleep 50000; done; exit 1"
        ));
    }

    /// What footlight logged in the machine.
    pub fn logs(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What the kernel said on its console.
    pub fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("console")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if std::thread::panicking() {
            let qemu = std::fs::read_to_string(self.folder.path().join("qemu")).unwrap_or_default();
            eprintln!("--- qemu ---\n{qemu}\n--- console ---\n{}", self.console());
            eprintln!("--- footlight in the machine ---\n{}\n---", self.logs());
        }
    }
}

/// Makes an empty disk of 64 MiB in this file, formatted as the machine wants it.
#[track_caller]
pub fn empty_disk(path: &Path) {
    File::create(path).unwrap().set_len(64 << 20).unwrap();
    let mke2fs = require("mke2fs", "apt-get install e2fsprogs");
    let made = output_within(COMMAND, Command::new(mke2fs).args(["-q", "-F", "-t", "ext4"]).arg(path));
    assert!(made.status.success(), "{}", made.stderr);
}

/// The static binary under test: `FOOTLIGHT_STATIC`, else where `make static` puts it.
#[track_caller]
pub fn static_binary() -> PathBuf {
    let built = "target/x86_64-unknown-linux-gnu/release/footlight";
    let path = std::env::var_os("FOOTLIGHT_STATIC").map_or_else(|| root().join(built), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing, and this test needs it; build it by: make static",
        path.display()
    );
    path
}

/// A part of the machine that prepare.sh made.
#[track_caller]
fn prepared(name: &str) -> PathBuf {
    let path = root().join("target/vm").join(name);
    assert!(path.is_file(), "{} is missing; make it by: tests/vm/prepare.sh", path.display());
    path
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A cpio archive (newc, as the kernel unpacks it behind the first one) with these files, all executable.
fn archive_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::with_capacity(files.iter().map(|(_, content)| content.len() + 256).sum());
    let end = ("TRAILER!!!".to_owned(), vec![]);
    for (inode, (name, content)) in (1..).zip(files.iter().chain([&end])) {
        let mode = if content.is_empty() { 0 } else { 0o100_755 };
        archive.extend_from_slice(b"070701");
        for field in [inode, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            archive.extend(format!("{field:08x}").into_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}
