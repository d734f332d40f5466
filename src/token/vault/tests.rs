use std::{
    collections::{BTreeMap, HashMap},
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Barrier,
    time::UNIX_EPOCH,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;

const CANARIES: [&str; 3] = ["canary-access", "canary-refresh", "canary-hash"];

/// A folder of its own with a vault and a key file in it.
struct Place {
    folder: TempDir,
    files: VaultFiles,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let files = VaultFiles {
            path: folder.path().join("vault"),
            key: VaultKey::File(folder.path().join("vault.key")),
        };
        Self { folder, files }
    }

    /// With one entry, named `ann`.
    fn with_ann() -> Self {
        let place = Self::new();
        place.open().keep("ann", &kept("ann")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn try_open(&self) -> Result<Vault, VaultError> {
        Vault::open_within(&self.files, Duration::ZERO)
    }

    fn open(&self) -> Vault {
        Vault::open(&self.files).unwrap()
    }

    /// All files but the lock, with what is in them.
    fn disk(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && path.extension() != Some("lock".as_ref()))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }
}

fn kept(tag: &str) -> Kept {
    Kept {
        access: Some(KeptAccess {
            secret: format!("{tag} access").into(),
            granted: UNIX_EPOCH + Duration::new(1_900_000_000, 7),
            expires: UNIX_EPOCH + Duration::from_secs(1_900_003_600),
        }),
        refresh: Some(format!("{tag} \"refresh\"\n\u{e9}").into()),
        accepted: Some(Accepted {
            hash: format!("$argon2id${tag}"),
            at: UNIX_EPOCH + Duration::from_secs(1_900_000_001),
        }),
    }
}

/// All of it, comparable.
fn shown(kept: &Kept) -> String {
    let secret = |secret: &SecretString| secret.expose_secret().to_owned();
    let access = kept.access.as_ref().map(|it| (secret(&it.secret), it.granted, it.expires));
    let accepted = kept.accepted.as_ref().map(|it| (it.hash.clone(), it.at));
    format!("{access:?} {:?} {accepted:?}", kept.refresh.as_ref().map(secret))
}

fn found(vault: &Vault, name: &str) -> Option<String> {
    vault.kept(name).unwrap().as_ref().map(shown)
}

#[track_caller]
fn assert_ann(place: &Place) {
    assert_eq!(found(&place.open(), "ann"), Some(shown(&kept("ann"))));
}

fn value(key: &[u8]) -> VaultKey {
    VaultKey::Value(STANDARD.encode(key).into())
}

fn key_of(place: &Place) -> [u8; 32] {
    let line = fs::read_to_string(place.path("vault.key")).unwrap();
    STANDARD.decode(line.trim()).unwrap().try_into().unwrap()
}

// What is kept

#[test]
fn what_is_kept_is_there_after_a_restart() {
    let place = Place::with_ann();
    let vault = place.open();
    assert_eq!(found(&vault, "ann"), Some(shown(&kept("ann"))));
    assert_eq!(found(&vault, "Ann"), None);
    vault.keep("app\0bob", &Kept::default()).unwrap();
    vault.keep("ann", &kept("new")).unwrap();

    let vault = place.open();
    assert_eq!(vault.names().unwrap(), ["ann", "app\0bob"]);
    assert_eq!(found(&vault, "ann"), Some(shown(&kept("new"))));
    assert_eq!(found(&vault, "app\0bob"), Some(shown(&Kept::default())));
    assert!(vault.forget("ann").unwrap());
    assert!(!vault.forget("ann").unwrap());
    assert_eq!(place.open().names().unwrap(), ["app\0bob"]);
}

#[test]
fn a_change_sees_what_is_kept_and_decides() {
    let place = Place::with_ann();
    let vault = place.open();
    let no_access = |kept: Option<Kept>| kept.map(|kept| Kept { access: None, ..kept });
    vault.change("ann", no_access).unwrap();
    vault.change("bob", no_access).unwrap();
    assert_eq!(vault.names().unwrap(), ["ann"]);
    assert_eq!(found(&vault, "ann"), Some(shown(&Kept { access: None, ..kept("ann") })));
}

#[test]
fn what_nobody_keeps_anew_for_100_days_is_dropped() {
    let place = Place::new();
    let vault = place.open();
    let (start, day) =
        (UNIX_EPOCH + Duration::from_secs(1_900_000_000), Duration::from_secs(86_400));
    let keep =
        |name, days| vault.change_at(start + day * days, name, |_| Some(kept(name))).unwrap();
    keep("ann", 0);
    keep("bob", 1);
    keep("cyd", 100);
    assert_eq!(vault.names().unwrap(), ["ann", "bob", "cyd"], "not yet");
    keep("bob", 101);
    assert_eq!(vault.names().unwrap(), ["bob", "cyd"]);
    keep("cyd", 0);
    assert_eq!(vault.names().unwrap(), ["bob", "cyd"], "a clock put back drops nothing");
}

#[derive(Clone, Debug)]
enum Deed {
    Keep(usize, u8),
    Forget(usize),
    Reopen,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (0..4_usize, any::<u8>()).prop_map(|(name, tag)| Deed::Keep(name, tag)),
        (0..4_usize).prop_map(Deed::Forget),
        Just(Deed::Reopen),
    ];
    prop::collection::vec(deed, 0..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_of_deeds_equals_a_map(deeds in deeds()) {
        const NAMES: [&str; 4] = ["ann", "", "app\0ann", "\u{e9}\"\\"];
        let place = Place::new();
        let (mut vault, mut model) = (place.open(), HashMap::new());
        for deed in deeds {
            match deed {
                Deed::Keep(name, tag) => {
                    let kept = kept(&tag.to_string());
                    vault.keep(NAMES[name], &kept).unwrap();
                    model.insert(NAMES[name], shown(&kept));
                }
                Deed::Forget(name) => {
                    let was = vault.forget(NAMES[name]).unwrap();
                    prop_assert_eq!(was, model.remove(NAMES[name]).is_some());
                }
                Deed::Reopen => vault = place.open(),
            }
            for name in NAMES {
                prop_assert_eq!(found(&vault, name), model.get(name).cloned());
            }
            prop_assert_eq!(vault.names().unwrap().len(), model.len());
        }
    }

    #[test]
    fn damage_is_refused_and_never_overwritten(
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
        cut in any::<bool>(),
    ) {
        let place = Place::with_ann();
        let vault = place.open();
        let mut bytes = fs::read(&place.files.path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= change }
        fs::write(&place.files.path, bytes).unwrap();
        let disk = place.disk();
        prop_assert!(place.try_open().is_err());
        prop_assert!(vault.kept("ann").is_err());
        prop_assert!(vault.names().is_err());
        prop_assert!(vault.keep("bob", &kept("bob")).is_err());
        prop_assert!(vault.forget("ann").is_err());
        prop_assert_eq!(place.disk(), disk);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), begin in 0..=17_usize) {
        let header = b"mailwicket vault\x01";
        let bytes = [&header[..begin], &bytes].concat();
        prop_assert!(open_bytes([7; 32], &bytes).is_err());
    }
}

