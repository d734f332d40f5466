//! `listener.tls`: TLS towards the client.
//!
//! Files are looked for here and understood where they are used. A certificate that is to be made
//! is not made here.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{
    super::{LocalTls, TlsFiles, TlsMode, file},
    Checker,
};

/// Where a self-signed certificate is kept, beside `proxy.toml`, where the file does not say.
const USUAL_CERTIFICATE: &str = "mailwicket-tls.pem";
/// Its key.
const USUAL_KEY: &str = "mailwicket-tls.key";

impl Checker<'_> {
    pub(super) fn local_tls(&mut self, given: &Spanned<file::Tls>) -> Option<LocalTls> {
        let (span, table) = (given.span(), given.get_ref());
        let mode = self.tls_mode(span.clone(), table.mode.as_ref());
        let is_self_signed = table.self_signed.as_ref().is_some_and(|made| *made.get_ref());
        let files = if is_self_signed {
            self.files_to_be_made(span, table)
        } else {
            self.files_that_are_there(span, table)
        };
        let required = table.required.as_ref().is_some_and(|required| *required.get_ref());
        Some(LocalTls { mode: mode?, required, files: files? })
    }

    fn tls_mode(&mut self, span: Range<usize>, given: Option<&Spanned<String>>) -> Option<TlsMode> {
        let choices = "\"starttls\" (in clear until the client asks for TLS), \"implicit\" (from the first octet) or \"auto\" (both on one port)";
        let Some(given) = given else {
            self.problems.at(span, format!("listener.tls.mode is missing; write {choices}"));
            return None;
        };
        match given.get_ref().as_str() {
            "starttls" => return Some(TlsMode::StartTls),
            "implicit" => return Some(TlsMode::Implicit),
            "auto" => return Some(TlsMode::Auto),
            other => {
                let words = format!("listener.tls.mode: \"{other}\" is none; write {choices}");
                self.problems.at(given.span(), words);
            }
        }
        None
    }

    fn files_that_are_there(&mut self, span: Range<usize>, table: &file::Tls) -> Option<TlsFiles> {
        let Some(certificate) = &table.certificate else {
            let words = "listener.tls.certificate is missing; write the PEM file of the certificate, or self_signed = true to have one made";
            self.problems.at(span, words);
            return None;
        };
        // Where no key is named it is in the certificate's file.
        let key_given = table.key.as_ref().unwrap_or(certificate);
        let found = self.readable("listener.tls.certificate", certificate, "");
        let key = match &table.key {
            Some(key) => self.readable("listener.tls.key", key, ""),
            None => found.clone(),
        }?;
        self.warn_if_world_readable("listener.tls.key", key_given.span(), &key);
        Some(TlsFiles { certificate: found?, key, self_signed: false })
    }

    fn files_to_be_made(&mut self, span: Range<usize>, table: &file::Tls) -> Option<TlsFiles> {
        let mut path = |given: Option<&Spanned<PathBuf>>, key: &str, usual: &str| {
            let (path, span) = match given {
                Some(given) => (given.get_ref().as_path(), given.span()),
                None => (Path::new(usual), span.clone()),
            };
            let path = self.folder.join(path);
            self.warn_of_missing_folder(key, span, &path);
            path
        };
        let certificate =
            path(table.certificate.as_ref(), "listener.tls.certificate", USUAL_CERTIFICATE);
        let key = path(table.key.as_ref(), "listener.tls.key", USUAL_KEY);
        let is_no_file = |path: &Path| path.file_name().is_none() || path.is_dir();
        if certificate == key || is_no_file(&certificate) || is_no_file(&key) {
            let words = format!(
                "listener.tls: certificate and key must be two files, such as \"{USUAL_CERTIFICATE}\" and \"{USUAL_KEY}\""
            );
            self.problems.at(span, words);
            return None;
        }
        self.warn_if_world_readable("listener.tls.key", span, &key);
        Some(TlsFiles { certificate, key, self_signed: true })
    }
}
