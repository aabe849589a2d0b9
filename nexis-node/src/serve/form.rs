//! Forms with one file in them (RFC 7578), the file written to disk as it comes.
//!
//! The well-known readers gather a part in memory for as long as the client sends faster than it is asked to; an upload
//! may be larger than what is to be held.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use memchr::memmem::Finder;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use super::error::{Answer, Refusal};

/// Longest headers of a part.
const MAX_HEADERS: usize = 8 << 10;
/// Largest field that is no file.
const MAX_TEXT: usize = 64 << 10;
/// Most parts.
const MAX_PARTS: usize = 16;

/// A form that was read.
#[derive(Debug)]
pub(super) struct Form {
    texts: BTreeMap<String, String>,
    file: Option<NamedTempFile>,
}

/// The boundary of a form, where a request is one.
pub(super) fn boundary(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (kind, parameters) = kind.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let fits = name.trim().eq_ignore_ascii_case("boundary") && (1..=70).contains(&value.len());
        fits.then(|| value.to_owned())
    })
}

/// A parameter of a header, wherever among the others it stands. In a quoted value a backslash goes before a quote or
/// another backslash; elsewhere it is one, as in the names of files on Windows.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (mut text, mut end) = (String::new(), after.len());
        if let Some(quoted) = after.trim_start().strip_prefix('"') {
            let mut chars = quoted.char_indices().peekable();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = after.len() - quoted.len() + at + 1;
                        break;
                    }
                    '\\' => {
                        text.push(chars.next_if(|(_, next)| matches!(next, '"' | '\\')).map_or(c, |(_, c)| c))
                    }
                    _ => text.push(c),
                }
            }
        } else {
            end = after.find(';').unwrap_or(end);
            after.get(..end)?.trim().clone_into(&mut text);
        }
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = after.get(end..)?.split_once(';')?.1;
    }
}

/// What a part is: a file, or a text under its name.
enum Part {
    File,
    Text(String),
}

/// Bytes that have come and are not read yet.
struct Source {
    chunks: axum::body::BodyDataStream,
    held: Vec<u8>,
}

fn broken(why: &str) -> Refusal {
    Refusal::invalid("body", format!("no form as multipart/form-data has it: {why}"))
}

impl Source {
    /// Takes in more.
    async fn more(&mut self) -> Answer<()> {
        match self.chunks.next().await {
            Some(Ok(chunk)) => {
                self.held.extend_from_slice(&chunk);
                Ok(())
            }
            Some(Err(_)) => Err(broken("it broke off")),
            None => Err(broken("it ends without its closing boundary")),
        }
    }

    /// The bytes before a mark, at most so many, and past it.
    async fn until(&mut self, mark: &[u8], most: usize) -> Answer<Vec<u8>> {
        let finder = Finder::new(mark);
        let mut looked = 0;
        loop {
            if let Some(at) = finder.find(self.held.get(looked..).unwrap_or_default()) {
                let end = looked + at;
                if end > most {
                    return Err(broken("a part is too long"));
                }
                let rest = self.held.split_off(end);
                let before = std::mem::replace(&mut self.held, rest);
                self.held.drain(..mark.len());
                return Ok(before);
            }
            if self.held.len() > most.saturating_add(mark.len()) {
                return Err(broken("a part is too long"));
            }
            looked = self.held.len().saturating_sub(mark.len() - 1);
            self.more().await?;
        }
    }

    /// Writes the bytes before a mark to a file, and goes past it.
    async fn copy_until(&mut self, mark: &[u8], file: &mut tokio::fs::File) -> Answer<()> {
        let finder = Finder::new(mark);
        let io = |e: std::io::Error| Refusal::defect(format!("the upload could not be written: {e}"));
        loop {
            let found = finder.find(&self.held);
            // What could be the beginning of the mark stays.
            let sure = found.unwrap_or_else(|| self.held.len().saturating_sub(mark.len() - 1));
            file.write_all(self.held.get(..sure).unwrap_or_default()).await.map_err(io)?;
            self.held.drain(..sure);
            if found.is_some() {
                self.held.drain(..mark.len());
                return file.flush().await.map_err(io);
            }
            self.more().await?;
        }
    }
}

