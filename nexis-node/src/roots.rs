//! Where models are looked for, and paths that the environment gives.

use std::path::{Path, PathBuf};

use nexis_core::model::registry::{ModelPlaces, hub_cache, nexis_home};

/// A path by the environment, where no option gives it. Told to clap, it would count as given, and messages of wrong use
/// would show its option as one that is needed. An empty variable is how shells spell "not set".
pub(crate) fn path_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where models are looked for: the folder given, by the option or `NEXIS_MODELS`, or else `models` here and in the
/// folders above the program; the user's own folder; and the cache of Hugging Face's clients.
pub(crate) fn models_roots(given: Option<&Path>) -> ModelPlaces {
    let lookup = |name: &str| std::env::var(name).ok();
    ModelPlaces { roots: registries(given), home: nexis_home(&lookup), hub: hub_cache(&lookup) }
}

fn registries(given: Option<&Path>) -> Vec<PathBuf> {
    if let Some(given) = given.map(Path::to_path_buf).or_else(|| path_in("NEXIS_MODELS")) {
        return vec![given];
    }
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().skip(1).take(4).map(|folder| folder.join("models"));
    let mut roots: Vec<PathBuf> = Vec::new();
    for root in std::iter::once(PathBuf::from("models")).chain(above) {
        let known = |r: &PathBuf| same_folder(r, &root);
        if root.is_dir() && !roots.iter().any(known) {
            roots.push(root);
        }
    }
    roots
}

fn same_folder(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
