//! `[orders]`: its bounds, the cloud that orders are sent to, and their variables.

use super::*;
use crate::base::secret::Secret;
use crate::config::schema::{HttpsUrl, Orders, ShopCloud};
use crate::config::summary;

/// The orders of a configuration that is right, and what is strange about it.
fn orders_of(text: &str, env: &[(&str, &str)]) -> (Orders, Vec<String>) {
    let (config, warnings) = read_with(text, env).unwrap_or_else(|problems| panic!("{problems}"));
    (config.orders, warnings.iter().map(ToString::to_string).collect())
}

/// Writes what only its owner may read, and says where.
fn file(folder: &Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, text).expect("it can be written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
    path.to_str().expect("text").to_owned()
}

#[test]
fn without_a_word_about_them_orders_are_taken_and_stay_on_the_box() {
    let orders = read("").orders;
    assert_eq!(orders, Orders::default());
    assert_eq!((orders.enabled, orders.rate_per_address, orders.queue), (true, 20, 16_384));
    assert_eq!((orders.hold, orders.buyer_limit, orders.low_stock), (Duration::from_secs(120), 0, 5));
    assert_eq!((orders.cloud, orders.batch), (None, 100));
}

#[test]
fn everything_that_orders_can_say_is_understood() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    file(folder.path(), "shop.token", "  abc.def-~+/=\n");
    file(folder.path(), "ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let text = r#"[orders]
enabled = false
rate_per_address = 0
queue = 64
hold = "24h"
buyer_limit = 2
low_stock = 0
batch = 1000
[orders.cloud]
url = "https://shop.example:8443/f?key=K"
token_file = "shop.token"
secret = "correct horse battery"
ca_file = "ca.pem"
"#;
    let around = Around { folder: folder.path(), readable_by_all: false, interfaces: None };
    let (config, warnings) =
        understand(text, "f", around, defaults(), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    let Orders { enabled, rate_per_address, queue, hold, buyer_limit, low_stock, cloud, batch } =
        config.orders;
    assert_eq!((enabled, rate_per_address, queue, buyer_limit), (false, 0, 64, 2));
    assert_eq!((hold, low_stock, batch), (Duration::from_secs(24 * 3_600), 0, 1_000));
    let ShopCloud { url, token, secret, ca_file } = cloud.expect("a cloud");
    assert_eq!((url.host.as_str(), url.port, url.target.reveal()), ("shop.example", 8443, "/f?key=K"));
    assert_eq!(token.as_ref().map(Secret::reveal), Some("abc.def-~+/="));
    assert_eq!(secret.as_ref().map(Secret::reveal), Some("correct horse battery"));
    assert_eq!(ca_file, Some(folder.path().join("ca.pem")));
}

#[test]
fn a_cloud_may_be_a_bare_url_or_stand_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let filed = file(folder.path(), "shop.url", "https://shop.example/footlight\n");
    let want = ShopCloud::new("https://shop.example/footlight".parse::<HttpsUrl>().expect("a URL"));
    for value in ["\"https://shop.example/footlight\"".to_owned(), format!("{{ url_file = {filed:?} }}")] {
        let (orders, warnings) = orders_of(&format!("[orders]\ncloud = {value}\n"), &[]);
        assert_eq!(orders.cloud, Some(want.clone()), "{value}");
        assert_eq!(warnings, [""; 0]);
    }
}

#[test]
fn every_part_of_the_cloud_has_its_variable_and_leaves_the_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        ("url", "https://b/"),
        ("url_file", "https://b/"),
        ("token", "TOKEN"),
        ("token_file", "TOKEN"),
        ("secret", "0123456789abcdef"),
        ("secret_file", "0123456789abcdef"),
        ("ca_file", "-----BEGIN CERTIFICATE-----"),
    ];
    assert_eq!(cases.map(|(key, _)| key), *keys::CLOUD.keys);
    for text in ["[orders]\ncloud = \"https://a/\"\n", "[orders]\ncloud = { url = \"https://a/\" }\n"] {
        let before = orders_of(text, &[]).0.cloud.expect("a cloud");
        for (key, value) in cases {
            let name = format!("FOOTLIGHT_ORDERS__CLOUD__{}", key.to_uppercase());
            let filed = file(folder.path(), key, value);
            let value = if key.ends_with("_file") { filed.as_str() } else { value };
            let after = orders_of(text, &[(&name, value)]).0.cloud.expect("a cloud");
            assert!(after != before, "{name} changes nothing");
            assert!(key.starts_with("url") || after.url == before.url, "{name} changes the URL");
        }
    }
    // Nothing of it need stand in a file, and what the file says by the other key gives way.
    let filed = file(folder.path(), "shop.url", "https://c/");
    let env = [
        ("FOOTLIGHT_ORDERS__CLOUD__URL_FILE", filed.as_str()),
        ("FOOTLIGHT_ORDERS__CLOUD__TOKEN", "TOKEN"),
        ("FOOTLIGHT_orders__rate_per_address", "7"),
    ];
    for text in ["", "[orders]\ncloud = { url = \"https://a/\", token_file = \"gone\" }\n"] {
        let (orders, warnings) = orders_of(text, &env);
        let cloud = orders.cloud.expect("a cloud");
        assert_eq!((cloud.url.host.as_str(), orders.rate_per_address), ("c", 7));
        assert_eq!(cloud.token.as_ref().map(Secret::reveal), Some("TOKEN"));
        assert_eq!(warnings, [""; 0]);
    }
}

