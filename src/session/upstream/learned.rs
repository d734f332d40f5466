//! What upstreams have taught us, for the life of the process: which extensions they offer, and
//! whether they take a token on the same line as the command.
//!
//! Some servers cut a long line and then call the token malformed, which looks like any refusal; so
//! a long one that was refused is repeated in two steps. Where that helps it is done at once from
//! then on. Where it does not, or the upstream has taken a long line before, the refusal was meant:
//! repeating every one would double the failures that Exchange counts, and the wait for its
//! tarpit. Must never know how a session is opened.

use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use crate::{
    config::Upstream,
    mail::{Protocol, client::TokenForm, server::Offer},
};

/// Postfix cuts an AUTH line here and then calls the token malformed (as observed with 3.7); a
/// longer line that was refused may have been a good token.
const CUT_BY_SOME: usize = 2048;
/// For how long a mailbox's refusals are believed after one has been repeated in vain. Not for
/// ever: the repetition may have failed for another reason, such as a right that is yet to come.
const BELIEVED: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(in crate::session) struct Learned {
    offers: DashMap<Upstream, Vec<String>>,
    lines: DashMap<Upstream, Lines>,
    /// Mailboxes whose refusal was repeated in vain, and until when it is believed.
    believed: DashMap<(Upstream, String), Instant>,
}

/// What an upstream does with long lines.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Lines {
    Takes,
    Cuts,
}

impl Learned {
    /// What to advertise to a client whose session will go there.
    pub(in crate::session) fn offer(&self, protocol: Protocol, upstream: &Upstream) -> Offer {
        let mut offer = Offer::exchange_online(protocol);
        if let Some(extensions) = self.offers.get(upstream) {
            offer.extensions.clone_from(&extensions);
        }
        offer
    }

    /// It offers these extensions.
    pub(super) fn offers(&self, upstream: &Upstream, extensions: Vec<String>) {
        self.offers.insert(upstream.clone(), extensions);
    }

    /// How a token is sent there.
    pub(super) fn form(&self, upstream: &Upstream) -> TokenForm {
        match self.lines(upstream) {
            Some(Lines::Cuts) => TokenForm::TwoSteps,
            Some(Lines::Takes) | None => TokenForm::Inline,
        }
    }

    /// A token was taken, inline on a line of so many octets, or in two steps.
    pub(super) fn taken(&self, upstream: &Upstream, inline_octets: Option<usize>) {
        if is_long(inline_octets) && self.lines(upstream).is_none() {
            self.lines.insert(upstream.clone(), Lines::Takes);
        }
    }

    /// Whether a refusal of this mailbox's token, sent inline on a line of so many octets, may only
    /// mean that the line was cut.
    pub(super) fn may_be_cut(
        &self,
        upstream: &Upstream,
        mailbox: &str,
        inline_octets: Option<usize>,
    ) -> bool {
        let believed = self.believed.get(&(upstream.clone(), mailbox.to_owned()));
        is_long(inline_octets)
            && self.lines(upstream).is_none()
            && believed.is_none_or(|until| *until <= Instant::now())
    }

    /// What may have been cut was taken in two steps, or was not.
    pub(super) fn repeated(&self, upstream: &Upstream, mailbox: &str, was_taken: bool) {
        if was_taken {
            self.lines.insert(upstream.clone(), Lines::Cuts);
            return;
        }
        let now = Instant::now();
        self.believed.retain(|_, until| *until > now);
        self.believed.insert((upstream.clone(), mailbox.to_owned()), now + BELIEVED);
    }

    fn lines(&self, upstream: &Upstream) -> Option<Lines> {
        self.lines.get(upstream).map(|lines| *lines)
    }
}

fn is_long(inline_octets: Option<usize>) -> bool {
    inline_octets.is_some_and(|octets| octets > CUT_BY_SOME)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::config::Security;

    const LONG: Option<usize> = Some(3000);

    fn upstream(host: &str) -> Upstream {
        Upstream { host: host.to_owned(), port: 587, security: Security::StartTls }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_repeated_until_it_is_known_to_be_meant() {
        let (learned, at) = (Learned::default(), upstream("mail"));
        assert!(learned.may_be_cut(&at, "ann", LONG));
        for short in [None, Some(2048)] {
            assert!(!learned.may_be_cut(&at, "ann", short));
        }
        learned.repeated(&at, "ann", false);
        assert!(!learned.may_be_cut(&at, "ann", LONG));
        assert!(learned.may_be_cut(&at, "bob", LONG), "whose token may have been cut");
        assert!(learned.may_be_cut(&upstream("other"), "ann", LONG));
        advance(BELIEVED).await;
        assert!(learned.may_be_cut(&at, "ann", LONG), "and not for ever");
        learned.repeated(&at, "bob", false);
        assert_eq!(learned.believed.len(), 1, "what is over is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn one_long_line_teaches_for_good() {
        let (learned, at) = (Learned::default(), upstream("mail"));
        for short in [None, Some(2048)] {
            learned.taken(&at, short);
        }
        assert!(learned.may_be_cut(&at, "ann", LONG), "neither was a long line");
        learned.taken(&at, LONG);
        assert!(!learned.may_be_cut(&at, "ann", LONG));
        assert!(learned.form(&at) == TokenForm::Inline);
        let cuts = upstream("cuts");
        learned.repeated(&cuts, "ann", true);
        assert!(learned.form(&cuts) == TokenForm::TwoSteps);
        assert!(!learned.may_be_cut(&cuts, "ann", LONG));
    }
}
