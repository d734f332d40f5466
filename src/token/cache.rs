//! Serves logins with tokens, and decides when Entra is asked for them.
//!
//! One slot per identity. Whoever needs a request takes the slot's turn; all others wait for that
//! one answer, and a leader that is cancelled passes the turn on. At first use of a slot it takes
//! what the vault keeps, so that a restart while Entra is out of order costs nothing. Must never
//! know how a request travels.

use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use secrecy::SecretString;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Courier, Identity, IdentityState, Token, TokenError,
    clock::Clock,
    errand::Errands,
    grant::Ask,
    settle::{By, Settled},
    shelf::Shelf,
    slot::{Proof, Slot},
    vault::{Vault, VaultError},
};
use crate::{
    config::{EntraApp, Grant},
    secret::Fingerprints,
    stats::Stats,
};

/// Beyond this many slots, those that hold nothing are swept: with `"*"` as user, anybody who
/// connects can name as many users as they like.
const SWEEP_ABOVE: usize = 4096;

/// All tokens of the process. A clone shares them.
#[derive(Clone)]
pub struct Tokens(pub(super) Arc<Inner>);

pub(super) struct Inner {
    slots: DashMap<String, Arc<Slot>>,
    /// The configuration as read last; `None` before the first reload, when every caller's counts.
    read: RwLock<Option<Read>>,
    pub(super) prints: Fingerprints,
    clock: Clock,
    pub(super) errands: Errands,
    pub(super) shelf: Shelf,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) stats: Arc<Stats>,
}

/// Says whether an account lets this user have this app's tokens.
type Covers = dyn Fn(&EntraApp, &str) -> bool + Send + Sync;

/// What of a configuration tells whether an identity is in it.
struct Read {
    apps: Vec<Arc<EntraApp>>,
    is_covered: Box<Covers>,
}

impl Tokens {
    /// An empty cache over what the vault keeps; without one tokens live in memory only. Renewals
    /// run as tasks of `tasks` until `stop`; what is being written then is written, so `tasks` should
    /// be waited for.
    pub fn new(
        courier: Courier,
        vault: Option<Arc<Vault>>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self::with_clock(courier, vault, tasks, stop, Clock::of_the_machine())
    }

    pub(super) fn with_clock(
        courier: Courier,
        vault: Option<Arc<Vault>>,
        tasks: TaskTracker,
        stop: CancellationToken,
        clock: Clock,
    ) -> Self {
        let (slots, read, prints) = (DashMap::new(), RwLock::default(), Fingerprints::new());
        let (errands, shelf) = (Errands::new(courier), Shelf::new(vault, tasks.clone()));
        let stats = Arc::default();
        Self(Arc::new(Inner { slots, read, prints, clock, errands, shelf, tasks, stop, stats }))
    }

