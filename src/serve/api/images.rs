//! `/api/v1/products/{sku}/image`: a product's picture.

use std::fmt::Write;

use hyper::{StatusCode, header};

use crate::serve::answers::{Answer, content, empty, with};
use crate::serve::auth::Role;
use crate::serve::pages;
use crate::shop::Image;
use crate::shop::ids::fingerprint;

use super::asked::Asked;
use super::problems::{self, Missing};
use super::products::{done, sku};

/// Bytes of a picture, at most: a thousand products' pictures then fit any disk, and one fits a phone's line.
const IMAGE_BYTES_MAX: usize = 512 << 10;

const WANTED: &str =
    "Send a JPEG, PNG or WebP file with its Content-Type: image/jpeg, image/png or image/webp.";

/// The address tells the picture's hash: what was fetched once is good for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// `PUT /products/{sku}/image`
pub(super) async fn put(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Admin).await?;
    let sku = sku(asked)?;
    let said = asked.content_type().unwrap_or_default();
    let Some(content_type) = KINDS.into_iter().find(|kind| *kind == said) else {
        return Err(problems::content_type(WANTED));
    };
    let bytes = asked.body(IMAGE_BYTES_MAX).await?;
    if kind_of(&bytes) != Some(content_type) {
        let words = format!("The file is no {content_type}. {WANTED}");
        return Err(problems::content_type(&words));
    }
    let etag = hash(&bytes);
    let image = Image { content_type, etag, bytes: bytes.to_vec() };
    let product = done(asked.house.parts.orders.set_image(sku, Some(image)).await)?;
    let answer = empty(StatusCode::NO_CONTENT);
    Ok(match &product.image {
        Some(etag) => with(
            with(answer, header::ETAG, format!("\"{etag}\"")),
            header::LOCATION,
            format!("/api/v1/products/{}/image?v={etag}", product.sku),
        ),
        None => answer,
    })
}

/// `DELETE /products/{sku}/image`
pub(super) async fn remove(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Admin).await?;
    let sku = sku(asked)?;
    done(asked.house.parts.orders.set_image(sku, None).await)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /products/{sku}/image`
pub(super) async fn show(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let [version] = asked.query(["v"])?;
    let sku = sku(asked)?;
    let product = asked.house.parts.orders.product(&sku).ok_or_else(|| Missing::Product.answer())?;
    let etag = product.image.as_ref().ok_or_else(|| Missing::Image.answer())?;
    let lasts = |etag: &str| if version.as_deref() == Some(etag) { FOR_EVER } else { ASK_AGAIN };
    let quoted = format!("\"{etag}\"");
    if asked.headers().get_all(header::IF_NONE_MATCH).iter().any(|tags| pages::names(tags, &quoted)) {
        let answer = with(empty(StatusCode::NOT_MODIFIED), header::ETAG, quoted);
        return Ok(with(answer, header::CACHE_CONTROL, lasts(etag)));
    }
    let (said, bytes) =
        done(asked.house.parts.orders.image(sku).await)?.ok_or_else(|| Missing::Image.answer())?;
    let content_type = KINDS.into_iter().find(|kind| *kind == said).unwrap_or("application/octet-stream");
    // The bytes may be newer than what was known a moment ago: their own hash is the one that counts.
    let etag = hash(&bytes);
    let answer = content(StatusCode::OK, content_type, bytes);
    let answer = with(answer, header::CACHE_CONTROL, lasts(&etag));
    let answer = with(answer, header::ETAG, format!("\"{etag}\""));
    // Whatever a browser takes it for when it is opened alone, it may do nothing.
    Ok(with(answer, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
}

const KINDS: [&str; 3] = ["image/jpeg", "image/png", "image/webp"];

/// What a file's first bytes say it is.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let [jpeg, png, webp] = KINDS;
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(webp),
        _ => None,
    }
}

fn hash(bytes: &[u8]) -> String {
    fingerprint([bytes]).iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_known_by_its_first_bytes() {
        for (bytes, want) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Some("image/jpeg")),
            (b"\x89PNG\r\n\x1a\n\0\0", Some("image/png")),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\x24\0\0\0WAVEfmt ", None),
            (b"<svg xmlns=", None),
            (b"GIF89a", None),
            (b"", None),
        ] {
            assert_eq!(kind_of(bytes), want, "{bytes:?}");
        }
    }
}
