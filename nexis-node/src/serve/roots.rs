//! Files that a request may name: those below the folders that the operator opened, and no other.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use nexis_core::{Error, Result};

use super::error::{Answer, Refusal};

/// The opened folders, by their real paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Roots {
    folders: Vec<PathBuf>,
}

impl Roots {
    /// Folders that must be there.
    ///
    /// # Errors
    /// Where one is not a folder.
    pub(super) fn new(folders: &[PathBuf]) -> Result<Self> {
        let real = |folder: &PathBuf| {
            let refused = |why: &str| Error::usage(format!("--root {}", folder.display()), why);
            let path = folder.canonicalize().map_err(|e| match e.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => {
                    refused("there is no such folder; make it, or name one that is there")
                }
                _ => Error::io(folder, e),
            })?;
            if !path.is_dir() {
                return Err(refused("it is no folder; name the one whose files requests may name"));
            }
            Ok(path)
        };
        Ok(Self { folders: folders.iter().map(real).collect::<Result<_>>()? })
    }

    /// The real path of what a request names: relative to a root, or whole. Links are resolved first and then held
    /// against the roots, so that none leads out. What is outside is refused alike whether it is there or not.
    pub(super) fn find(&self, param: &str, path: &str) -> Answer<PathBuf> {
        let outside = || {
            let why = if self.folders.is_empty() {
                format!(
                    "{param}: no folder is open to requests; start the server with --root DIR, or upload the file"
                )
            } else {
                format!("{param}: not below a root of this server")
            };
            Refusal::forbidden("outside_roots", why).at(param)
        };
        let asked = Path::new(path);
        let climbs = asked.components().any(|part| matches!(part, Component::ParentDir));
        if path.contains('\0') || climbs || self.folders.is_empty() {
            return Err(outside());
        }
        let mut below = false;
        for root in &self.folders {
            let Ok(relative) = (if asked.is_absolute() { asked.strip_prefix(root) } else { Ok(asked) })
            else {
                continue;
            };
            below = true;
            match root.join(relative).canonicalize() {
                Ok(real) if real.starts_with(root) => return Ok(real),
                Ok(_) => return Err(outside()),
                Err(_) => {}
            }
        }
        if below {
            Err(Refusal::not_found(param, format!("{param}: nothing of this name is below a root")))
        } else {
            Err(outside())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let (open, shut) = (base.join("open"), base.join("shut"));
        std::fs::create_dir_all(open.join("in")).unwrap();
        std::fs::create_dir_all(&shut).unwrap();
        std::fs::write(open.join("in/clip.mp4"), "x").unwrap();
        std::fs::write(shut.join("secret"), "x").unwrap();
        std::fs::create_dir_all(base.join("open-beside")).unwrap();
        std::fs::write(base.join("open-beside/file"), "x").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&shut, open.join("out")).unwrap();
            std::os::unix::fs::symlink(open.join("in"), open.join("inner")).unwrap();
        }
        let roots = Roots::new(std::slice::from_ref(&open)).unwrap();
        let whole = open.join("in/clip.mp4");
        for good in ["in/clip.mp4", "./in/clip.mp4", whole.to_str().unwrap()] {
            assert_eq!(roots.find("clip", good).unwrap(), whole, "{good}");
        }
        #[cfg(unix)]
        assert_eq!(roots.find("clip", "inner/clip.mp4").unwrap(), whole);
        let status = |path: &str| roots.find("clip", path).unwrap_err().status().as_u16();
        let absolute = |path: &str| base.join(path).to_str().unwrap().to_owned();
        for bad in [
            "../shut/secret",
            "in/../../shut/secret",
            "in/..",
            "out/secret",
            "out",
            "/etc/passwd",
            "/etc/there-is-no-such-file",
            "in/clip.mp4\0",
            &absolute("shut/secret"),
            &absolute("shut/none"),
            &absolute("open-beside/file"),
        ] {
            let expected = if cfg!(unix) || !bad.starts_with("out") { 403 } else { 404 };
            assert_eq!(status(bad), expected, "{bad}");
        }
        for missing in ["in/none.mp4", "none", &absolute("open/none")] {
            assert_eq!(status(missing), 404, "{missing}");
        }
        assert_eq!(Roots::default().find("clip", "in/clip.mp4").unwrap_err().status().as_u16(), 403);
        let nowhere = Roots::new(&[base.join("nowhere")]).unwrap_err();
        assert!(
            matches!(nowhere, Error::Usage { .. }) && nowhere.to_string().contains("--root"),
            "{nowhere}"
        );
    }
}
