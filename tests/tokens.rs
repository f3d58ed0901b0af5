//! Tokens from outside: who makes one may give orders from another machine, until it is revoked.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::collections::HashSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use footlight::base::threads;
use nix::sys::signal::Signal;
use serde_json::Value;
use support::net::{Net, Place, Shape};
use support::{Builder, Exit, Footlight, Request, Response, wait_for, wait_until};

const DEADLINE: Duration = Duration::from_secs(20);

/// An order that is judged before anybody looks whether there is such an output: 404 means "you may".
const ORDER: &str = "/api/v1/outputs/nobody/hold";
const MAY: u16 = 404;

const EVERYWHERE: &str = "[http]\nlisten = \"0.0.0.0:0\"\n[box]\ndata_dir = \"data\"\n";

fn box_everywhere() -> Builder {
    Footlight::with(EVERYWHERE).listen_as_configured()
}

#[track_caller]
fn token(builder: &Builder, arguments: &[&str]) -> Exit {
    let config = builder.folder().join("footlight.toml");
    let all = [&["token"], arguments, &["--config", config.to_str().unwrap()]].concat();
    builder.run_to_end(DEADLINE, &all)
}

/// Makes a token: itself, and its id.
#[track_caller]
fn new_token(builder: &Builder, role: &str, name: &str) -> (String, String) {
    let made = token(builder, &["new", "--role", role, "--name", name]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let listed = token(builder, &["list"]).stdout;
    let id = listed.lines().last().unwrap().split(' ').next().unwrap().to_owned();
    assert!(made.stderr.contains(&id), "{made:?}");
    (made.stdout.trim_end().to_owned(), id)
}

/// What an order is answered with.
fn order(server: SocketAddr, token: Option<&str>) -> (u16, Option<String>, Value) {
    let request = Request::new("POST", ORDER).header("Content-Length", "0");
    let request = match token {
        Some(token) => request.header("Authorization", &format!("Bearer {token}")),
        None => request,
    };
    let answer = request.send(server).unwrap();
    let challenge = answer.header("www-authenticate").map(str::to_owned);
    (answer.status, challenge, serde_json::from_str(&answer.text()).unwrap())
}

/// The same from another machine.
#[track_caller]
fn order_from(place: &Place, server: SocketAddr, token: Option<&str>) -> (u16, Option<String>, Value) {
    let token = token.map(str::to_owned);
    place.run(move || order(server, token.as_deref()))
}

/// A second footlight's folder on the first one's data.
fn beside(folder: &Path) -> Builder {
    Footlight::with(&format!("[box]\ndata_dir = '{}'\n", folder.join("data").display()))
}

fn problem(said: &Value) -> &str {
    said["type"].as_str().and_then(|kind| kind.strip_prefix("https://footlight.dev/problems/")).unwrap_or("")
}

#[test]
fn a_token_is_printed_alone_and_kept_nowhere() {
    let builder = box_everywhere();
    let made = token(&builder, &["new", "--role", "anchor", "--name", "tablet by the door"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let text = made.stdout.strip_suffix('\n').unwrap();
    let secret = text.strip_prefix("flt_").unwrap();
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(secret.len() == 43 && secret.bytes().all(usual), "{text}");
    for word in ["anchor", "tablet by the door", "tokens.json", "only this once"] {
        assert!(made.stderr.contains(word), "{word}: {}", made.stderr);
    }
    assert!(!made.stderr.contains(secret));

    let file = builder.folder().join("data/tokens.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(secret));
    let listed = token(&builder, &["list"]);
    assert_eq!(listed.code, Some(0));
    assert!(listed.stdout.contains("anchor") && listed.stdout.contains("tablet by the door"), "{listed:?}");
    assert!(!listed.stdout.contains(secret) && !listed.stderr.contains(secret));
}

#[test]
fn a_token_that_root_makes_can_be_read_by_the_user_that_the_box_runs_as() {
    const NOBODY: u32 = 65_534;
    let builder = box_everywhere();
    let data = builder.folder().join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY))
        .expect("this test needs root: sudo -E make test");
    new_token(&builder, "admin", "");
    for name in ["tokens.json", "tokens.lock"] {
        let found = std::fs::metadata(data.join(name)).unwrap();
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (NOBODY, 0o600), "{name}");
    }
}

#[test]
fn who_asks_wrongly_is_told_and_a_script_sees_it_in_the_exit_code() {
    let builder = box_everywhere();
    for (arguments, code, says) in [
        (&["list"][..], 0, "no tokens"),
        (&["new"], 2, "--role"),
        (&["new", "--role", "owner"], 2, "admin"),
        (&["new", "--role", "admin", "--name", "two\nlines"], 2, "line ends"),
        (&["revoke", "00000000"], 2, "no token with the id"),
    ] {
        let ended = token(&builder, arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(says), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    let nowhere = Footlight::with("[box]\ndata_dir = \"/proc/nothing\"\n");
    let ended = token(&nowhere, &["new", "--role", "admin"]);
    assert!(ended.code == Some(3) && ended.stderr.contains("box.data_dir"), "{ended:?}");
    let wrong = Footlight::with("[box]\ndata_dri = \"x\"\n");
    assert_eq!(token(&wrong, &["list"]).code, Some(2));
    let config = builder.folder().join("data");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("tokens.json"), "{\"version\": 1, \"tokens\": [").unwrap();
    for arguments in [&["list"][..], &["new", "--role", "admin"], &["revoke", "x"]] {
        let ended = token(&builder, arguments);
        assert!(ended.code == Some(3) && ended.stderr.contains("left as it is"), "{ended:?}");
    }
}

#[test]
fn another_machine_gives_orders_by_a_token_of_a_role_that_may() {
    let mut net = Net::new();
    let (elsewhere, _line) = net.line("lan", Shape::default());
    let box_ = box_everywhere().start();
    let cli = beside(box_.folder());
    let server: SocketAddr = format!("10.77.1.1:{}", box_.http().port()).parse().unwrap();
    let (status, challenge, said) = order_from(&elsewhere, server, None);
    assert_eq!((status, challenge.as_deref(), problem(&said)), (401, Some("Bearer"), "token-missing"));
    assert!(said["detail"].as_str().unwrap().contains("footlight token new --role anchor"), "{said}");

    for (role, may) in [("viewer", 403), ("anchor", MAY), ("admin", MAY)] {
        let (token, id) = new_token(&cli, role, role);
        let (status, _, said) = order_from(&elsewhere, server, Some(&token));
        assert_eq!(status, may, "just made, {role}: {said}");
        if may == 403 {
            assert_eq!((problem(&said), &said["wanted"]), ("role-too-low", &"anchor".into()));
        }
        // It counts as much where none would be needed.
        assert_eq!(order(box_.http(), Some(&token)).0, may, "{role}");
        assert_eq!(self::token(&cli, &["revoke", &id]).code, Some(0));
        wait_until(DEADLINE, "the box knows that it is revoked", || {
            order_from(&elsewhere, server, Some(&token)).0 == 401
        });
        assert!(!box_.logs().contains(&token[4..]), "a token stands in the log");
    }
    assert_eq!(box_.get("/api/v1/outputs").status, 200, "reading is open as before");
}

#[test]
fn wrong_tokens_are_answered_ten_times_and_then_put_off_for_that_address_alone() {
    let mut net = Net::new();
    let (noisy, _line) = net.line("one", Shape::default());
    let (quiet, _line) = net.line("two", Shape::default());
    let box_ = box_everywhere().start();
    let cli = beside(box_.folder());
    let (good, _) = new_token(&cli, "anchor", "");
    let port = box_.http().port();
    let at = |place: u8| -> SocketAddr { format!("10.77.{place}.1:{port}").parse().unwrap() };
    for wrong in ["flt_", "", "x y", "flt_\u{e9}", &format!("{good}x"), &good[..46], "../../etc/passwd"] {
        let (status, challenge, said) = order_from(&noisy, at(1), Some(wrong));
        assert_eq!(status, 401, "{wrong:?}: {said}");
        assert!(challenge.unwrap().starts_with("Bearer"), "{wrong:?}");
        assert!(wrong.len() < 5 || !said.to_string().contains(wrong), "{said}");
    }
    let refused = wait_for(DEADLINE, "429 for wrong tokens", || {
        let answer = order_from(&noisy, at(1), Some("flt_0123456789012345678901234567890123456789012"));
        assert!([401, 429].contains(&answer.0), "{answer:?}");
        (answer.0 == 429).then_some(answer.2)
    });
    assert_eq!(problem(&refused), "token-throttled", "{refused}");
    let server = at(1);
    let again =
        noisy.run(move || Request::new("POST", ORDER).header("Authorization", "Bearer x").send(server));
    let again = again.unwrap();
    let wait: u64 = again.header("retry-after").unwrap().parse().unwrap();
    assert!(again.status == 429 && (1..=6).contains(&wait), "{wait}");
    assert_eq!(order_from(&noisy, at(1), Some(&good)).0, MAY, "a right token is never put off");
    assert_eq!(order_from(&quiet, at(2), Some("flt_wrong")).0, 401, "nor is another address");
}

#[test]
fn a_proxy_on_the_box_is_no_way_round_the_token() {
    let box_ = box_everywhere().start();
    let cli = beside(box_.folder());
    let (good, _) = new_token(&cli, "admin", "");
    let proxied = || Request::new("POST", ORDER).json("{}").header("X-Forwarded-For", "192.0.2.7");
    let local: SocketAddr = ([127, 0, 0, 1], box_.http().port()).into();
    assert_eq!(proxied().send(local).unwrap().status, 401);
    let bearer = format!("bearer {good}");
    assert_eq!(proxied().header("Authorization", &bearer).send(local).unwrap().status, MAY);
    assert_eq!(proxied().header("Authorization", "Basic YTpi").send(local).unwrap().status, 401);
    assert_eq!(Request::new("POST", ORDER).json("{}").send(local).unwrap().status, MAY, "the box itself");
}

#[test]
fn a_proxy_that_tells_nothing_of_who_asks_is_no_way_round_the_token_either() {
    /// What `proxy_pass http://127.0.0.1:PORT;` makes of a request from the LAN, and no other line of configuration.
    fn by_nginx(server: SocketAddr, request: &str) -> u16 {
        let mut socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = "Connection: close\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n";
        write!(socket, "{request} HTTP/1.0\r\nHost: {server}\r\n{head}").unwrap();
        Response::read(socket, false).unwrap().status
    }
    let box_ = box_everywhere().start();
    let local: SocketAddr = ([127, 0, 0, 1], box_.http().port()).into();
    for request in ["GET /api/v1/orders", "GET /api/v1/products/export", "DELETE /api/v1/products/CUP-1"] {
        assert_eq!(by_nginx(local, request), 401, "{request}");
    }
    assert_eq!(by_nginx(local, "GET /api/v1/outputs"), 200, "what is open stays open");

    // One that speaks HTTP/1.1 looks like a program on the box in everything: the owner has to say so.
    let careful = EVERYWHERE.replace("[http]", "[http]\ntrust_local = false");
    let builder = Footlight::with(&careful).listen_as_configured();
    let (good, _) = new_token(&builder, "admin", "");
    let box_ = builder.start();
    let local: SocketAddr = ([127, 0, 0, 1], box_.http().port()).into();
    let (status, _, said) = order(local, None);
    assert_eq!((status, problem(&said)), (401, "token-missing"));
    assert!(said["detail"].as_str().unwrap().contains("trust_local"), "{said}");
    assert_eq!(order(local, Some(&good)).0, MAY);
    assert_eq!(box_.get("/api/v1/outputs").status, 200);
    box_.rewrite(EVERYWHERE);
    box_.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the box trusts what runs on it again", || order(local, None).0 != 401);
}

#[test]
fn a_broken_file_lets_nobody_in_and_says_so_until_it_is_right_again() {
    let builder = box_everywhere();
    let (good, _) = new_token(&builder, "admin", "");
    let file = builder.folder().join("data/tokens.json");
    let right = std::fs::read_to_string(&file).unwrap();
    let box_ = builder.start();
    assert_eq!(order(box_.http(), Some(&good)).0, MAY);
    let broken = right.replace("admin", "owner");
    std::fs::write(&file, &broken).unwrap();
    let said = wait_for(DEADLINE, "503 to who has a token", || {
        let (status, _, said) = order(box_.http(), Some(&good));
        (status == 503).then_some(said)
    });
    assert_eq!(problem(&said), "tokens-unreadable");
    let line = box_.wait_for_log(DEADLINE, "nobody is let in by token");
    assert!(line.contains("tokens.json") && line.contains("owner"), "{line}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), broken, "it is left as it is");
    assert_eq!(box_.get("/healthz").status, 200);
    std::fs::write(&file, &right).unwrap();
    wait_until(DEADLINE, "the token counts again", || order(box_.http(), Some(&good)).0 == MAY);
}

#[test]
fn many_who_make_tokens_at_once_lose_none() {
    let builder = box_everywhere();
    let config = builder.folder().join("footlight.toml");
    let children: Vec<_> = (0..12)
        .map(|number| {
            let name = format!("number {number}");
            let arguments = ["token", "new", "--role", "viewer", "--name", &name, "--config"];
            let mut command = builder.command(&[&arguments[..], &[config.to_str().unwrap()]].concat());
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let waiting = children
        .into_iter()
        .map(|child| threads::spawn("test", "token", move || child.wait_with_output().unwrap()).unwrap());
    let ended: Vec<_> = waiting.collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).collect();
    assert!(ended.iter().all(|output| output.status.success()), "{ended:?}");
    let tokens: HashSet<Vec<u8>> = ended.into_iter().map(|output| output.stdout).collect();
    assert_eq!(tokens.len(), 12);
    let listed = token(&builder, &["list"]).stdout;
    for number in 0..12 {
        let name = format!("number {number}");
        assert_eq!(listed.lines().filter(|line| line.ends_with(&name)).count(), 1, "{name}: {listed}");
    }
}