#[test]
fn a_variable_of_the_orders_that_is_wrong_is_named() {
    for (env, want) in [
        (
            [("CLOUD", "http://shop.example/TOPSECRET")].as_slice(),
            "orders.cloud: by http:// the orders would",
        ),
        (&[("CLOUD__TOKEN", "TOPSECRET")], "the cloud has neither url nor url_file"),
        (&[("CLOUD__TOKN", "TOPSECRET")], "did you mean FOOTLIGHT_ORDERS__CLOUD__TOKEN?"),
        (&[("BATCH__URL", "x")], "sets no key"),
        (&[("RATE_PER_ADRESS", "1")], "did you mean FOOTLIGHT_ORDERS__RATE_PER_ADDRESS?"),
        (&[("RATE_PER_ADDRESS", "many")], "\"many\" is not a whole number"),
        (&[("HOLD", "5")], "orders.hold: \"5\" has no unit"),
        (&[("CLOUD", "https://a/"), ("CLOUD__URL_FILE", "x")], "CLOUD sets the same key"),
        (
            &[("CLOUD__SECRET", "TOPSECRET0123456"), ("CLOUD__SECRET_FILE", "x")],
            "CLOUD__SECRET sets the same key",
        ),
    ] {
        let env: Vec<_> =
            env.iter().map(|(key, value)| (format!("FOOTLIGHT_ORDERS__{key}"), *value)).collect();
        let env: Vec<_> = env.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let found = errors("", &env).concat();
        let told = found.to_lowercase().contains(&want.to_lowercase());
        assert!(found.starts_with("FOOTLIGHT_ORDERS__") && told, "{env:?}: {found}");
        assert!(!found.contains("TOPSECRET"), "{found}");
    }
}

#[test]
fn a_secret_of_the_cloud_in_a_file_that_everyone_may_read_is_worth_a_warning() {
    let around = Around { folder: Path::new(""), readable_by_all: true, interfaces: None };
    for (cloud, want) in [
        ("\"https://a/\"", None),
        ("\"https://a/x?key=TOPSECRET\"", Some("footlight.toml:2:9: orders.cloud: a key stands here")),
        (
            "{ url = \"https://a/?TOPSECRET\" }",
            Some("footlight.toml:2:17: orders.cloud.url: a key stands here"),
        ),
        (
            "{ url = \"https://a/\", token = \"TOPSECRET\" }",
            Some("footlight.toml:2:39: orders.cloud.token: a token stands here"),
        ),
        (
            "{ url = \"https://a/\", secret = \"TOPSECRET0123456\" }",
            Some("footlight.toml:2:40: orders.cloud.secret: a secret stands here"),
        ),
    ] {
        let text = format!("[orders]\ncloud = {cloud}\n");
        let (_, warnings) =
            understand(&text, "footlight.toml", around, defaults(), &[]).expect("only a warning");
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), usize::from(want.is_some()), "{cloud}: {told:?}");
        assert!(want.is_none_or(|want| told[0].starts_with(want)), "{cloud}: {told:?}");
        assert!(!told.concat().contains("TOPSECRET"), "{told:?}");
    }
}

#[test]
fn the_summary_tells_of_orders_without_what_is_secret() {
    let text = "[orders]\nrate_per_address = 0\nbuyer_limit = 2\nlow_stock = 0\nbatch = 1\n\
                cloud = { url = \"https://shop.example/TOPSECRET?TOPSECRET\", token = \"TOPSECRET\", secret = \"TOPSECRET0123456\" }\n";
    for (text, want) in [
        (
            "",
            ["orders  taken, at most 20 a second from one address, any number of a product for one buyer; held \
              for 2m, stock is low at 5\n", "  cloud  none: orders stay on this box"].as_slice(),
        ),
        ("[orders]\nenabled = false\n", &["orders  not taken\n"]),
        (
            text,
            &["taken, any number a second from one address, at most 2 of a product for one buyer; held for 2m, no \
               stock counts as low\n", "  cloud  https://shop.example (path not shown), by token, signed, at most 1 order at once\n"],
        ),
    ] {
        let told = summary(&read(text));
        let told = told.lines().fold(String::new(), |whole, line| {
            // Heads are padded to one width.
            let (head, rest) = line.trim_start().split_once("  ").unwrap_or((line, ""));
            whole + "  " + head + "  " + rest.trim_start() + "\n"
        });
        assert!(want.iter().all(|want| told.contains(want)), "{want:#?}: {told}");
        assert!(!told.contains("TOPSECRET"), "{told}");
    }
}