#[test]
fn every_changed_bit_and_every_cut_is_seen() {
    let place = Place::with_ann();
    let (key, bytes) = (key_of(&place), fs::read(&place.files.path).unwrap());
    assert_eq!(open_bytes(key, &bytes).unwrap().len(), 1);
    let mut seen = 0;
    for at in 0..bytes.len() {
        let broken = open_bytes(key, &bytes[..at]).unwrap_err();
        let expected = if at < 17 + 24 + 16 { Broken::Truncated } else { Broken::Sealed };
        assert_eq!(broken, expected, "cut at {at}");
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let expected = match at {
                0..16 => Broken::Foreign,
                16 => Broken::Version(bytes[16]),
                _ => Broken::Sealed,
            };
            assert_eq!(open_bytes(key, &bytes).unwrap_err(), expected, "bit {bit} of {at}");
            seen += 1;
        }
    }
    assert!(seen > 8 * 57, "{seen}");
    assert_eq!(open_bytes(key, &[&bytes[..], b"\n"].concat()).unwrap_err(), Broken::Sealed);
}

#[test]
fn the_form_is_the_one_that_is_written_down() {
    let place = Place::with_ann();
    let first = fs::read(&place.files.path).unwrap();
    assert_eq!(&first[..17], b"mailwicket vault\x01");
    place.open().keep("ann", &kept("ann")).unwrap();
    let second = fs::read(&place.files.path).unwrap();
    assert_ne!(first[17..41], second[17..41], "a nonce for each write");

    // Sealed here by hand: header authenticated, version 1, and the JSON of version 1.
    let seal = |header: &[u8], text: &str| {
        use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
        let mut text = text.as_bytes().to_vec();
        let cipher = XChaCha20Poly1305::new(&[7; 32].into());
        cipher.encrypt_in_place(&[9; 24].into(), header, &mut text).unwrap();
        [b"mailwicket vault\x01", &[9; 24][..], &text].concat()
    };
    let time = r#"{"secs_since_epoch":5,"nanos_since_epoch":6}"#;
    let text = format!(
        r#"{{"n":{{"kept_at":{time},"access":{{"secret":"a","granted":{time},"expires":{time}}},"refresh":"r","accepted":{{"hash":"h","at":{time}}}}}}}"#
    );
    let header = b"mailwicket vault\x01";
    let opened = open_bytes([7; 32], &seal(header, &text)).unwrap();
    let at = UNIX_EPOCH + Duration::new(5, 6);
    let expected = Kept {
        access: Some(KeptAccess { secret: "a".into(), granted: at, expires: at }),
        refresh: Some("r".into()),
        accepted: Some(Accepted { hash: "h".into(), at }),
    };
    assert_eq!(shown(&opened["n"]), shown(&expected));
    assert_eq!(open_bytes([7; 32], &seal(b"", &text)).unwrap_err(), Broken::Sealed);
    for strange in ["", "[]", r#"{"n":{}}"#, &text.replace(r#""refresh""#, r#""refreshed""#)] {
        let broken = open_bytes([7; 32], &seal(header, strange)).unwrap_err();
        assert_eq!(broken, Broken::Content, "{strange}");
    }
}

