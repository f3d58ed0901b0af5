//! From a request's path to what it means.
//!
//! Pure.

use std::borrow::Cow;

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// `/`
    Front,
    /// `/live/{stream}.flv` or `/live/{stream}.live.flv`
    Live(Cow<'a, str>),
    /// `/watch/{stream}`
    Watch(Cow<'a, str>),
    /// A file of the pages, by its path below `/`.
    File(Cow<'a, str>),
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/api/...`, whole
    Api(Cow<'a, str>),
    /// Nothing that exists.
    Nowhere,
    /// A percent sign without two hexadecimal digits, or bytes that are no text.
    Garbled,
}

/// Finds the place that `path` names.
pub(super) fn place(path: &str) -> Place<'_> {
    let Some(path) = decoded(path) else { return Place::Garbled };
    match &*path {
        "/" => return Place::Front,
        "/healthz" => return Place::Health,
        "/readyz" => return Place::Ready,
        "/metrics" => return Place::Metrics,
        "/favicon.ico" => return Place::File("favicon.ico".into()),
        _ => {}
    }
    if let Some(name) = within(&path, "/live/") {
        return match name.strip_suffix(".flv") {
            Some(name) => Place::Live(name.strip_suffix(".live").unwrap_or(name).to_owned().into()),
            None => Place::Nowhere,
        };
    }
    if let Some(name) = within(&path, "/watch/") {
        return Place::Watch(name.to_owned().into());
    }
    if within(&path, "/assets/").is_some() {
        return Place::File(path[1..].to_owned().into());
    }
    if path == "/api" || path.starts_with("/api/") {
        return Place::Api(path.into_owned().into());
    }
    Place::Nowhere
}

/// What follows `folder`, if that is one name.
fn within<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder).filter(|name| !name.is_empty() && !name.contains('/'))
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(path.into());
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The names and values of a query, decoded as forms encode them; what encodes nothing stays as it is written.
pub(super) fn decoded_query(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| {
            let spaced = text.replace('+', " ");
            decoded(&spaced).map(Cow::into_owned).unwrap_or(spaced)
        };
        (plain(name), plain(value))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The value of `name` in a query, as written.
pub(super) fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_path_means_one_thing() {
        let live = |name: &'static str| Place::Live(name.into());
        for (path, meaning) in [
            ("/", Place::Front),
            ("/live/main.flv", live("main")),
            ("/live/main.live.flv", live("main")),
            ("/live/m%61in.flv", live("main")),
            ("/live/.flv", live("")),
            ("/live/main", Place::Nowhere),
            ("/live/a/b.flv", Place::Nowhere),
            ("/live/a%2Fb.flv", Place::Nowhere),
            ("/watch/main", Place::Watch("main".into())),
            ("/watch/", Place::Nowhere),
            ("/assets/watch-1a.js", Place::File("assets/watch-1a.js".into())),
            ("/assets/../secret", Place::Nowhere),
            ("/api/v1/orders", Place::Api("/api/v1/orders".into())),
            ("/apiary", Place::Nowhere),
            ("/healthz", Place::Health),
            ("/healthz/", Place::Nowhere),
            ("/live/%", Place::Garbled),
            ("/live/%zz.flv", Place::Garbled),
            ("/live/%ff.flv", Place::Garbled),
        ] {
            assert_eq!(place(path), meaning, "{path}");
        }
    }

    #[test]
    fn a_query_is_read_by_name() {
        assert_eq!(query_value(Some("a=1&gop=0"), "gop"), Some("0"));
        assert_eq!(query_value(Some("gop"), "gop"), Some(""));
        assert_eq!(query_value(Some("agop=0"), "gop"), None);
        assert_eq!(query_value(None, "gop"), None);
    }

    #[test]
    fn a_query_is_decoded_pair_by_pair() {
        let read = |query| decoded_query(Some(query)).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a=1&b=%C3%A4+x&c"), [pair("a", "1"), pair("b", "ä x"), pair("c", "")]);
        assert_eq!(read("a=%zz&&=1"), [pair("a", "%zz"), pair("", "1")]);
        assert_eq!(decoded_query(None).count(), 0);
    }

    proptest! {
        #[test]
        fn no_path_panics_and_no_file_is_above_the_assets(path in "/[ -~]{0,40}") {
            if let Place::File(file) = place(&path) {
                prop_assert!(file == "favicon.ico" || !file["assets/".len()..].contains('/'));
            }
        }
    }
}
