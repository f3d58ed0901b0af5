//! The API from outside: what is told of the outputs, and who may tell them something.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::time::Duration;

use serde_json::Value;
use support::nginx_rtmp::NginxRtmp;
use support::{Footlight, Request, get, wait_for};

const DEADLINE: Duration = Duration::from_secs(40);

fn config(primary: &str, standby: &str) -> String {
    format!(
        "[[stream]]\nname = \"main\"\nsize = \"640x360\"\nbitrate = \"800kbit/s\"\n\n\
         [[output]]\nname = \"cloud\"\nprimary = \"{primary}\"\nstandby = [\"{standby}\"]\n"
    )
}

fn outputs(box_: &Footlight) -> Value {
    serde_json::from_str(&get(box_.http(), "/api/v1/outputs").text()).unwrap()
}

/// Waits until the only output is as wanted.
#[track_caller]
fn wait(box_: &Footlight, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(DEADLINE, what, || Some(outputs(box_)["outputs"][0].clone()).filter(|one| is(one)))
}

#[track_caller]
fn post(box_: &Footlight, path: &str, body: &str) -> (u16, Value) {
    let answer = Request::new("POST", path).json(body).send(box_.http()).unwrap();
    (answer.status, serde_json::from_str(&answer.text()).unwrap())
}

#[test]
fn a_person_sees_the_lines_and_moves_the_stream_from_the_box_itself() {
    let (first, second) = (NginxRtmp::start(), NginxRtmp::start());
    let box_ = Footlight::start(&config(&first.url("s3cr3tk3y"), &second.url("s3cr3tk3y")));
    let one = wait(&box_, "the primary carries and the standby waits", |one| {
        one["active"] == 0 && one["state"] == "live" && one["lines"][1]["state"] == "standby"
    });
    assert_eq!((&one["mode"], &one["lines"][1]["role"]), (&"warm".into(), &"standby 1".into()));
    assert!(!one.to_string().contains("s3cr3tk3y"), "{one}");

    let (status, said) = post(&box_, "/api/v1/outputs/cloud/switch", r#"{"line": 1}"#);
    assert_eq!(status, 202, "{said}");
    let one = wait(&box_, "the standby carries", |one| one["active"] == 1);
    assert_eq!(one["switches"], 1);
    assert_eq!(one["last_switch"]["why"], "a person said so");
    assert_eq!(post(&box_, "/api/v1/outputs/cloud/hold", "").0, 202);
    assert_eq!(post(&box_, "/api/v1/outputs/cloud/resume", "{}").0, 202);
    wait(&box_, "it is at home again", |one| one["active"] == 0);
    assert_eq!(post(&box_, "/api/v1/outputs/cloud/reconnect", r#"{"line": 1}"#).0, 202);
    wait(&box_, "the standby was dialled afresh", |one| one["lines"][1]["connections"] == 2);
}

#[test]
fn who_asks_wrongly_is_told_what_is_wrong_and_changes_nothing() {
    let first = NginxRtmp::start();
    let box_ = Footlight::start(&config(&first.url("k"), &first.url("l")));
    wait(&box_, "it is live", |one| one["active"] == 0);
    let switch = "/api/v1/outputs/cloud/switch";
    for (path, body, status, says) in [
        ("/api/v1/outputs/nobody/hold", "{}", 404, "nobody"),
        ("/api/v1/outputs/cloud/dance", "{}", 404, "no such part"),
        (switch, r#"{"line": 9}"#, 422, "line"),
        (switch, r#"{"line": -1}"#, 422, "line"),
        (switch, r#"{"lime": 1}"#, 422, "lime"),
        (switch, "", 422, "line"),
        (switch, "[[[[[[[[", 422, "An example"),
        ("/api/v1/outputs/cloud/hold", r#"{"for": "ever"}"#, 422, "for"),
    ] {
        let (got, said) = post(&box_, path, body);
        assert_eq!(got, status, "{path} {body}: {said}");
        assert!(said["detail"].as_str().is_some_and(|words| words.contains(says)), "{path} {body}: {said}");
    }
    let long = format!("{{\"line\": 1{}}}", " ".repeat(20_000));
    assert_eq!(post(&box_, switch, &long).0, 413);
    let send = |request: Request| request.send(box_.http()).unwrap().status;
    assert_eq!(send(Request::new("GET", switch)), 405);
    assert_eq!(send(Request::new("POST", "/api/v1/outputs/cloud").json("{}")), 405);
    assert_eq!(
        send(Request::new("POST", switch).header("Content-Length", "0")),
        415,
        "a form of another site"
    );
    for proxied in ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"] {
        let request = Request::new("POST", switch).json(r#"{"line": 1}"#).header(proxied, "192.0.2.7");
        assert_eq!(send(request), 401, "{proxied}");
    }
    for (path, allowed) in [("/api/v1/outputs", "GET, HEAD, OPTIONS"), (switch, "POST, OPTIONS")] {
        let answer = Request::new("OPTIONS", path).send(box_.http()).unwrap();
        assert_eq!((answer.status, answer.header("allow")), (204, Some(allowed)), "{path}");
    }
    assert_eq!(get(box_.http(), "/api/v1/outputs/nobody").status, 404);
    assert_eq!(outputs(&box_)["outputs"][0]["switches"], 0);
}