#[test]
fn no_secret_is_on_disk_or_in_words() {
    let place = Place::new();
    let mut kept = kept("");
    kept.access.as_mut().unwrap().secret = CANARIES[0].into();
    kept.refresh = Some(CANARIES[1].into());
    kept.accepted.as_mut().unwrap().hash = CANARIES[2].to_owned();
    let vault = place.open();
    vault.keep("canary-name", &kept).unwrap();
    let line = fs::read_to_string(place.path("vault.key")).unwrap();

    let mut shown = vec![format!("{vault:?} {kept:?} {:?}", place.files)];
    fs::write(
        &place.files.path,
        b"mailwicket vault\x01 and what is no vault, however long it may be",
    )
    .unwrap();
    for error in [
        vault.kept("canary-name").unwrap_err(),
        vault.keep("canary-name", &kept).unwrap_err(),
        place.try_open().unwrap_err(),
    ] {
        shown.push(format!("{error} {error:?}"));
    }
    fs::write(place.path("vault.key"), format!("{} !", line.trim())).unwrap();
    shown.push(format!("{:?}", place.try_open().unwrap_err()));
    let shown = shown.join("\n");
    for canary in CANARIES.iter().chain([&"canary-name", &line.trim()]) {
        assert!(!shown.contains(canary), "{shown}");
    }

    let place = Place::new();
    place.open().keep("canary-name", &kept).unwrap();
    for (path, bytes) in place.disk() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains("canary"), "{}", path.display());
    }
    assert_eq!(place.disk().len(), 2, "the vault and its key");
}

// What is refused

