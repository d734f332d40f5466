//! Where Kerberos keeps its things on this machine: `krb5.conf` and the ticket cache.
//!
//! Of `krb5.conf` four keys are read: `default_realm`, `default_ccache_name`, and `kdc` of each realm,
//! through `include` and `includedir`. DNS is not asked for KDCs (`_kerberos._tcp`): where the file
//! names none, the realm's own name is taken for their host, as Active Directory registers it.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
};

/// The port of a KDC.
const PORT: u16 = 88;
/// How deep includes may go.
const DEEP: u8 = 4;

/// Where this process looks.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The configuration files; what comes first counts.
    pub configs: Vec<PathBuf>,
    /// The ticket cache as `KRB5CCNAME` names it, if it does.
    pub cache: Option<String>,
}

impl Places {
    /// What the environment says (`KRB5_CONFIG`, `KRB5CCNAME`), else `/etc/krb5.conf`.
    pub fn of_process() -> Self {
        let configs = env::var_os("KRB5_CONFIG").map_or_else(
            || vec![PathBuf::from("/etc/krb5.conf")],
            |list| env::split_paths(&list).collect(),
        );
        Self { configs, cache: env::var("KRB5CCNAME").ok().filter(|name| !name.is_empty()) }
    }

    /// Reads the configuration; files that are not there or not readable say nothing. Blocks.
    pub(super) fn read(&self) -> Conf {
        let mut conf = Conf::default();
        for path in &self.configs {
            conf.include(path, DEEP);
        }
        conf
    }
}

/// What `krb5.conf` says.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Conf {
    pub(super) default_realm: Option<String>,
    cache: Option<String>,
    kdcs: HashMap<String, Vec<(String, u16)>>,
}

impl Conf {
    /// The KDCs of a realm, in the order in which they are asked.
    pub(super) fn kdcs(&self, realm: &str) -> Vec<(String, u16)> {
        let named = self.kdcs.get(realm).cloned();
        named.unwrap_or_else(|| vec![(realm.to_ascii_lowercase(), PORT)])
    }

    /// The KDC at this place of [`Conf::kdcs`] has answered: it is asked first from now on.
    pub(super) fn prefer(&mut self, realm: &str, at: usize) {
        if at > 0 {
            let mut kdcs = self.kdcs(realm);
            let at = at.min(kdcs.len());
            kdcs.rotate_left(at);
            self.kdcs.insert(realm.to_owned(), kdcs);
        }
    }

    /// The file of the ticket cache.
    ///
    /// # Errors
    /// In words, where it is no file.
    pub(super) fn cache(&self, places: &Places) -> Result<PathBuf, String> {
        let name = places.cache.clone().or_else(|| self.cache.clone());
        let name = name.unwrap_or_else(|| "FILE:/tmp/krb5cc_%{uid}".to_owned());
        let name = ["%{uid}", "%{euid}"].iter().fold(name, |name, word| match uid() {
            Some(uid) if name.contains(word) => name.replace(word, &uid.to_string()),
            _ => name,
        });
        match name.split_once(':') {
            Some(("FILE", path)) => Ok(path.into()),
            Some((kind, _)) if kind.bytes().all(|octet| octet.is_ascii_uppercase()) => {
                Err(format!("a cache of the kind {kind} cannot be read, only FILE"))
            }
            _ => Ok(name.into()),
        }
    }

    fn include(&mut self, path: &Path, deep: u8) {
        if let (Ok(text), Some(deep)) = (fs::read_to_string(path), deep.checked_sub(1)) {
            self.take(&text, deep);
        }
    }

    fn take(&mut self, text: &str, deep: u8) {
        let (mut section, mut realm, mut depth) = (String::new(), None, 0_u32);
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                name.split(']').next().unwrap_or_default().clone_into(&mut section);
                (realm, depth) = (None, 0);
            } else if let Some(path) = line.strip_prefix("include ") {
                self.include(Path::new(path.trim()), deep);
            } else if let Some(folder) = line.strip_prefix("includedir ") {
                let mut files: Vec<_> = fs::read_dir(folder.trim())
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .filter(|path| is_included(path))
                    .collect();
                files.sort();
                for file in &files {
                    self.include(file, deep);
                }
            } else if line.starts_with('}') {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    realm = None;
                }
            } else if let Some((key, value)) = line.split_once('=') {
                let (key, value) = (key.trim(), value.trim().trim_matches('"'));
                if value.starts_with('{') && !value.ends_with('}') {
                    depth += 1;
                    if depth == 1 && section == "realms" {
                        realm = Some(key.to_owned());
                    }
                    continue;
                }
                match (section.as_str(), key, &realm) {
                    ("realms", "kdc", Some(realm)) if depth == 1 => {
                        if let Some(kdc) = host_and_port(value) {
                            self.kdcs.entry(realm.clone()).or_default().push(kdc);
                        }
                    }
                    ("libdefaults", "default_realm", _) => {
                        self.default_realm.get_or_insert_with(|| value.to_owned());
                    }
                    ("libdefaults", "default_ccache_name", _) => {
                        self.cache.get_or_insert_with(|| value.to_owned());
                    }
                    _ => {}
                }
            }
        }
    }
}