impl Form {
    /// Reads a form whose file is the part `file`.
    pub(super) async fn read(body: Body, boundary: &str, file: &str) -> Answer<Self> {
        let mut source = Source { chunks: body.into_data_stream(), held: Vec::new() };
        let mut form = Self { texts: BTreeMap::new(), file: None };
        let mark = format!("\r\n--{boundary}").into_bytes();
        // The first boundary may stand at the very beginning.
        source.held.extend_from_slice(b"\r\n");
        source.until(&mark, MAX_HEADERS).await?;
        for _ in 0..=MAX_PARTS {
            while source.held.len() < 2 {
                source.more().await?;
            }
            if source.held.starts_with(b"--") {
                return Ok(form);
            }
            let headers = source.until(b"\r\n", MAX_HEADERS).await?;
            if !headers.iter().all(|b| matches!(b, b' ' | b'\t')) {
                return Err(broken("something stands behind a boundary"));
            }
            // A part without headers begins with the empty line, which ends them.
            source.held.splice(0..0, *b"\r\n");
            let headers = source.until(b"\r\n\r\n", MAX_HEADERS).await?;
            match form.part(&headers, file)? {
                Part::Text(name) => {
                    let text = source.until(&mark, MAX_TEXT).await?;
                    let text =
                        String::from_utf8(text).map_err(|_| Refusal::invalid(&name, "it is not UTF-8"))?;
                    form.texts.insert(name, text);
                }
                Part::File => {
                    let io = |e: std::io::Error| Refusal::defect(format!("no room for an upload: {e}"));
                    let kept = NamedTempFile::with_prefix("nexis-upload-").map_err(io)?;
                    let mut writing = tokio::fs::File::from_std(kept.reopen().map_err(io)?);
                    source.copy_until(&mark, &mut writing).await?;
                    form.file = Some(kept);
                }
            }
        }
        Err(broken("too many parts"))
    }

