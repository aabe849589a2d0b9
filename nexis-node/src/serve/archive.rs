//! Packages that come as a tar archive.
//!
//! Only plain files and folders with plain relative names are unpacked; anything else is refused, with its name,
//! rather than left out: half a package would be judged as a miner's failure.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType};

use super::desk::Stop;
use super::error::{Answer, Refusal};

/// Longest name of an entry, in bytes.
const MAX_NAME: usize = 1024;
/// Most folders above a file.
const MAX_DEPTH: usize = 8;
/// Largest header that extends another.
const MAX_EXTENSION: u64 = 64 << 10;

/// Unpacks an archive into a folder, within limits.
pub(super) fn unpack(
    archive: &File,
    into: &Path,
    most_files: usize,
    most_bytes: u64,
    stop: &Stop,
) -> Answer<()> {
    let wrong = |why: String| Refusal::invalid("archive", why);
    let damaged = |e: io::Error| wrong(format!("no tar archive, or a damaged one: {e}"));
    let mut archive = Archive::new(archive);
    // Extensions are read here, within a limit; the crate would read them whole.
    let entries = archive.entries().map_err(damaged)?.raw(true);
    let (mut files, mut bytes) = (0_usize, 0_u64);
    let mut long_name: Option<Vec<u8>> = None;
    for entry in entries {
        stop.check()?;
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        let size = entry.header().entry_size().map_err(damaged)?;
        files += 1;
        if files > most_files {
            return Err(Refusal::too_large(format!("archive: more than {most_files} entries")).at("archive"));
        }
        match kind {
            EntryType::GNULongName | EntryType::XHeader => {
                if size > MAX_EXTENSION {
                    return Err(wrong("an extended header is too long".into()));
                }
                let mut text = Vec::new();
                entry.read_to_end(&mut text).map_err(damaged)?;
                if kind == EntryType::XHeader {
                    if let Some(path) = pax_path(&text).map_err(wrong)? {
                        long_name = Some(path);
                    }
                } else {
                    while text.last() == Some(&0) {
                        text.pop();
                    }
                    long_name = Some(text);
                }
                continue;
            }
            EntryType::XGlobalHeader => {
                if pax_path(&read_some(&mut entry).map_err(damaged)?).map_err(wrong)?.is_some() {
                    return Err(wrong("a global header names a file".into()));
                }
                continue;
            }
            _ => {}
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(name.get(..name.len().min(100)).unwrap_or_default()).into_owned();
        let Some(path) = plain(&name) else {
            return Err(wrong(format!("{shown:?} is no plain path inside the archive")));
        };
        let target = into.join(&path);
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                wrong(format!("{shown:?} is there twice, or as a file and as a folder"))
            }
            io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
                wrong(format!("{shown:?} is no name for a file"))
            }
            _ => Refusal::defect(format!("an archive could not be unpacked: {e}")),
        };
        match kind {
            EntryType::Directory => fs::create_dir_all(&target).map_err(failed)?,
            EntryType::Regular | EntryType::Continuous if path.as_os_str().is_empty() => {
                return Err(wrong("a file without a name".into()));
            }
            EntryType::Regular | EntryType::Continuous => {
                bytes = bytes.saturating_add(size);
                if bytes > most_bytes {
                    return Err(Refusal::too_large(format!(
                        "archive: more than {most_bytes} bytes of files"
                    ))
                    .at("archive"));
                }
                if let Some(folder) = target.parent() {
                    fs::create_dir_all(folder).map_err(failed)?;
                }
                let mut file =
                    OpenOptions::new().write(true).create_new(true).open(&target).map_err(failed)?;
                let written = io::copy(&mut entry, &mut file).map_err(damaged)?;
                if written != size {
                    return Err(wrong(format!("{shown:?} breaks off")));
                }
            }
            _ => {
                return Err(wrong(format!(
                    "{shown:?} is neither a file nor a folder; links are not unpacked"
                )));
            }
        }
    }
    if files == 0 {
        return Err(wrong("nothing is in it; a tar archive that is not compressed is expected".into()));
    }
    Ok(())
}

fn read_some(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    entry.take(MAX_EXTENSION).read_to_end(&mut text)?;
    Ok(text)
}

/// The path that an extended header gives.
fn pax_path(text: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut path = None;
    for extension in tar::PaxExtensions::new(text) {
        let extension = extension.map_err(|e| format!("an extended header is damaged: {e}"))?;
        match extension.key_bytes() {
            b"path" => path = Some(extension.value_bytes().to_vec()),
            // The size would be another than the header's, and a sparse file another than its bytes.
            b"size" => return Err("an extended header gives a size of its own".into()),
            key if key.starts_with(b"GNU.sparse") => return Err("sparse files are not unpacked".into()),
            _ => {}
        }
    }
    Ok(path)
}

