//! `client_secret`, `certificate`, `token_file`: how an app proves who it is.
//!
//! Files are looked for here and understood where they are used, anew for each request.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{
    super::{CertificateFiles, Credential, file},
    Checker,
    app::Written,
    grant::Kind,
};

impl Checker<'_> {
    /// `Some(None)` where there is none and none is needed.
    #[allow(clippy::option_option)] // outer: usable or not; inner: given or not
    pub(super) fn credential(
        &mut self,
        written: Written<'_>,
        kind: Option<Kind>,
    ) -> Option<Option<Credential>> {
        let table = written.table;
        match kind {
            Some(Kind::Identity) => return Some(None), // others are refused as unfit
            Some(Kind::Workload) => return self.federated(written).map(Some),
            _ => {}
        }
        let secrets = table
            .client_secret
            .as_ref()
            .map(|given| self.client_secrets(&written.key("client_secret"), given));
        let certificate = table
            .certificate
            .as_ref()
            .map(|given| self.certificate(&written.key("certificate"), given));
        match (secrets, certificate) {
            (Some(_), Some(_)) => {
                let span = table.certificate.as_ref().map(Spanned::span).unwrap_or_default();
                let words = format!(
                    "{} and client_secret are both there; keep one",
                    written.key("certificate")
                );
                self.problems.at(span, words);
                None
            }
            (Some(secrets), None) => secrets.map(|secrets| Some(Credential::Secrets(secrets))),
            (None, Some(files)) => files.map(|files| Some(Credential::Certificate(files))),
            (None, None) if kind == Some(Kind::App) => {
                let words = format!(
                    "{} is missing; grant = \"client_credentials\" needs it, such as {{ file = \"client_secret.txt\" }}, or a certificate",
                    written.key("client_secret")
                );
                self.problems.at(table.grant.span(), words);
                None
            }
            (None, None) => Some(None),
        }
    }

    fn certificate(
        &mut self,
        key: &str,
        given: &Spanned<file::KeyPair>,
    ) -> Option<CertificateFiles> {
        let file::KeyPair { certificate, key: key_file, password } = given.get_ref();
        let (cert_name, key_name) = (format!("{key}.certificate"), format!("{key}.key"));
        let found = self.readable(&cert_name, certificate, "");
        let password = match password {
            Some(password) => self.secret(&format!("{key}.password"), password).map(Some),
            None => Some(None),
        };
        let key_found = match key_file {
            Some(path) if is_pkcs12(certificate.get_ref()) => {
                let words =
                    format!("{key_name}: a .pfx or .p12 file holds the key itself; remove key");
                self.problems.at(path.span(), words);
                None
            }
            Some(path) => self.readable(&key_name, path, "").map(Some),
            None => Some(None),
        };
        // Where no key is named it is in the certificate's file.
        let secret_file = match &key_found {
            Some(Some(path)) => Some((&key_name, path, key_file.as_ref().map(Spanned::span))),
            Some(None) => found.as_ref().map(|path| (&cert_name, path, Some(certificate.span()))),
            None => None,
        };
        if let Some((name, path, span)) = secret_file {
            self.warn_if_world_readable(name, span.unwrap_or_default(), path);
        }
        Some(CertificateFiles { certificate: found?, key: key_found?, password: password? })
    }

    fn federated(&mut self, written: Written<'_>) -> Option<Credential> {
        let key = written.key("token_file");
        let wait = " (Kubernetes puts it there before it starts the container: look at the pod's label azure.workload.identity/use and its service account)";
        if let Some(given) = &written.table.token_file {
            let token_file = self.readable(&key, given, wait)?;
            return Some(Credential::Federated { token_file });
        }
        let grant = &written.table.grant;
        let Some(path) = self.variable_of_azure("AZURE_FEDERATED_TOKEN_FILE") else {
            let words = format!(
                "{key} is missing; write the path of the token's file, or set AZURE_FEDERATED_TOKEN_FILE{wait}"
            );
            self.problems.at(grant.span(), words);
            return None;
        };
        let path = Spanned::new(grant.span(), PathBuf::from(path));
        let token_file = self.readable(&key, &path, wait)?;
        Some(Credential::Federated { token_file })
    }

    /// The path from where the process stands, if there is a file that can be read.
    pub(super) fn readable(
        &mut self,
        key: &str,
        given: &Spanned<PathBuf>,
        hint: &str,
    ) -> Option<PathBuf> {
        let path = self.folder.join(given.get_ref());
        if let Err(error) = open(&path) {
            let words = format!(
                "{key}: cannot read {}: {error}; mend the path or the file's permissions{hint}",
                path.display()
            );
            self.problems.at(given.span(), words);
            return None;
        }
        Some(path)
    }
}

fn open(path: &Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}

fn is_pkcs12(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("pfx") || extension.eq_ignore_ascii_case("p12")
}