    /// What a part is, by its headers.
    fn part(&self, headers: &[u8], file: &str) -> Answer<Part> {
        let headers = std::str::from_utf8(headers).map_err(|_| broken("a part's headers are not UTF-8"))?;
        let disposition = headers.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let name = disposition.and_then(|value| parameter(value, "name"));
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| broken("a part has no name"))?;
        if self.texts.contains_key(&name) || (name == file && self.file.is_some()) {
            return Err(Refusal::invalid(name, "it is there twice"));
        }
        Ok(if name == file { Part::File } else { Part::Text(name) })
    }

    /// Takes a text out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.texts.remove(name)
    }

    /// Takes true or false out; false where it is not there.
    pub(super) fn flag(&mut self, name: &str) -> Answer<bool> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::invalid(name, "true or false is expected")),
        }
    }

    /// Takes the file out, once everything else was taken.
    pub(super) fn file(mut self, name: &str) -> Answer<NamedTempFile> {
        if let Some(unknown) = self.texts.keys().next() {
            return Err(Refusal::invalid(unknown, "there is no such field"));
        }
        self.file
            .take()
            .ok_or_else(|| Refusal::invalid(name, "it is missing; send the file in a part of this name"))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures_util::stream;

    use super::*;

    /// A body that comes so many bytes at a time.
    fn body(text: &[u8], step: usize) -> Body {
        let chunks: Vec<_> =
            text.chunks(step).map(|c| Ok::<_, std::io::Error>(Bytes::copy_from_slice(c))).collect();
        Body::from_stream(stream::iter(chunks))
    }

    fn part(name: &str, more: &str, content: &[u8]) -> Vec<u8> {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    }

    #[tokio::test]
    async fn a_form_is_read_however_it_is_cut() {
        let clip: Vec<u8> = (0..9000_u32).flat_map(|i| [(i % 251) as u8, b'\r', b'\n', b'-']).collect();
        let text = [
            part("caption", "", "a l\u{e4}ke --B\r".as_bytes()),
            part("clip", "; filename=\"a;name=b.mp4\"\r\nContent-Type: video/mp4", &clip),
            part("pictures", "", b"true"),
            b"--B--\r\n".to_vec(),
        ]
        .concat();
        for step in [1, 2, 3, 7, 64, 1000, 1 << 20] {
            let mut form = Form::read(body(&text, step), "B", "clip").await.unwrap();
            assert_eq!(form.take("caption").unwrap(), "a l\u{e4}ke --B\r", "{step}");
            assert!(form.flag("pictures").unwrap());
            assert!(!form.flag("absent").unwrap());
            assert_eq!(std::fs::read(form.file("clip").unwrap().path()).unwrap(), clip, "{step}");
        }
    }

    #[tokio::test]
    async fn what_is_no_form_is_refused() {
        let close = b"--B--\r\n".to_vec();
        let long = vec![b'x'; MAX_TEXT + 1];
        let many: Vec<u8> =
            (0..40).flat_map(|i| part(&format!("f{i}"), "", b"x")).chain(close.clone()).collect();
        for (text, why) in [
            (b"".to_vec(), "ends without"),
            (b"hello".to_vec(), "ends without"),
            (part("clip", "", b"x"), "ends without"),
            ([part("caption", "", &long), close.clone()].concat(), "too long"),
            ([part("clip", "", b"x"), part("clip", "", b"y"), close.clone()].concat(), "twice"),
            ([part("a", "", b"x"), part("a", "", b"y"), close.clone()].concat(), "twice"),
            ([b"--B\r\n\r\nx\r\n".to_vec(), close.clone()].concat(), "no name"),
            ([b"--B\r\nX: ".to_vec(), vec![b'x'; MAX_HEADERS + 9], close.clone()].concat(), "too long"),
            ([part("a", "", b"\xff"), close.clone()].concat(), "UTF-8"),
            (many, "too many"),
        ] {
            let refusal = Form::read(body(&text, 100), "B", "clip").await.unwrap_err();
            assert!(refusal.message().contains(why), "{why}: {}", refusal.message());
            assert_eq!(refusal.status().as_u16(), 400);
        }
        let empty = Form::read(body(&close, 100), "B", "clip").await.unwrap();
        assert!(empty.file("clip").unwrap_err().message().contains("missing"));
        let other = [part("mood", "", b"x"), part("clip", "", b"x"), close].concat();
        let other = Form::read(body(&other, 100), "B", "clip").await.unwrap();
        assert!(other.file("clip").unwrap_err().message().contains("no such field"));
    }

    #[test]
    fn a_name_is_found_wherever_it_stands() {
        let of = |value: &str| parameter(value, "name");
        for value in [
            "form-data; name=\"clip\"",
            "form-data; name=clip; filename=a.mp4",
            "form-data; filename=\"a; name=b.mp4\"; name=\"clip\"",
            "form-data;filename*=UTF-8''a.mp4;NAME = \"clip\" ",
            "form-data; filename=\"a\\\"; name=\\\"b\"; name=clip",
        ] {
            assert_eq!(of(value).as_deref(), Some("clip"), "{value}");
        }
        assert_eq!(of("form-data; name=\"a\\\"b\\c\"").as_deref(), Some("a\"b\\c"));
        for value in ["form-data", "form-data; filename=\"name=clip\"", "name=clip", "form-data; rename=clip"]
        {
            assert_eq!(of(value), None, "{value}");
        }
    }

    #[test]
    fn a_boundary_is_read_from_the_content_type() {
        let of = |kind: &str| {
            let value = axum::http::HeaderValue::from_str(kind).unwrap();
            boundary(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
        };
        assert_eq!(of("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(of("Multipart/Form-Data;charset=utf-8; boundary=\"a b\"").as_deref(), Some("a b"));
        for kind in [
            "multipart/mixed; boundary=abc",
            "multipart/form-data",
            "application/json",
            "multipart/form-data; boundary=",
        ] {
            assert_eq!(of(kind), None, "{kind}");
        }
    }
}
