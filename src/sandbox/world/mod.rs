//! The state that the servers share: who there is, what goes wrong, what happened.
//!
//! A [`World`] is a handle; clones share one state. Every lock is held for a moment only and
//! never across an await.

pub mod contoso;
mod directory;
mod faults;
mod federated;
mod mailboxes;
mod records;
pub(super) mod sign_ins;
mod store;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use crate::sandbox::world::directory::{
    App, AppSecret, Directory, Federated, Mailbox, Managed, Standing, Tenant, User,
};
use crate::sandbox::world::faults::Armed;
pub use crate::sandbox::world::faults::{
    Fault, ImapFault, MachineFault, Pop3Fault, ProxyFault, SmtpFault, TokenFault,
};
pub use crate::sandbox::world::mailboxes::ImapEnd;
pub use crate::sandbox::world::records::{Connect, Counters, Line, Message, Speaker};
use crate::sandbox::world::sign_ins::{DeviceState, SignIns};
pub use crate::sandbox::world::store::{Flags, Stored};
pub(in crate::sandbox) use crate::sandbox::world::store::{Folder, Mail, Unfit};

/// The transcript keeps this many lines, so that a demo left alone for weeks stays small.
const TRANSCRIPT_LINES: usize = 10_000;
/// So many ids of assertions are remembered.
const ASSERTIONS_KEPT: usize = 10_000;

/// The shared state of a sandbox; cloning gives another handle to the same state.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Signs tokens; drawn at start, so that no token outlives its sandbox.
    key: [u8; 32],
    /// The ids of assertions that were used; behind a lock of its own, for it is asked while the
    /// directory is held.
    assertions: Mutex<VecDeque<String>>,
    changed: Notify,
    mail_news: watch::Sender<()>,
    imap_end: watch::Sender<Option<ImapEnd>>,
}

struct State {
    directory: Directory,
    tuning: Tuning,
    armed: Armed,
    messages: Vec<Message>,
    counters: Counters,
    transcript: Vec<Line>,
    authority: String,
    /// Sessions that have logged in, oldest first, by mailbox in lower case.
    submissions: HashMap<String, Vec<u64>>,
    /// By mailbox in lower case.
    mail: HashMap<String, Mail>,
    sign_ins: SignIns,
}

/// Knobs that are neither people nor faults.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How long Exchange waits before it refuses.
    pub tarpit: Duration,
    /// How long a submission session may be silent.
    pub idle: Duration,
    /// How long a session of IMAP may be silent, IDLE included; Exchange Server's documented
    /// default. How long Exchange Online waits is not known.
    pub imap_idle: Duration,
    /// The same for POP3.
    pub pop3_idle: Duration,
    /// How long a session of IMAP or POP3 may be silent before it has logged in.
    pub login_idle: Duration,
    /// The life of access tokens; none: random between 60 and 90 minutes, as Entra does.
    pub token_life: Option<Duration>,
    /// The life of refresh tokens.
    pub refresh_life: Duration,
    /// The length of access tokens in octets; none: random between 1,600 and 2,400.
    pub token_octets: Option<usize>,
    /// How far the clock of Microsoft is ahead of ours, in seconds.
    pub clock_offset: i64,
    /// Wrong passwords in a row before smart lockout.
    pub lockout_after: u32,
    /// Octets of each message that are kept, in folders too; length and hash in [`Message`]
    /// always cover all of it.
    pub keep_octets: usize,
    /// Largest message in octets, as advertised by SIZE.
    pub size_limit: u64,
    /// Concurrent submissions for each mailbox.
    pub submissions_per_mailbox: usize,
    /// Ports that the proxy allows; none: all. Squid's default is 443 only.
    pub proxy_ports: Option<Vec<u16>>,
    /// Where the proxy finds `host:port`, before it looks for loopback addresses.
    pub proxy_names: BTreeMap<String, SocketAddr>,
    /// The life of a device code.
    pub device_life: Duration,
    /// The seconds that a device is told to wait between two polls.
    pub device_interval: u64,
    /// The life of an authorization code.
    pub code_life: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            tarpit: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            imap_idle: Duration::from_secs(1800),
            pop3_idle: Duration::from_secs(1800),
            login_idle: Duration::from_secs(60),
            token_life: None,
            refresh_life: Duration::from_secs(90 * 24 * 3600),
            token_octets: None,
            clock_offset: 0,
            lockout_after: 10,
            keep_octets: 32 << 20,
            size_limit: 157_286_400,
            submissions_per_mailbox: 3,
            proxy_ports: None,
            proxy_names: BTreeMap::new(),
            device_life: Duration::from_secs(900),
            device_interval: 5,
            code_life: Duration::from_secs(600),
        }
    }
}

