//! `[vault]`: where tokens outlive the process.
//!
//! A key in a file is not read here: the vault makes that file at first use.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{
    super::{
        VaultFiles, VaultKey,
        file::{self, Secret},
    },
    Checker,
};

/// The vault, beside `proxy.toml`, where the file does not say.
const USUAL_PATH: &str = "mailwicket.vault";
/// What the name of its key has more, beside the vault: where the vault can be written, so can the key.
const KEY: &str = ".key";

impl Checker<'_> {
    pub(super) fn vault(&mut self, table: &Spanned<file::Vault>) -> Option<VaultFiles> {
        let span = table.span();
        let table = table.get_ref();
        let (path, path_span) = match &table.path {
            Some(path) => (path.get_ref().as_path(), path.span()),
            None => (Path::new(USUAL_PATH), span.clone()),
        };
        let path = self.folder.join(path);
        if path.file_name().is_none() || path.is_dir() {
            let words = "vault.path is no file; write such as path = \"mailwicket.vault\"";
            self.problems.at(path_span, words);
            return None;
        }
        self.warn_of_missing_folder("vault.path", path_span.clone(), &path);
        self.warn_if_world_readable("vault.path", path_span, &path);
        let key_span = table.key.as_ref().map_or(span, Spanned::span);
        let key = match &table.key {
            None => {
                let mut file = path.clone().into_os_string();
                file.push(KEY);
                self.key_file(key_span, Path::new(&file), &path)
            }
            Some(given) => match given.get_ref() {
                Secret::File(file) => self.key_file(key_span, file, &path),
                _ => self.vault_key("vault.key", given).map(VaultKey::Value),
            },
        };
        Some(VaultFiles { path, key: key? })
    }

    fn key_file(
        &mut self,
        span: std::ops::Range<usize>,
        file: &Path,
        vault: &Path,
    ) -> Option<VaultKey> {
        let file: PathBuf = self.folder.join(file);
        if file == vault || file.file_name().is_none() || file.is_dir() {
            let words =
                "vault.key: write a file of its own, such as { file = \"mailwicket.vault.key\" }";
            self.problems.at(span, words);
            return None;
        }
        self.warn_of_missing_folder("vault.key", span.clone(), &file);
        self.warn_if_world_readable("vault.key", span, &file);
        Some(VaultKey::File(file))
    }

    /// Not an error: a volume may be mounted later.
    pub(super) fn warn_of_missing_folder(
        &mut self,
        key: &str,
        span: std::ops::Range<usize>,
        file: &Path,
    ) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let words = format!("{key}: there is no folder {}; make it", folder.display());
            self.problems.warn(span, &words);
        }
    }
}