/// A relative path of plain parts; a leading `./` says nothing.
fn plain(name: &[u8]) -> Option<PathBuf> {
    let text = std::str::from_utf8(name).ok()?;
    if text.len() > MAX_NAME || text.starts_with('/') || text.contains(['\0', '\\']) {
        return None;
    }
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (path.components().count() <= MAX_DEPTH).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use tar::{Builder, Header};

    use super::*;

    fn entry(
        builder: &mut Builder<Vec<u8>>,
        kind: EntryType,
        name: &[u8],
        content: &[u8],
        link: Option<&str>,
    ) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written as it is: the builder itself refuses what an attacker would write.
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        if let Some(link) = link {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    fn unpacked(archive: &[u8], most_files: usize, most_bytes: u64) -> (tempfile::TempDir, Answer<()>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        let into = tempfile::tempdir().unwrap();
        let inside = into.path().join("in");
        fs::create_dir(&inside).unwrap();
        let result = unpack(&file, &inside, most_files, most_bytes, &Stop::default());
        let beside = fs::read_dir(into.path()).unwrap().count();
        assert_eq!(beside, 1, "something was written outside");
        (into, result)
    }

    fn archive(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        fill(&mut builder);
        builder.into_inner().unwrap()
    }

    #[test]
    fn plain_files_are_unpacked() {
        let long = format!("100/{}/clip.mp4", "x".repeat(180));
        let archive = archive(|builder| {
            entry(builder, EntryType::Directory, b"./", b"", None);
            entry(builder, EntryType::Directory, b"./100/", b"", None);
            entry(builder, EntryType::Regular, b"./100/manifest.json", b"{}", None);
            let mut header = Header::new_gnu();
            header.set_size(3);
            header.set_cksum();
            builder.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        });
        let (folder, result) = unpacked(&archive, 10, 100);
        result.unwrap();
        assert_eq!(fs::read(folder.path().join("in/100/manifest.json")).unwrap(), b"{}");
        assert_eq!(fs::read(folder.path().join("in").join(long)).unwrap(), b"abc");
    }

    #[test]
    fn whatever_could_lead_out_is_refused() {
        type Case<'a> = (EntryType, &'a [u8], Option<&'a str>);
        let cases: [Case<'_>; 11] = [
            (EntryType::Regular, b"../evil", None),
            (EntryType::Regular, b"a/../../evil", None),
            (EntryType::Regular, b"/tmp/evil", None),
            (EntryType::Regular, b"a\\..\\evil", None),
            (EntryType::Directory, b"..", None),
            (EntryType::Symlink, b"link", Some("/etc")),
            (EntryType::Link, b"hard", Some("/etc/passwd")),
            (EntryType::Char, b"device", None),
            (EntryType::Fifo, b"pipe", None),
            (EntryType::GNUSparse, b"sparse", None),
            (EntryType::Regular, b"1/2/3/4/5/6/7/8/9/file", None),
        ];
        for (kind, name, link) in cases {
            let archive = archive(|builder| entry(builder, kind, name, b"", link));
            let (_folder, result) = unpacked(&archive, 10, 100);
            let refusal = result.unwrap_err();
            assert_eq!(refusal.status().as_u16(), 400, "{kind:?} {}", refusal.message());
        }
    }

    #[test]
    fn bombs_are_refused_before_they_go_off() {
        let many = archive(|builder| {
            (0..20).for_each(|i| entry(builder, EntryType::Regular, format!("{i}").as_bytes(), b"", None))
        });
        assert_eq!(unpacked(&many, 10, 100).1.unwrap_err().status().as_u16(), 413);
        let big = archive(|builder| entry(builder, EntryType::Regular, b"big", &[0; 200], None));
        assert_eq!(unpacked(&big, 10, 100).1.unwrap_err().status().as_u16(), 413);
        let name =
            archive(|builder| entry(builder, EntryType::GNULongName, b"name", &vec![b'x'; 70_000], None));
        assert!(unpacked(&name, 10, 100).1.unwrap_err().message().contains("too long"));
        let pax = archive(|builder| {
            entry(builder, EntryType::XHeader, b"pax", b"20 size=99999999999\n", None);
            entry(builder, EntryType::Regular, b"file", b"", None);
        });
        assert!(unpacked(&pax, 10, 100).1.unwrap_err().message().contains("size"));
        let twice =
            archive(|builder| (0..2).for_each(|_| entry(builder, EntryType::Regular, b"file", b"", None)));
        assert!(unpacked(&twice, 10, 100).1.unwrap_err().message().contains("twice"));
        // A size that the archive does not have.
        let mut header = Header::new_gnu();
        header.set_size(50);
        header.as_old_mut().name[..4].copy_from_slice(b"file");
        header.set_cksum();
        let cut = [header.as_bytes().as_slice(), b"short"].concat();
        assert_eq!(unpacked(&cut, 10, 100).1.unwrap_err().status().as_u16(), 400);
        for nothing in [&b""[..], &[0; 1024], b"\x1f\x8b gzip it is, and no tar archive"] {
            assert_eq!(unpacked(nothing, 10, 100).1.unwrap_err().status().as_u16(), 400);
        }
    }
}