impl World {
    /// A world with this directory.
    ///
    /// # Panics
    /// Where the operating system has no randomness to give.
    #[allow(clippy::expect_used)] // see Panics
    pub fn new(directory: Directory) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                directory,
                tuning: Tuning::default(),
                armed: Armed::default(),
                messages: Vec::new(),
                counters: Counters::default(),
                transcript: Vec::new(),
                authority: String::new(),
                submissions: HashMap::new(),
                mail: HashMap::new(),
                sign_ins: SignIns::default(),
            }),
            key,
            assertions: Mutex::default(),
            changed: Notify::new(),
            mail_news: watch::Sender::new(()),
            imap_end: watch::Sender::new(None),
        }))
    }

    /// The tenant of [`contoso`]: two apps, and users and mailboxes for every occasion.
    pub fn contoso() -> Self {
        Self::new(contoso::directory())
    }

    /// Looks at or changes who there is.
    pub fn directory<T>(&self, with: impl FnOnce(&mut Directory) -> T) -> T {
        with(&mut self.state().directory)
    }

    /// Changes the knobs.
    pub fn tune(&self, with: impl FnOnce(&mut Tuning)) {
        with(&mut self.state().tuning);
    }

    /// The knobs as they stand.
    pub fn tuning(&self) -> Tuning {
        self.state().tuning.clone()
    }

    /// From now on this goes wrong every time.
    pub fn arm(&self, fault: impl Into<Fault>) {
        self.state().armed.arm(fault.into(), None);
    }

    /// This goes wrong the next `strikes` times.
    pub fn arm_times(&self, fault: impl Into<Fault>, strikes: u32) {
        if strikes > 0 {
            self.state().armed.arm(fault.into(), Some(strikes));
        }
    }

    /// Nothing goes wrong any more.
    pub fn disarm(&self) {
        self.state().armed.clear();
    }

    /// The messages accepted so far.
    pub fn messages(&self) -> Vec<Message> {
        self.state().messages.clone()
    }

    /// Waits until `count` messages have been accepted, and gives them all.
    pub async fn messages_at_least(&self, count: usize) -> Vec<Message> {
        self.when(|state| (state.messages.len() >= count).then(|| state.messages.clone())).await
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// Waits until the counts are as `wanted` says, and gives them.
    pub async fn counters_when(&self, wanted: impl Fn(&Counters) -> bool) -> Counters {
        self.when(|state| wanted(&state.counters).then(|| state.counters.clone())).await
    }

    /// What was said so far, in order of time, secrets masked; the newest 10,000 lines.
    pub fn transcript(&self) -> Vec<Line> {
        self.state().transcript.clone()
    }

    /// Takes the transcript and starts a new one.
    pub fn take_transcript(&self) -> Vec<Line> {
        std::mem::take(&mut self.state().transcript)
    }

    /// The user codes of device sign-ins that wait for a user, oldest first.
    pub fn device_codes(&self) -> Vec<String> {
        self.state().sign_ins.pending()
    }

    /// This user types the code and signs in. Whether the code waited for that; nothing is said
    /// about who the user is until the device asks.
    pub fn approve_device(&self, user_code: &str, upn: &str) -> bool {
        self.settle_device(user_code, DeviceState::Approved(upn.to_owned()))
    }

    /// A user types the code and says no.
    pub fn decline_device(&self, user_code: &str) -> bool {
        self.settle_device(user_code, DeviceState::Declined)
    }

    fn settle_device(&self, user_code: &str, end: DeviceState) -> bool {
        let mut state = self.state();
        match state.sign_ins.device_of_user(user_code) {
            Some(device) if device.state == DeviceState::Pending => {
                device.state = end;
                true
            }
            _ => false,
        }
    }

    /// Forgets messages, counts and transcript; who there is, what goes wrong and the mail in the
    /// folders stays.
    pub fn forget(&self) {
        let mut state = self.state();
        state.messages.clear();
        state.transcript.clear();
        state.counters = state.counters.open_only();
    }

    async fn when<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Enlisted before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            if let Some(found) = ready(&self.state()) {
                return found;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock would be in a caller's closure; the data is still whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the servers use.
impl World {
    pub(super) fn key(&self) -> &[u8; 32] {
        &self.0.key
    }

    /// Who there is and who is signing in, under one lock.
    pub(super) fn people_and_sign_ins<T>(
        &self,
        with: impl FnOnce(&mut Directory, &mut SignIns) -> T,
    ) -> T {
        let state = &mut *self.state();
        with(&mut state.directory, &mut state.sign_ins)
    }

    /// Whether an assertion with this id comes for the first time.
    pub(super) fn is_first_use(&self, id: &str) -> bool {
        let mut used = self.0.assertions.lock().unwrap_or_else(PoisonError::into_inner);
        if used.iter().any(|known| known == id) {
            return false;
        }
        used.push_back(id.to_owned());
        if used.len() > ASSERTIONS_KEPT {
            used.pop_front();
        }
        true
    }

    pub(super) fn authority(&self) -> String {
        self.state().authority.clone()
    }

    pub(super) fn set_authority(&self, authority: &str) {
        authority.clone_into(&mut self.state().authority);
    }

    /// Whether this fault is armed; it does not strike by being looked at.
    pub(super) fn armed(&self, fault: &Fault) -> bool {
        self.state().armed.holds(fault)
    }

    /// Whether exactly this fault strikes now.
    pub(super) fn strikes(&self, fault: impl Into<Fault>) -> bool {
        let fault = fault.into();
        self.state().armed.strike(|armed| (*armed == fault).then_some(())).is_some()
    }

    /// The first armed fault that `pick` wants, which strikes now.
    pub(super) fn strike<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.state().armed.strike(pick)
    }

    pub(super) fn count(&self, with: impl FnOnce(&mut Counters)) {
        with(&mut self.state().counters);
        self.0.changed.notify_waiters();
    }

    pub(super) fn say(&self, who: Speaker, text: impl Into<String>) {
        let line = Line { who, text: text.into() };
        let transcript = &mut self.state().transcript;
        if transcript.len() >= TRANSCRIPT_LINES {
            transcript.drain(..TRANSCRIPT_LINES / 10);
        }
        transcript.push(line);
    }

    pub(super) fn deliver(&self, message: Message) {
        self.file(&message);
        let mut state = self.state();
        state.counters.messages += 1;
        state.messages.push(message);
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Session `id` has logged in to `mailbox`.
    pub(super) fn open_submission(&self, mailbox: &str, id: u64) {
        let mailbox = mailbox.to_ascii_lowercase();
        self.state().submissions.entry(mailbox).or_default().push(id);
    }

    /// Session `id` has ended.
    pub(super) fn close_submission(&self, mailbox: &str, id: u64) {
        let mailbox = mailbox.to_ascii_lowercase();
        let mut state = self.state();
        if let Some(ids) = state.submissions.get_mut(&mailbox) {
            ids.retain(|open| *open != id);
            if ids.is_empty() {
                state.submissions.remove(&mailbox);
            }
        }
    }

    /// Whether session `id` is among the oldest that the mailbox is allowed.
    pub(super) fn submission_allowed(&self, mailbox: &str, id: u64) -> bool {
        let mailbox = mailbox.to_ascii_lowercase();
        let state = self.state();
        state
            .submissions
            .get(&mailbox)
            .and_then(|ids| ids.iter().position(|open| *open == id))
            .is_none_or(|place| place < state.tuning.submissions_per_mailbox)
    }
}
