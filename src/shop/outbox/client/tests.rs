//! The client against a real HTTPS server.

use std::net::TcpListener;
use std::path::Path;

use crate::base::secret::Secret;

use super::super::shop_cloud::{Fault, ShopCloud as Cloud};
use super::super::wire::{Answer, Item, Sender, What};
use super::*;

fn url(cloud: &Cloud, tls: bool) -> HttpsUrl {
    let target = Secret::new("/hooks/path-secret?shop=7");
    HttpsUrl { tls, host: "localhost".into(), port: cloud.port(), target }
}

fn client(cloud: &Cloud, folder: &Path) -> Client {
    let token = Some(Secret::new("token-secret"));
    let secret = Some(Secret::new("signing-secret"));
    let ca_file = Some(cloud.write_authority(folder));
    Client::new(ShopCloud { url: url(cloud, true), token, secret, ca_file })
}

fn document(seq: i64) -> Document {
    let sender = Sender { name: "box".into(), site: "site".into() };
    let item =
        Item { seq, id: format!("o{seq}"), what: What::Accepted, order: serde_json::json!({ "id": "o" }) };
    Document::batch(&sender, &[item], 0)
}

#[tokio::test]
async fn batches_go_signed_over_one_connection_by_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    cloud.demand(Some("signing-secret"), Some("token-secret"));
    cloud.verdict("o1:", "confirmed");
    let mut client = client(&cloud, folder.path());
    for seq in 1..=3 {
        let answered = client.post(&document(seq)).await.expect("an answer");
        assert_eq!(answered.status, 200);
        assert_eq!(Answer::read(&answered.body).expect("as agreed").results.len(), usize::from(seq == 1));
    }
    let seen = cloud.requests();
    assert!(seen.iter().all(|seen| seen.signature == Some(true) && seen.connection == 1), "{seen:?}");
    assert_eq!(seen[0].key, document(1).id);
    assert_eq!(seen[0].path, "/hooks/path-secret?shop=7");
    assert_eq!(cloud.taken(), ["o1:accepted", "o2:accepted", "o3:accepted"]);
    assert_eq!(seen[0].last_news, None);
    let told = Document { last_news: Some("5d1f".into()), ..document(3) };
    assert_eq!(client.post(&told).await.expect("an answer").status, 200);
    assert_eq!(cloud.requests()[3].last_news.as_deref(), Some("5d1f"));
    cloud.demand(Some("another"), None);
    assert_eq!(client.post(&document(4)).await.expect("an answer").status, 401);
}

#[tokio::test]
async fn whatever_a_cloud_does_is_told_in_words_without_secrets_and_the_next_request_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let mut client = client(&cloud, folder.path());
    for (fault, words) in
        [(Fault::HalfAnswer, "broke off before its answer was whole"), (Fault::LoseAnswer, "broke off")]
    {
        // The first request of a connection: a kept one that closes is taken up again by itself.
        client.kept = None;
        cloud.next(&[fault]);
        let said = client.post(&document(1)).await.expect_err("no answer").to_string();
        assert!(said.contains(words) && said.contains("https://localhost:"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(client.post(&document(1)).await.expect("an answer").status, 200);
    }
    cloud.next(&[Fault::AnswerTwice, Fault::None, Fault::Slow(Duration::from_millis(200)), Fault::None]);
    for seq in 2..=5 {
        assert_eq!(client.post(&document(seq)).await.expect("an answer").status, 200);
    }
    cloud.next(&[Fault::Status(500), Fault::Busy(503, 17), Fault::NotJson]);
    assert_eq!(client.post(&document(6)).await.expect("an answer").status, 500);
    assert_eq!(
        client.post(&document(6)).await.expect("an answer").retry_after,
        Some(Duration::from_secs(17))
    );
    let hotel = client.post(&document(6)).await.expect("an answer");
    assert!(Answer::read(&hotel.body).expect_err("no JSON").to_string().contains("check that the URL"));
    assert_eq!(cloud.books().len(), 6);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cloud = Cloud::start();
    let mut client = client(&cloud, folder.path());
    assert_eq!(client.post(&document(1)).await.expect("an answer").status, 200);
    cloud.cut();
    assert_eq!(client.post(&document(2)).await.expect("an answer").status, 200);
    cloud.go();
    let said = client.post(&document(3)).await.expect_err("gone").to_string();
    assert!(said.contains("cannot be reached (nobody listens there)"), "{said}");
    cloud.come_back();
    assert_eq!(client.post(&document(3)).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_cloud_that_hangs_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let mut client = client(&cloud, folder.path());
    client.answer_within = Duration::from_secs(1);
    cloud.next(&[Fault::Hang]);
    let said = client.post(&document(1)).await.expect_err("no answer").to_string();
    assert!(said.contains("did not answer within 1 s"), "{said}");
    assert_eq!(client.post(&document(1)).await.expect("an answer").status, 200);

    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = deaf.local_addr().expect("bound").port();
    let mut client = Client::new(ShopCloud::new(HttpsUrl { port, ..url(&cloud, true) }));
    client.connect_within = Duration::from_secs(1);
    let said = client.post(&document(1)).await.expect_err("no TLS").to_string();
    assert!(said.contains("did not take a connection within 1 s"), "{said}");
}

#[tokio::test]
async fn who_is_not_the_cloud_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cloud, plain) = (Cloud::start(), Cloud::start_plain());
    let stranger = Client::new(ShopCloud::new(url(&cloud, true))).post(&document(1)).await;
    let said = stranger.expect_err("nobody vouches").to_string();
    assert!(said.contains("nobody this box trusts") && said.contains("`ca_file`"), "{said}");
    let mut to_plain = Client::new(ShopCloud::new(url(&plain, true)));
    let said = to_plain.post(&document(1)).await.expect_err("no TLS").to_string();
    assert!(said.contains("does not speak TLS"), "{said}");
    let mut to_tls = Client::new(ShopCloud::new(url(&cloud, false)));
    assert!(to_tls.post(&document(1)).await.is_err());
    let mut in_the_clear = Client::new(ShopCloud::new(url(&plain, false)));
    assert_eq!(in_the_clear.post(&document(1)).await.expect("inside the site").status, 200);
    let ca_file = Some(folder.path().join("not-there.pem"));
    let mut nobody = Client::new(ShopCloud { ca_file, ..ShopCloud::new(url(&cloud, true)) });
    let said = nobody.post(&document(1)).await.expect_err("no authority").to_string();
    assert!(said.contains("`ca_file`") && said.contains("cannot be read"), "{said}");
}

#[test]
fn a_far_end_says_how_long_to_wait_in_seconds_or_as_a_date() {
    let told = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).expect("a header"));
        retry_after(&headers, 1_795_276_800).map(|wait| wait.as_secs())
    };
    assert_eq!(told("120"), Some(120));
    assert_eq!(told("Sat, 21 Nov 2026 16:00:30 GMT"), Some(30));
    assert_eq!(told("Sat, 21 Nov 2026 15:00:00 GMT"), Some(0));
    assert_eq!(told("soon"), None);
    assert_eq!(told("-5"), None);
}