/// What `includedir` takes, as in MIT's library: what an editor or a package leaves behind is none.
fn is_included(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let is_conf = path.extension().is_some_and(|kind| kind == "conf");
    !name.starts_with('.') && (is_conf || name.bytes().all(plain))
}

/// `host`, `host:port`, `[address]:port`, with `tcp/` or `udp/` in front as Heimdal has it.
fn host_and_port(value: &str) -> Option<(String, u16)> {
    let value = value.strip_prefix("tcp/").or_else(|| value.strip_prefix("udp/")).unwrap_or(value);
    if value.is_empty() || value.contains("://") {
        return None;
    }
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok()?)
        }
        _ => (value, PORT),
    };
    Some((host.trim_matches(['[', ']']).to_owned(), port))
}

/// The user that this process runs as, where the system says so in `/proc`.
fn uid() -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::metadata("/proc/self").ok().map(|process| process.uid())
    }
    #[cfg(not(unix))]
    {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_with_its_includes() {
        let folder = tempfile::tempdir().unwrap();
        let more = folder.path().join("more.d");
        fs::create_dir(&more).unwrap();
        fs::write(more.join("b.conf"), "[libdefaults]\n default_realm = LATER.TEST\n").unwrap();
        for name in [".hidden", ".hidden.conf", "a.conf.rpmsave", "a.conf~"] {
            fs::write(more.join(name), "[libdefaults]\n default_realm = HIDDEN.TEST\n").unwrap();
        }
        fs::write(
            more.join("a.conf"),
            "[realms]\nOTHER.TEST = {\n kdc = tcp/[::1]:1088\n kdc = https://kdc.test/\n}\n",
        )
        .unwrap();
        let main = folder.path().join("krb5.conf");
        fs::write(
            &main,
            format!(
                "# a comment\nincludedir {}\ninclude {}\n[libdefaults]\n default_ccache_name = \"FILE:/run/cc_%{{uid}}\"\n\
                 [realms]\n EXAMPLE.TEST = {{\n  kdc = kdc1.test\n  auth_to_local_names = {{\n   kdc = nobody\n  }}\n  empty = {{ }}\n  kdc = kdc2.test:750\n }}\n\
                 [domain_realm]\n kdc = EXAMPLE.TEST\n",
                more.display(),
                main.display()
            ),
        )
        .unwrap();
        let conf = Places { configs: vec![main], cache: None }.read();
        assert_eq!(conf.default_realm.as_deref(), Some("LATER.TEST"));
        let kdcs = conf.kdcs("EXAMPLE.TEST");
        assert_eq!(kdcs[..2], [("kdc1.test".to_owned(), 88), ("kdc2.test".to_owned(), 750)]);
        assert_eq!(conf.kdcs("OTHER.TEST")[0], ("::1".to_owned(), 1088));
        assert_eq!(conf.kdcs("AD.TEST"), [("ad.test".to_owned(), 88)]);
    }

    #[test]
    fn a_cache_is_a_file_or_told_apart() {
        let rows = [
            (Some("FILE:/run/cc"), Ok("/run/cc")),
            (Some("/run/cc"), Ok("/run/cc")),
            (Some("KCM:1000"), Err("KCM")),
            (Some("KEYRING:persistent:1"), Err("KEYRING")),
        ];
        for (name, wanted) in rows {
            let places = Places { configs: vec![], cache: name.map(str::to_owned) };
            match (Conf::default().cache(&places), wanted) {
                (Ok(path), Ok(wanted)) => assert_eq!(path, Path::new(wanted)),
                (Err(said), Err(word)) => assert!(said.contains(word), "{said}"),
                other => panic!("{name:?}: {other:?}"),
            }
        }
        if let Some(uid) = uid() {
            let usual = Conf::default().cache(&Places::default()).unwrap();
            assert_eq!(usual, PathBuf::from(format!("/tmp/krb5cc_{uid}")));
        }
    }
}