#[test]
fn what_is_wrong_is_told_and_left_as_it_is() {
    type Spoil = fn(&mut Place);
    let table: [(Spoil, &str, &str); 22] = [
        (|p| fs::write(&p.files.path, "").unwrap(), "cut short", "sign in again"),
        (|p| fs::write(&p.files.path, "mailwic").unwrap(), "cut short", "sign in again"),
        (|p| fs::write(&p.files.path, "[server]\n").unwrap(), "no vault", "correct `path`"),
        (
            |p| fs::write(&p.files.path, "mailwicket vault\x02").unwrap(),
            "version 2",
            "run the mail",
        ),
        (|p| fs::write(&p.files.path, [0; 100]).unwrap(), "no vault", "correct `path`"),
        (
            |p| fs::File::create(&p.files.path).unwrap().set_len((16 << 20) + 1).unwrap(),
            "more than 16777216 octets",
            "correct the path",
        ),
        (
            |p| {
                fs::remove_file(&p.files.path).unwrap();
                fs::create_dir(&p.files.path).unwrap();
            },
            "a folder and no file",
            "name a file",
        ),
        (|p| p.files.path = p.path("vault/inside"), "Not a directory", "correct the path"),
        (|p| p.files.path = p.path("none/vault"), "No such file", "make the folder"),
        (|p| p.files.path = "/".into(), "a folder and no file", "name a file"),
        (|p| fs::create_dir(p.path("vault.new")).unwrap(), "cannot write", "in the way"),
        (
            |p| {
                fs::remove_file(p.path("vault.lock")).unwrap();
                fs::create_dir(p.path("vault.lock")).unwrap();
            },
            "vault.lock is a folder",
            "name a file",
        ),
        (
            |p| fs::remove_file(p.path("vault.key")).unwrap(),
            "key is missing",
            "move the vault away",
        ),
        (
            |p| {
                fs::remove_file(p.path("vault.key")).unwrap();
                fs::create_dir(p.path("vault.key")).unwrap();
            },
            "vault.key is a folder",
            "name a file",
        ),
        (|p| fs::write(p.path("vault.key"), "\n").unwrap(), "it is empty", "restore the key"),
        (|p| fs::write(p.path("vault.key"), "hello world").unwrap(), "base64", "restore the key"),
        (
            |p| fs::write(p.path("vault.key"), "aGVsbG8=").unwrap(),
            "5 octets and",
            "restore the key",
        ),
        (
            |p| fs::write(p.path("vault.key"), [b'A'; 2000]).unwrap(),
            "more than 1024",
            "correct the",
        ),
        (|p| p.files.key = value(&[0; 32]), "octets are the same", "restore the key"),
        (
            |p| p.files.key = value(b"another key, also of 32 octets. "),
            "this key",
            "restore the key",
        ),
        (|p| p.files.key = VaultKey::Value("pass word".into()), "in the configuration", "openssl"),
        (
            |p| p.files.key = VaultKey::File(p.files.path.clone()),
            "both the vault's",
            "file of its own",
        ),
    ];
    let mut rows = 0;
    for (spoil, what, remedy) in table {
        let mut place = Place::with_ann();
        spoil(&mut place);
        let disk = place.disk();
        let error = place.try_open().expect_err(what);
        assert!(error.what.contains(what), "{what}: {}", error.what);
        assert!(error.remedy.contains(remedy), "{what}: {}", error.remedy);
        assert_eq!(place.disk(), disk, "{what}");
        rows += 1;
    }
    assert_eq!(rows, 22);
}

#[cfg(unix)]
#[test]
fn a_device_is_not_waited_for() {
    let mut place = Place::new();
    place.files.path = "/dev/zero".into();
    assert!(place.try_open().unwrap_err().what.contains("a device or a pipe"));
}

#[test]
fn a_vault_that_is_taken_away_is_not_begun_anew_unasked() {
    let place = Place::with_ann();
    let vault = place.open();
    fs::rename(&place.files.path, place.path("away")).unwrap();
    let error = vault.keep("bob", &kept("bob")).unwrap_err();
    assert!(error.what.contains("gone") && error.remedy.contains("restore it"), "{error:?}");
    assert!(vault.kept("ann").is_err());
    assert!(!place.files.path.exists());

    assert_eq!(place.open().names().unwrap(), [""; 0], "asked: a new vault under the old key");
    fs::rename(place.path("away"), &place.files.path).unwrap();
    assert_ann(&place);
}

#[test]
fn what_is_too_much_is_not_written() {
    let place = Place::with_ann();
    let (vault, disk) = (place.open(), place.disk());
    let much = Kept { refresh: Some("x".repeat(16 << 20).into()), ..Kept::default() };
    let error = vault.keep("bob", &much).unwrap_err();
    assert!(error.what.contains("over 16 MiB"), "{error}");
    let early = Accepted { hash: String::new(), at: UNIX_EPOCH - Duration::from_secs(1) };
    let error = vault.keep("bob", &Kept { accepted: Some(early), ..Kept::default() }).unwrap_err();
    assert!(error.what.contains("before 1970") && error.remedy.contains("clock"), "{error:?}");
    assert_eq!(place.disk(), disk);
}

// The key

#[test]
fn a_key_comes_from_a_file_or_a_value_alike() {
    let mut place = Place::with_ann();
    let line = fs::read_to_string(place.path("vault.key")).unwrap();
    assert_eq!((line.len(), line.ends_with("=\n")), (45, true));
    for text in
        [line.clone(), line.trim().to_owned(), format!(" {}\r\n", line.trim_end_matches("=\n"))]
    {
        fs::write(place.path("vault.key"), &text).unwrap();
        assert_ann(&place);
        place.files.key = VaultKey::Value(text.into());
        assert_ann(&place);
        place.files.key = VaultKey::File(place.path("vault.key"));
    }
    fs::remove_file(place.path("vault.key")).unwrap();
    place.files.key = VaultKey::Value(line.into());
    assert_ann(&place);
    assert!(!place.path("vault.key").exists(), "a value needs no file");
}

