//! Values marked (secret), wherever they stand. No message says what one is.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::STANDARD as PADDED,
    },
};
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;
use zeroize::Zeroizing;

use super::{
    super::{
        file::{Secret, Secrets},
        form::is_guid,
    },
    Checker,
};

/// The most octets that a secret's file may hold, so that a wrong path fills no memory.
const MOST_OCTETS: u64 = 64 * 1024;
/// The most client secrets of one app: Entra itself shows no more use for than two at a time.
const MOST_SECRETS: usize = 4;
/// The octets of a vault's key.
const KEY_OCTETS: usize = 32;

impl Checker<'_> {
    /// The value behind a secret; a trailing line end is dropped.
    pub(super) fn secret(&mut self, key: &str, given: &Spanned<Secret>) -> Option<SecretString> {
        self.secret_at(key, given.get_ref(), given.span())
    }

    /// One client secret, or several in the order in which they are tried.
    pub(super) fn client_secrets(
        &mut self,
        key: &str,
        given: &Spanned<Secrets>,
    ) -> Option<Vec<SecretString>> {
        let Secrets(written) = given.get_ref();
        if written.is_empty() || written.len() > MOST_SECRETS {
            let words =
                format!("{key}: write one secret, or from 1 to {MOST_SECRETS} in the array");
            self.problems.at(given.span(), words);
            return None;
        }
        let alone = written.len() == 1;
        let values: Vec<_> = (written.iter().enumerate())
            .map(|(index, secret)| {
                let key = if alone { key.to_owned() } else { format!("{key}[{index}]") };
                let value = self.secret_at(&key, secret, given.span())?;
                if is_guid(value.expose_secret()) {
                    let words = format!(
                        "{key} looks like the secret's ID; Entra wants its Value, which is shown once, when the secret is made"
                    );
                    self.problems.warn(given.span(), &words);
                }
                Some(value)
            })
            .collect();
        values.into_iter().collect() // after all have been looked at, so that all mistakes are told
    }

    /// A vault's key, in padded standard base64 whatever its base64 is written in.
    pub(super) fn vault_key(&mut self, key: &str, given: &Spanned<Secret>) -> Option<SecretString> {
        let value = self.secret(key, given)?;
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let octets = [STANDARD, URL_SAFE].iter().find_map(|alphabet| {
            let engine = GeneralPurpose::new(alphabet, lenient);
            let octets = engine.decode(value.expose_secret().trim()).ok().map(Zeroizing::new)?;
            (octets.len() == KEY_OCTETS).then_some(octets)
        });
        let Some(octets) = octets else {
            let words = format!(
                "{key} must be {KEY_OCTETS} octets in base64; make them with `openssl rand -base64 {KEY_OCTETS}`, or write {{ file = \"PATH\" }} and the file is made"
            );
            self.problems.at(given.span(), words);
            return None;
        };
        Some(PADDED.encode(&*octets).into())
    }

    /// Warns of a secret that others can read too.
    pub(super) fn warn_if_world_readable(&mut self, key: &str, span: Range<usize>, path: &Path) {
        if is_world_readable(path) {
            let words = format!(
                "{key}: everybody on this machine can read {}; chmod 600 it",
                path.display()
            );
            self.problems.warn(span, &words);
        }
    }

    fn secret_at(&mut self, key: &str, given: &Secret, span: Range<usize>) -> Option<SecretString> {
        let found = match given {
            Secret::Literal(secret) => Ok(secret.clone()),
            Secret::Env(name) => self.variable(key, name),
            Secret::File(path) => self.secret_file(key, span.clone(), &self.folder.join(path)),
            Secret::Credential(name) => self
                .credential_path(key, name)
                .and_then(|path| self.secret_file(key, span.clone(), &path)),
            Secret::Wrong => Err(format!(
                "{key}: a secret is a string, {{ file = \"PATH\" }}, {{ env = \"NAME\" }} or {{ credential = \"NAME\" }}"
            )),
        };
        let value = match found {
            Ok(value) => value,
            Err(words) => {
                self.problems.at(span, words);
                return None;
            }
        };
        // Windows editors put a byte order mark before what they save.
        let text = value.expose_secret().trim_start_matches('\u{feff}');
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            self.problems.at(span, format!("{key} is empty"));
            return None;
        }
        Some(trimmed.into())
    }

    fn variable(&self, key: &str, name: &str) -> Result<SecretString, String> {
        let legal = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
        if name.is_empty() || !name.bytes().all(legal) {
            // Not quoted: somebody may have put the secret itself there.
            return Err(format!(
                "{key}: what env names is no variable's name; write such as {{ env = \"ENTRA_CLIENT_SECRET\" }}"
            ));
        }
        (self.environment)(name).map(SecretString::from).ok_or_else(|| {
            format!(
                "{key}: the environment has no variable {name}; set it, or use {{ file = \"PATH\" }}"
            )
        })
    }

    /// systemd.exec(5), "Credentials".
    fn credential_path(&self, key: &str, name: &str) -> Result<PathBuf, String> {
        let plain = !name.is_empty()
            && name != "."
            && name != ".."
            && !name.contains(['/', '\\'])
            && !name.contains(char::is_control);
        if !plain {
            return Err(format!(
                "{key}: what credential names is no file name; write the NAME of LoadCredential=NAME:PATH"
            ));
        }
        let folder = (self.environment)("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty());
        folder.map(|folder| Path::new(&folder).join(name)).ok_or_else(|| {
            format!(
                "{key}: $CREDENTIALS_DIRECTORY is not set; systemd sets it for a unit with LoadCredential={name}:PATH"
            )
        })
    }

    fn secret_file(
        &mut self,
        key: &str,
        span: Range<usize>,
        path: &Path,
    ) -> Result<SecretString, String> {
        let text = read_short(path).map_err(|error| {
            format!(
                "{key}: cannot read {}: {error}; mend the path or the file's permissions",
                path.display()
            )
        })?;
        self.warn_if_world_readable(key, span, path);
        Ok(text)
    }
}

fn read_short(path: &Path) -> std::io::Result<SecretString> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(MOST_OCTETS + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_OCTETS {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "it is too long for a secret"));
    }
    Ok(text.as_str().into())
}

#[cfg(unix)]
fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Elsewhere access is not a matter of mode bits.
#[cfg(not(unix))]
fn is_world_readable(_: &Path) -> bool {
    false
}
