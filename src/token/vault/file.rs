//! Files that are whole: read at once, replaced at once, changed by one process at a time.
//!
//! New bytes are written to a file beside the old one, brought to the disk and renamed over it, so
//! that a crash at any moment leaves the old ones or the new ones. All files are their owner's
//! alone.
//!
//! Must never know: what is in them.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::{Builder, NamedTempFile};
use zeroize::Zeroizing;

use super::VaultError;

/// The ending of the file that is written before it is renamed.
pub(super) const STAGED: &str = ".new";
/// How often a lock that another holds is tried again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The path with this ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Whether there is a file. What is no file is an error: reading from a pipe would wait for ever.
pub(super) fn is_there(path: &Path) -> Result<bool, VaultError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(found) => Err(VaultError {
            what: format!(
                "{} is {} and no file",
                path.display(),
                if found.is_dir() { "a folder" } else { "a device or a pipe" }
            ),
            remedy: "name a file in [vault]".to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

/// The whole file, of at most so many octets; `None` where there is none.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    if !is_there(path)? {
        return Ok(None);
    }
    let read = || {
        let file = File::open(path)?;
        // Room for all of it: a buffer that grows would leave its old places behind unwiped.
        let room = file.metadata()?.len().min(most) + 2;
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0)));
        file.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| cannot("read", path, &error))?;
    if bytes.len() as u64 > most {
        return Err(VaultError {
            what: format!("{} has more than {most} octets", path.display()),
            remedy: "correct the path in [vault], or restore the file".to_owned(),
        });
    }
    Ok(Some(bytes))
}

/// Takes the lock, which ends when what is returned is dropped, or the process dies.
///
/// The lock is a file of its own, because the vault's is another with each write. It stays: to
/// remove it would let two have it.
pub(super) fn lock(path: &Path, vault: &Path, until: Instant) -> Result<File, VaultError> {
    is_there(path)?;
    let file = open_lock(path, vault).map_err(|error| cannot("open", path, &error))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOOK_AGAIN),
            Err(TryLockError::WouldBlock) => {
                return Err(VaultError {
                    what: format!(
                        "another process holds the vault {} and does not let go",
                        vault.display()
                    ),
                    remedy: "try again; if it stays so, end the other mailwicket".to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(cannot("lock", path, &error)),
        }
    }
}

/// Puts these bytes in place of the file: on disk when it returns. Only under the lock.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let replace = || {
        let staged = stage(path, bytes, false)?;
        let folder = Folder::open(path)?;
        staged.persist(path)?;
        folder.sync()
    };
    replace().map_err(|error| cannot("write", path, &error))
}

/// Makes the file, whole at once. Where somebody else made it first, theirs stays: `false`.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<bool, VaultError> {
    let create = || {
        let staged = stage(path, bytes, true)?;
        let folder = Folder::open(path)?;
        staged.persist_noclobber(path)?;
        folder.sync()
    };
    match create() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(cannot("write", path, &error)),
    }
}

/// Does all of [`replace`] but the last step. Only under the lock.
pub(super) fn probe(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    stage(path, bytes, false).map(drop).map_err(|error| cannot("write", path, &error))
}

/// Brings these bytes to the disk beside the path. The name is always the same, so that what a
/// crash leaves is found and removed; or another each time, for those who hold no lock.
fn stage(path: &Path, bytes: &[u8], of_its_own: bool) -> io::Result<NamedTempFile> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    if !of_its_own {
        match fs::remove_file(beside(path, STAGED)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut staged = Builder::new()
        .prefix(name)
        .rand_bytes(if of_its_own { 12 } else { 0 })
        .suffix(STAGED)
        .tempfile_in(folder_of(path))?; // which makes it with mode 0600
    hand_over(staged.as_file(), path)?;
    staged.write_all(bytes)?;
    staged.as_file().sync_all()?;
    Ok(staged)
}

fn open_lock(path: &Path, vault: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true); // some network file systems lock only what may be written
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            hand_over(&file, vault)?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// Gives a new file to the owner of the one that it stands beside or replaces, and the very first
/// ones, where root makes them, to the owner of their folder. Otherwise a sign-in as root would
/// shut the daemon out of its own vault.
#[cfg(unix)]
fn hand_over(new: &File, old: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let ours = new.metadata()?.uid();
    let pattern = match fs::metadata(old) {
        Err(error) if error.kind() == ErrorKind::NotFound && ours == 0 => {
            fs::metadata(folder_of(old))
        }
        found => found,
    };
    match pattern {
        Ok(pattern) if pattern.uid() != ours => {
            fchown(new, Some(pattern.uid()), Some(pattern.gid()))
        }
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)] // as above
fn hand_over(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// The folder of a file. On disk with it, a renamed file outlives a power cut.
struct Folder(#[cfg(unix)] File);

impl Folder {
    #[cfg(unix)]
    fn open(path: &Path) -> io::Result<Self> {
        File::open(folder_of(path)).map(Self)
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        match self.0.sync_all() {
            // Some network file systems have nothing to do here, and say so.
            Err(error)
                if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            done => done,
        }
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps)] // as above
    fn open(_: &Path) -> io::Result<Self> {
        Ok(Self())
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // as above
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> VaultError {
    let folder = folder_of(path).display();
    VaultError {
        what: format!("cannot {verb} {}: {error}", path.display()),
        remedy: match error.kind() {
            ErrorKind::NotFound => format!("make the folder {folder}, for mailwicket's user alone"),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => format!(
                "let the user that mailwicket runs as read and write in {folder}, and own the files there"
            ),
            ErrorKind::NotADirectory | ErrorKind::InvalidFilename | ErrorKind::InvalidInput => {
                "correct the path in [vault]".to_owned()
            }
            ErrorKind::IsADirectory => format!("move what is in the way out of {folder}"),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                "make room on that disk; until then the file stays as it was".to_owned()
            }
            ErrorKind::ResourceBusy => {
                "let the container mount the vault's folder, and not the file".to_owned()
            }
            ErrorKind::Unsupported => "use a disk that has file locks".to_owned(),
            _ => "look to that disk, and try again".to_owned(),
        },
    }
}