#[test]
fn those_who_start_at_once_agree_on_one_key() {
    for _ in 0..10 {
        // Two vaults with one key: their locks are not the same.
        let (place, barrier) = (Place::new(), Barrier::new(6));
        let files =
            |name: &str| VaultFiles { path: place.path(name), key: place.files.key.clone() };
        thread::scope(|scope| {
            for name in ["one", "two"].repeat(3) {
                let (files, barrier) = (files(name), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    Vault::open(&files).unwrap();
                });
            }
        });
        for name in ["one", "two"] {
            assert_eq!(Vault::open(&files(name)).unwrap().names().unwrap(), [""; 0]);
        }
        assert_eq!(place.disk().len(), 3, "and leave nothing behind");
    }
}

#[cfg(unix)]
#[test]
fn all_files_are_their_owners_alone() {
    use std::os::unix::fs::{MetadataExt, chown};
    let place = Place::with_ann();
    for name in ["vault", "vault.key", "vault.lock"] {
        let mode = fs::metadata(place.path(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    // Whom root signs in for keeps the files; nobody else may give files away.
    if fs::metadata(place.path("vault")).unwrap().uid() == 0 {
        chown(place.path("vault"), Some(4321), Some(1234)).unwrap();
        fs::remove_file(place.path("vault.lock")).unwrap();
        place.open().keep("bob", &kept("bob")).unwrap();
        for name in ["vault", "vault.lock"] {
            let found = fs::metadata(place.path(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (4321, 1234), "{name}");
        }
    }
}

#[cfg(unix)]
#[test]
#[cfg(unix)]
fn what_root_makes_first_belongs_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt, chown};

    let place = Place::new();
    if fs::metadata(place.folder.path()).unwrap().uid() != 0 {
        return; // only root can give files away
    }
    chown(place.folder.path(), Some(4321), Some(1234)).unwrap();
    place.open().keep("ann", &kept("ann")).unwrap();
    for name in ["vault", "vault.lock", "vault.key"] {
        let found = fs::metadata(place.path(name)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (4321, 1234, 0o600), "{name}");
    }
}

#[test]
fn a_link_to_a_vault_stays_one() {
    let mut place = Place::with_ann();
    std::os::unix::fs::symlink(place.path("vault"), place.path("link")).unwrap();
    place.files.path = place.path("link");
    place.open().keep("bob", &kept("bob")).unwrap();
    assert!(place.path("link").is_symlink());
    place.files.path = place.path("vault");
    assert_eq!(place.open().names().unwrap(), ["ann", "bob"]);
}

// Crashes, and two who write

#[test]
fn what_a_crash_leaves_is_harmless_and_removed() {
    let place = Place::with_ann();
    let old = fs::read(&place.files.path).unwrap();
    for left in [&b""[..], b"mailwicket vau", &old[..old.len() / 2], &old] {
        fs::write(place.path("vault.new"), left).unwrap();
        assert_ann(&place);
        assert!(!place.path("vault.new").exists(), "opening removes it");
        let vault = place.open();
        fs::write(place.path("vault.new"), left).unwrap();
        vault.keep("bob", &kept("bob")).unwrap();
        assert!(!place.path("vault.new").exists(), "writing removes it");
        assert_ann(&place);
    }
    assert_eq!(place.disk().len(), 2);
}

#[test]
fn at_whatever_step_a_write_fails_the_old_vault_stays() {
    let place = Place::with_ann();
    let vault = place.open();
    let fails = |why: &str| {
        let error = vault.keep("bob", &kept("bob")).expect_err(why);
        assert!(!error.remedy.is_empty());
    };
    // The new file cannot be made.
    let disk = place.disk();
    fs::create_dir(place.path("vault.new")).unwrap();
    fails("a folder is in the way");
    assert_eq!(place.disk(), disk);
    fs::remove_dir(place.path("vault.new")).unwrap();

    // It cannot be renamed.
    fs::create_dir_all(place.path("full/of")).unwrap();
    let error = file::replace(&place.path("full"), b"new").unwrap_err();
    assert!(error.what.contains("cannot write"), "{error}");
    assert!(!place.path("full.new").exists(), "and does not stay");
    assert!(place.path("full/of").exists());

    // The folder is not there for a while, or is a file.
    let (folder, away) = (place.folder.path(), TempDir::new().unwrap());
    fs::rename(folder, away.path().join("it")).unwrap();
    fails("no folder");
    fs::write(folder, "").unwrap();
    fails("a file for a folder");
    fs::remove_file(folder).unwrap();
    fs::rename(away.path().join("it"), folder).unwrap();
    assert_eq!(place.disk(), disk);
    assert_ann(&place);
}

#[test]
fn the_lock_is_waited_for_and_not_for_ever() {
    let place = Place::with_ann();
    let mut vault = place.open();
    vault.patience = Duration::ZERO;
    let held = fs::File::open(place.path("vault.lock")).unwrap();
    held.lock().unwrap();
    let disk = place.disk();
    for error in [
        vault.keep("bob", &kept("bob")).unwrap_err(),
        vault.forget("ann").unwrap_err(),
        place.try_open().unwrap_err(),
    ] {
        assert!(error.what.contains("another process holds the vault"), "{error}");
        assert!(error.remedy.contains("try again"), "{error:?}");
    }
    assert_eq!(found(&vault, "ann"), Some(shown(&kept("ann"))), "looking takes no lock");
    assert_eq!(place.disk(), disk);

    vault.patience = PATIENCE;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| vault.keep("bob", &kept("bob")));
        held.unlock().unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(vault.names().unwrap(), ["ann", "bob"]);
}

#[test]
fn handles_and_threads_lose_nothing_of_each_other() {
    let place = Place::new();
    let vaults = [place.open(), place.open()];
    thread::scope(|scope| {
        for thread in 0..4 {
            let vault = &vaults[thread % 2];
            scope.spawn(move || {
                for turn in 0..10 {
                    let name = format!("{thread} {turn}");
                    vault.keep(&name, &kept(&name)).unwrap();
                    assert_eq!(found(vault, &name), Some(shown(&kept(&name))));
                    if turn % 2 == 1 {
                        assert!(vault.forget(&name).unwrap());
                    }
                }
            });
        }
    });
    let names = vaults[0].names().unwrap();
    assert_eq!(names.len(), 20);
    assert_eq!(names, vaults[1].names().unwrap());
}

// Other processes: this test binary again, which finds its part in the environment.

const PART: &str = "MAILWICKET_TEST_VAULT";

fn another(part: &str, place: &Place, shell: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "token::vault::tests::a_part_for_another_process", "--nocapture"])
        .env(PART, format!("{part} {}", place.files.path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Without [`PART`] in its environment it has nothing to do, and passes.
#[test]
fn a_part_for_another_process() {
    let Ok(part) = env::var(PART) else { return };
    let (part, path) = part.split_once(' ').unwrap();
    let key = VaultKey::File(format!("{path}.key").into());
    let vault = Vault::open(&VaultFiles { path: path.into(), key }).unwrap();
    match part {
        "write" => {
            for turn in 0.. {
                let name = format!("child {turn}");
                vault.keep(&name, &kept(&name)).unwrap();
                println!("\nkept {name}");
            }
        }
        "overfill" => {
            let much = Kept { refresh: Some("x".repeat(100_000).into()), ..Kept::default() };
            let error = vault.keep("bob", &much).unwrap_err();
            println!("\ntold {}: {}", error.what, error.remedy);
        }
        _ => unreachable!(),
    }
}

/// What the other says behind this word.
fn says(child: &mut Child, word: &'static str) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(move |line| Some(line.strip_prefix(word)?.to_owned()))
}

#[cfg(unix)]
#[test]
fn a_process_that_is_killed_while_it_writes_loses_nothing_it_has_told() {
    let place = Place::with_ann();
    for _ in 0..5 {
        let vault = place.open();
        let mut child = another("write", &place, "");
        let mut said = says(&mut child, "kept ");
        let mut told = Vec::new();
        for turn in 0..10 {
            vault.keep(&format!("parent {turn}"), &kept("parent")).unwrap();
            told.push(said.next().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(said);
        let vault = place.open();
        for name in &told {
            assert_eq!(found(&vault, name), Some(shown(&kept(name))), "{name}");
            vault.forget(name).unwrap();
        }
        let parents =
            vault.names().unwrap().iter().filter(|name| name.starts_with("parent")).count();
        assert_eq!(parents, 10);
        assert_ann(&place);
        assert_eq!(place.disk().len(), 2);
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_vault() {
    let place = Place::with_ann();
    let disk = place.disk();
    // Files of at most some blocks: what is more than that fails in the middle, also for root.
    let mut child = another("overfill", &place, "trap '' XFSZ; ulimit -f 8;");
    let told: Vec<_> = says(&mut child, "told ").collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("cannot write") && told[0].contains("make room"), "{}", told[0]);
    assert_eq!(place.disk(), disk);
    assert_ann(&place);
}
