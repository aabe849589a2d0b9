//! Where models are looked for.

use std::path::{Path, PathBuf};

use nexis_core::model::registry::{ModelPlaces, hub_cache, nexis_home};

/// Where models are looked for: the folder given, or else `models` here and in the folders above the
/// program; the user's own folder; and the cache of Hugging Face's clients.
pub(crate) fn models_roots(given: Option<&Path>) -> ModelPlaces {
    let lookup = |name: &str| std::env::var(name).ok();
    ModelPlaces { roots: registries(given), home: nexis_home(&lookup), hub: hub_cache(&lookup) }
}

fn registries(given: Option<&Path>) -> Vec<PathBuf> {
    if let Some(given) = given {
        return vec![given.to_path_buf()];
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