    /// Where requests to Entra are counted; whoever uses the tokens may count there as well.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.0.stats
    }

    /// A living token. `password` is what the client typed; it is needed, and judged, where the
    /// app's grant is by password.
    pub async fn get(
        &self,
        identity: &Identity,
        password: Option<&SecretString>,
    ) -> Result<Token, TokenError> {
        let password = match identity.app.grant {
            Grant::Password { .. } => Some(password.ok_or(TokenError::NoPassword)?),
            _ => None,
        };
        let slot = self.slot(identity);
        let proof = password.map(|password| self.0.prints.of(&slot.name, password));
        loop {
            if let Some(answer) = slot.answer(&proof) {
                let held = matches!(answer, Err(TokenError::Held));
                if held && self.turns_out_to_own(&slot, &proof, password).await {
                    continue;
                }
                return answer;
            }
            if let Some(outcome) = self.take_turn(&slot, &proof, password).await {
                return outcome;
            }
        }
    }

    /// Looks after this identity from now on, though nobody has asked for its token yet. For users
    /// whom the configuration names and who have to sign in: their refresh tokens are kept alive,
    /// and if there is none, [`states`](Self::states) and the log say so before the first login
    /// fails.
    pub fn attend(&self, identity: &Identity) {
        let slot = self.slot(identity);
        slot.watch();
        self.look_after(&slot);
    }

    /// From now on this identity's tokens are renewed at half their life, in the background: long
    /// sessions begin with them, and end with them.
    pub fn keep_young(&self, identity: &Identity) {
        self.slot(identity).keep_young();
    }

    /// The provider refused this token. Whether the next [`get`](Self::get) brings another: it is
    /// fetched anew at most once a minute for each identity, so that one mailbox without rights
    /// does not make Entra see a loop.
    pub fn rejected(&self, identity: &Identity, token: &Token) -> bool {
        self.slot(identity).suspect(token)
    }

    /// The configuration was read anew: letters go by this courier, these are all the apps that
    /// its accounts use, and `is_covered` says whether an account lets a user, as typed, have
    /// tokens of an app; it is not asked where the app is the identity. Tokens of identities that
    /// are still covered stay, whatever has become of their secrets. Others are forgotten, and their
    /// renewals end; in the vault too where their app is still there, and only the account gone: a
    /// slip in an app's tenant shall cost nobody a sign-in. Refusals of apps are forgotten.
    ///
    /// To be called within a runtime, before the first [`get`](Self::get) with one of the new apps.
    pub fn adopt(
        &self,
        courier: Courier,
        apps: &[Arc<EntraApp>],
        is_covered: impl Fn(&EntraApp, &str) -> bool + Send + Sync + 'static,
    ) {
        self.0.errands.change(courier);
        let new = Read { apps: apps.to_vec(), is_covered: Box::new(is_covered) };
        *self.0.read.write().unwrap_or_else(PoisonError::into_inner) = Some(new);
        let read = self.0.read.read().unwrap_or_else(PoisonError::into_inner);
        let Some(read) = &*read else { return };
        let mut gone = Vec::new();
        self.0.slots.retain(|name, slot| {
            let app = read.newest(name, &slot.user, &slot.app().name);
            if let Some(app) = app {
                slot.reread(app);
            } else {
                slot.end();
                if read.has_app_of(name, &slot.user) {
                    gone.push(Arc::clone(slot));
                }
            }
            app.is_some()
        });
        for slot in gone {
            self.forget(slot);
        }
    }

    /// Nothing of a slot that has ended stays in the vault. An answer that is still on its way is
    /// waited for; later ones are not kept.
    fn forget(&self, slot: Arc<Slot>) {
        let tokens = self.clone();
        self.0.tasks.spawn(async move {
            let _turn = slot.turn.lock().await;
            tokens.0.shelf.forget(&slot.name).await;
        });
    }

    /// How every identity stands that was asked for. Asks nobody.
    pub fn states(&self) -> Vec<IdentityState> {
        self.0.slots.iter().map(|slot| slot.report()).collect()
    }

    /// One turn at asking Entra; `None` if it settled nothing and the next may.
    async fn take_turn(
        &self,
        slot: &Arc<Slot>,
        proof: &Proof,
        password: Option<&SecretString>,
    ) -> Option<Result<Token, TokenError>> {
        let mut turn = Arc::clone(&slot.turn).lock_owned().await;
        if let Some(answer) = slot.answer(proof) {
            return Some(answer); // of the one who had the turn before
        }
        if let Err(error) = self.unseal(slot).await {
            return Some(Err(error));
        }
        self.recognise(slot, proof, password).await;
        if let Some(answer) = slot.answer(proof) {
            return Some(answer); // out of the vault
        }
        loop {
            let app = slot.app();
            let refresh = if app.grant.needs_sign_in() {
                let found = self.refresh_to_try(slot).await;
                if let Some(answer) = slot.answer(proof) {
                    return Some(answer); // a sign-in brings an access token too
                }
                match found {
                    Ok(Some(token)) => Some(token),
                    Ok(None) => return slot.need_sign_in(&app, None),
                    Err(error) => return Some(Err(error)),
                }
            } else {
                None
            };
            let ask = match (&refresh, password) {
                (Some(token), _) => Ask::Refresh(token),
                (None, Some(password)) => Ask::Password { user: &slot.user, password },
                (None, None) => Ask::App,
            };
            let answer = self.0.errands.run(&app, &ask).await;
            let by = By::Login { proof: proof.clone(), password: password.cloned() };
            let settled = self.settle(slot, app, by, answer, turn).await;
            match settled {
                // Somebody may have signed in while it was asked.
                Settled {
                    outcome: Some(Err(TokenError::NeedsSignIn { .. })),
                    turn: Some(back),
                } if matches!(self.finds_sign_in(slot).await, Ok(true)) => turn = back,
                Settled { outcome, .. } => return outcome,
            }
        }
    }

    /// The refresh token of a user who signed in: the one of a sign-in since, or the one at hand.
    async fn refresh_to_try(&self, slot: &Slot) -> Result<Option<SecretString>, TokenError> {
        match self.finds_sign_in(slot).await {
            Err(error) if !slot.has_refresh() => Err(unreadable(error)),
            _ => Ok(slot.refresh_to_try()), // if there is none it was refused, and that is known
        }
    }

    /// Whether somebody has signed in, as the vault tells; the slot has their refresh token then.
    /// Needs the turn.
    pub(super) async fn finds_sign_in(&self, slot: &Slot) -> Result<bool, VaultError> {
        let kept = self.0.shelf.kept(&slot.name).await?;
        Ok(kept.is_some_and(|kept| slot.take_other(kept, &self.0.prints)))
    }

    /// The slot takes what the vault keeps, at first use. Needs the turn. Where that cannot be read
    /// it is an error only if nothing but the vault can help.
    pub(super) async fn unseal(&self, slot: &Arc<Slot>) -> Result<(), TokenError> {
        if slot.is_unsealed() {
            return Ok(());
        }
        match self.0.shelf.kept(&slot.name).await {
            Ok(kept) => slot.unseal(kept, &self.0.prints),
            Err(error) if slot.app().grant.needs_sign_in() => return Err(unreadable(error)),
            Err(_) => {}
        }
        self.look_after(slot);
        Ok(())
    }

    /// Whether this password, which is held, is the one that Entra accepted before a restart.
    async fn turns_out_to_own(
        &self,
        slot: &Slot,
        proof: &Proof,
        password: Option<&SecretString>,
    ) -> bool {
        if slot.unverified().is_none() {
            return false;
        }
        let _turn = slot.turn.lock().await;
        self.recognise(slot, proof, password).await
    }

    /// After a restart: whether this is the password that Entra accepted before it.
    async fn recognise(&self, slot: &Slot, proof: &Proof, password: Option<&SecretString>) -> bool {
        let (Some(password), Some(hash)) = (password, slot.unverified()) else {
            return false;
        };
        let is_it = self.0.shelf.matches(hash, password).await;
        if is_it {
            slot.recognise(proof);
        }
        is_it
    }

    /// The slot itself is cloned out: no guard of the map outlives this call.
    fn slot(&self, identity: &Identity) -> Arc<Slot> {
        let Inner { slots, read, clock, .. } = &*self.0;
        if slots.len() > SWEEP_ABOVE {
            slots.retain(|_, slot| slot.is_worth_keeping());
        }
        let Identity { app, user } = identity;
        let name = identity.name();
        let new = |app: &Arc<EntraApp>| {
            Arc::new(Slot::new(name.clone(), user.clone(), Arc::clone(app), clock.clone()))
        };
        let entry = slots.entry(name.clone());
        // Read while the map's shard is held: a reload has either been here or is still to come.
        let read = read.read().unwrap_or_else(PoisonError::into_inner);
        match read.as_ref().map(|read| read.newest(&name, user, &app.name)) {
            None => Arc::clone(&entry.or_insert_with(|| new(app))),
            Some(Some(app)) => Arc::clone(&entry.or_insert_with(|| new(app))),
            // A session from before the reload: it is served, and nothing stays of it.
            Some(None) => {
                let slot = new(app);
                slot.end();
                slot
            }
        }
    }
}

/// Nothing but the vault can help, and it cannot be read: an outage, for all that is known.
fn unreadable(VaultError { what, remedy }: VaultError) -> TokenError {
    let summary = "the store of sign-ins cannot be read".to_owned();
    TokenError::Unavailable { what, remedy: Some(remedy), summary }
}

impl Read {
    /// The app of this identity, if it is covered; of several the one that bears the name.
    fn newest(&self, identity: &str, user: &str, name: &str) -> Option<&Arc<EntraApp>> {
        let is_covered = |app: &&Arc<EntraApp>| app.is_app_only() || (self.is_covered)(app, user);
        let mut same = self.of(identity, user).filter(is_covered);
        let first = same.next()?;
        if first.name == name {
            Some(first)
        } else {
            same.find(|app| app.name == name).or(Some(first))
        }
    }

    /// Whether an app of this identity is there, covered or not.
    fn has_app_of(&self, identity: &str, user: &str) -> bool {
        self.of(identity, user).next().is_some()
    }

    fn of(&self, identity: &str, user: &str) -> impl Iterator<Item = &Arc<EntraApp>> {
        self.apps.iter().filter(move |app| {
            Identity { app: Arc::clone(app), user: user.to_owned() }.name() == identity
        })
    }
}
