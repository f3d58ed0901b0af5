//! `openapi.json` held against what the box really answers: [`check`] sees every answer that these tests get.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::shop::{self, Said, ask, order, put, reserve, said, token};
use super::support::Request;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../src/serve/api/openapi.json")).expect("openapi.json is JSON")
});

/// An operation by its method and path, the status of one of its answers, and the content type of that.
type Place = (String, String, u16, String);

static VALIDATORS: LazyLock<Mutex<HashMap<Place, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// What an answer's `$ref` stands for.
fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(at) => DESCRIPTION.pointer(at.trim_start_matches('#')).expect(at),
        None => value,
    }
}

/// The path as it is described, if it is.
fn described(path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or_default().strip_prefix("/api/v1")?;
    let fits = |known: &str| {
        known.split('/').zip(path.split('/')).all(|(known, part)| known == part || known.starts_with('{'))
    };
    let paths = DESCRIPTION["paths"].as_object().expect("paths");
    let same_length = |known: &&String| known.matches('/').count() == path.matches('/').count();
    let found = paths.keys().filter(same_length).filter(|known| fits(known));
    // A name that is written out goes before one that stands for any.
    found.min_by_key(|known| known.matches('{').count()).map(String::as_str)
}

/// Fails where an answer is not as described.
#[track_caller]
pub fn check(method: &str, path: &str, said: &Said) {
    let Some(known) = described(path) else { return };
    let method = method.to_ascii_lowercase();
    let operation = &DESCRIPTION["paths"][known][&method];
    if operation.is_null() {
        assert!(
            matches!(method.as_str(), "head" | "options") || said.status == 405,
            "{method} {path}: {said:?}"
        );
        return;
    }
    let answer = &operation["responses"][said.status.to_string()];
    assert!(!answer.is_null(), "{method} {known} is not described to answer {}: {said:?}", said.status);
    let Some(contents) = resolved(answer)["content"].as_object() else {
        assert_eq!(said.text, "", "{method} {known} {} has no body", said.status);
        return;
    };
    let kind = said.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let content = contents.get(kind);
    let content = content.unwrap_or_else(|| panic!("{method} {known}: {kind} is not described: {said:?}"));
    if !kind.ends_with("json") {
        return;
    }
    let place = (method.clone(), known.to_owned(), said.status, kind.to_owned());
    let validator = VALIDATORS.lock().unwrap().entry(place).or_insert_with(|| compiled(content)).clone();
    let told = said.json();
    let errors: Vec<String> = validator.iter_errors(&told).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{method} {known} {}: {errors:?}\n{told:#}", said.status);
}

fn compiled(content: &Value) -> Arc<Validator> {
    let whole = json!({ "allOf": [content["schema"]], "components": DESCRIPTION["components"] });
    Arc::new(jsonschema::validator_for(&whole).expect("a schema"))
}

#[test]
fn the_description_is_served_and_its_examples_are_right() {
    let box_ = shop::open("");
    assert_eq!(ask(&box_, "GET", "/api/v1/openapi.json", &[], "").json(), *DESCRIPTION);
    let mut seen = 0;
    for (path, operations) in DESCRIPTION["paths"].as_object().unwrap() {
        for (method, operation) in
            operations.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            let mut bodies: Vec<&Value> = operation["requestBody"]["content"]
                .as_object()
                .into_iter()
                .flat_map(|all| all.values())
                .collect();
            for answer in operation["responses"].as_object().unwrap().values() {
                bodies
                    .extend(resolved(answer)["content"].as_object().into_iter().flat_map(|all| all.values()));
            }
            for content in bodies.into_iter().filter(|content| !content["example"].is_null()) {
                let validator = compiled(content);
                assert!(validator.is_valid(&content["example"]), "{method} {path}: {content:#}");
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "{seen} examples");
}

#[test]
fn every_answer_that_a_client_can_bring_about_is_as_described() {
    let box_ = shop::open("");
    let (viewer, anchor) = (token(&box_, "viewer"), token(&box_, "anchor"));
    let product = r#"{"title":"Cup","price":{"amount":1999,"currency":"CNY"},"stock":50}"#;
    let csv = b"sku,title,amount,currency,stock\nCUP-1,Cup,1999,CNY,50\n";
    let cup = "/api/v1/products/CUP-1";
    put(&box_, "CUP-1", 50);
    put(&box_, "OLD-1", 0);
    let placed = order(&box_, "k", "CUP-1", 1, "li").header("location").unwrap().to_owned();
    let held = reserve(&box_, "r", "CUP-1", 1, "li").header("location").unwrap().to_owned();
    let nobody = "00000000000000000000000000";
    let mut seen = BTreeSet::new();
    let mut note = |method: &str, path: &str, said: &Said| {
        if let Some(known) = described(path) {
            seen.insert((method.to_ascii_lowercase(), known.to_owned(), said.status));
        }
    };
    let posts: &[(&str, String, &str)] = &[
        ("PUT", cup.into(), product),
        ("POST", format!("{cup}/stock"), r#"{"add":1}"#),
        ("PUT", format!("{cup}/lease"), r#"{"id":"show","units":40}"#),
        ("DELETE", format!("{cup}/lease"), ""),
        ("POST", format!("{placed}/state"), r#"{"state":"confirmed"}"#),
        ("POST", format!("{placed}/cancel"), r#"{"reason":"late"}"#),
        ("POST", "/api/v1/cues".into(), r#"{"sku":"CUP-1"}"#),
        ("POST", "/api/v1/show".into(), r#"{"name":"Friday"}"#),
        ("GET", "/api/v1/summary".into(), ""),
        ("GET", "/api/v1/outbox".into(), ""),
        ("POST", "/api/v1/outbox/pause".into(), "{}"),
        ("POST", "/api/v1/outbox/news".into(), "{}"),
        ("GET", "/api/v1/orders?limit=1".into(), ""),
        ("GET", "/api/v1/products/export".into(), ""),
        ("GET", "/api/v1/products/export?format=json".into(), ""),
        ("GET", "/api/v1/products".into(), ""),
        ("GET", cup.into(), ""),
        ("GET", placed.clone(), ""),
        ("GET", held.clone(), ""),
        ("DELETE", held.clone(), ""),
        ("GET", "/api/v1/outputs".into(), ""),
        ("GET", "/api/v1/outputs/nobody".into(), ""),
        ("POST", "/api/v1/outputs/nobody/hold".into(), "{}"),
        ("GET", format!("/api/v1/orders/{nobody}"), ""),
        ("GET", format!("/api/v1/reservations/{nobody}"), ""),
        ("POST", format!("/api/v1/orders/{nobody}/cancel"), ""),
        ("DELETE", format!("/api/v1/reservations/{nobody}"), ""),
        ("POST", format!("/api/v1/orders/{nobody}/state"), r#"{"state":"paid"}"#),
        ("PUT", "/api/v1/products/NONE/lease".into(), r#"{"id":"show","units":40}"#),
        ("DELETE", "/api/v1/products/NONE/lease".into(), ""),
        ("DELETE", "/api/v1/products/NONE/image".into(), ""),
        ("DELETE", "/api/v1/products/OLD-1".into(), ""),
    ];
    let proxied = ("X-Forwarded-For", "192.0.2.7");
    for (method, path, body) in posts {
        note(method, path, &ask(&box_, method, path, &[], body));
        for headers in [
            vec![("Authorization", viewer.as_str())],
            vec![("Authorization", "Bearer flt_nobody")],
            vec![proxied],
            vec![("Content-Type", "text/plain"), ("Authorization", anchor.as_str())],
        ] {
            note(method, path, &ask(&box_, method, path, &headers, ""));
        }
        let strange = format!("{path}{}colour=red", if path.contains('?') { '&' } else { '?' });
        note(method, path, &ask(&box_, method, &strange, &[], body));
        if !body.is_empty() {
            note(method, path, &ask(&box_, method, path, &[], "{\"colour\":1}"));
            note(method, path, &ask(&box_, method, path, &[], &" ".repeat(17_000)));
        }
    }
    let image = format!("{cup}/image");
    let picture = b"\x89PNG\r\n\x1a\n and more";
    for request in [
        Request::new("POST", "/api/v1/products/import").body("text/csv", csv),
        Request::new("POST", "/api/v1/products/import").body("text/csv", b"sku,title\nA,B\n"),
        Request::new("POST", "/api/v1/products/import").json(r#"{"products":[{"sku":"A"}]}"#),
        Request::new("POST", "/api/v1/products/import")
            .json(r#"{"products":[{"sku":"HAT","title":"Hat","price":{"amount":5,"currency":"CNY"}}]}"#),
        Request::new("POST", "/api/v1/products/import").body("text/csv", &vec![b' '; (8 << 20) + 1]),
        Request::new("PUT", &image).body("image/png", picture),
        Request::new("PUT", &image).body("image/jpeg", picture),
        Request::new("GET", &image),
        Request::new("DELETE", &image),
        Request::new("GET", &image),
    ] {
        let answer = said(&box_, &request);
        note(request.method(), request.path(), &answer);
    }
    let missing: Vec<_> = (DESCRIPTION["paths"].as_object().unwrap().iter())
        .flat_map(|(path, all)| all.as_object().unwrap().iter().map(move |(method, one)| (path, method, one)))
        .filter(|(_, method, _)| *method != "parameters")
        .filter(|(path, method, one)| {
            let succeeds = |status: &&String| status.starts_with('2');
            let mut wanted = one["responses"].as_object().unwrap().keys().filter(succeeds);
            !wanted
                .any(|status| seen.contains(&((*method).clone(), (*path).clone(), status.parse().unwrap())))
        })
        .map(|(path, method, _)| format!("{method} {path}"))
        .collect();
    // The tests of the outputs, the outbox and the events bring theirs about; the others were, in other tests or above, before anybody noted.
    let elsewhere = [
        "get /events",
        "get /openapi.json",
        "post /outbox/news",
        "post /outbox/pause",
        "post /outbox/resume",
        "post /outbox/retry",
        "get /outputs/{name}",
        "post /outputs/{name}/hold",
        "post /outputs/{name}/reconnect",
        "post /outputs/{name}/resume",
        "post /outputs/{name}/switch",
        "post /orders",
        "post /reservations",
    ];
    let missing: Vec<_> = missing.iter().filter(|one| !elsewhere.contains(&one.as_str())).collect();
    assert!(missing.is_empty(), "nobody saw these succeed: {missing:?}");
    assert!(seen.len() > 100, "{} different answers were seen", seen.len());
}
