//! MAIL, RCPT, DATA and BDAT. The message comes in, and only then shows whether the mailbox may send it.

use crate::sandbox::exchange_auth;
use crate::sandbox::smtp::message::{Envelope, Unstuffer};
use crate::sandbox::smtp::replies::{self, Voice};
use crate::sandbox::smtp::{Next, Session, Told};
use crate::sandbox::wire::Silence;
use crate::sandbox::world::{Message, SmtpFault, Speaker};

/// Documented default for one message.
const RECIPIENTS: usize = 500;

impl Session {
    pub(super) async fn mail(&mut self, argument: &str) -> Told {
        if !self.greeted {
            return self.refuse(replies::HELLO_FIRST).await;
        }
        if self.principal.is_none() {
            let reply = self.voice.not_authenticated(self.refusal);
            return self.reply(&reply).await;
        }
        if self.envelope.is_some() {
            return self.refuse(replies::SENDER_TWICE).await;
        }
        let Some((from, parameters)) = path(argument, "FROM:") else {
            return self.refuse(replies::INVALID_ARGUMENTS).await;
        };
        let parameters: Vec<String> = parameters.split_whitespace().map(str::to_owned).collect();
        let size = parameters.iter().find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.eq_ignore_ascii_case("SIZE").then(|| value.parse::<u64>())
        });
        match size {
            Some(Err(_)) => return self.refuse(replies::INVALID_ARGUMENTS).await,
            Some(Ok(size)) if size > self.world.tuning().size_limit => {
                return self.refuse(replies::TOO_LARGE).await;
            }
            _ => {}
        }
        if self.world.strikes(SmtpFault::TemporaryServerError) {
            return self.reply(replies::TEMPORARY_ERROR).await;
        }
        self.envelope = Some(Envelope {
            from: from.to_owned(),
            binary: parameters.iter().any(|name| name.eq_ignore_ascii_case("BODY=BINARYMIME")),
            parameters,
            ..Envelope::default()
        });
        self.reply(replies::SENDER_OK).await
    }

    pub(super) async fn rcpt(&mut self, argument: &str) -> Told {
        let Some(envelope) = self.envelope.as_mut().filter(|envelope| !envelope.chunked) else {
            return self.refuse(replies::NEED_MAIL).await;
        };
        let Some((to, _)) = path(argument, "TO:").filter(|(to, _)| !to.is_empty()) else {
            return self.refuse(replies::INVALID_ARGUMENTS).await;
        };
        if envelope.recipients.len() >= RECIPIENTS {
            return self.refuse(replies::TOO_MANY_RECIPIENTS).await;
        }
        envelope.recipients.push(to.to_owned());
        self.reply(replies::RECIPIENT_OK).await
    }

    pub(super) async fn data(&mut self) -> Told {
        self.heard("DATA");
        match &self.envelope {
            None => return self.refuse(replies::NEED_MAIL).await,
            Some(envelope) if envelope.chunked => return self.refuse(replies::NEED_MAIL).await,
            Some(envelope) if envelope.recipients.is_empty() => {
                return self.refuse(replies::NEED_RCPT).await;
            }
            Some(envelope) if envelope.binary => {
                return self.refuse(replies::BINARY_BY_DATA).await;
            }
            Some(_) => {}
        }
        self.reply(replies::START_INPUT).await?;
        let Some(mut envelope) = self.envelope.take() else {
            return Ok(Next::End);
        };
        let keep = self.kept_octets();
        let mut unstuffer = Unstuffer::new();
        let mut first = true;
        loop {
            let piece = match self.wire()?.piece().await {
                Ok(piece) => piece,
                Err(Silence::Idle) => return self.timed_out().await,
                Err(silence) => return Err(silence),
            };
            if first && self.world.strikes(SmtpFault::CloseMidData) {
                self.reply(replies::NOT_ACTIVE).await?;
                return Ok(Next::End);
            }
            first = false;
            match unstuffer.piece(&piece) {
                Some(octets) => envelope.body.push(octets, keep),
                None => break,
            }
        }
        self.conclude(envelope).await
    }

    pub(super) async fn bdat(&mut self, argument: &str) -> Told {
        let mut words = argument.split_ascii_whitespace();
        let size = words.next().and_then(|size| size.parse::<u64>().ok());
        let (last, odd) = match (words.next(), words.next()) {
            (None, _) => (false, false),
            (Some(word), None) if word.eq_ignore_ascii_case("LAST") => (true, false),
            _ => (false, true),
        };
        let Some(size) = size.filter(|_| !odd) else {
            // How many octets follow is unknown, so there is no way back into step.
            self.refuse(replies::INVALID_ARGUMENTS).await?;
            return Ok(Next::End);
        };
        let mut envelope = self.envelope.take();
        let ready = envelope.as_ref().is_some_and(|envelope| !envelope.recipients.is_empty());
        let keep = self.kept_octets();
        let mut left = size;
        while left > 0 {
            let octets = match self.wire()?.octets(left).await {
                Ok(octets) => octets,
                Err(Silence::Idle) => return self.timed_out().await,
                Err(silence) => return Err(silence),
            };
            left = left.saturating_sub(octets.len() as u64);
            if let Some(envelope) = envelope.as_mut().filter(|_| ready) {
                envelope.body.push(&octets, keep);
            }
        }
        let Some(mut envelope) = envelope else {
            return self.refuse(replies::NEED_MAIL).await;
        };
        if !ready {
            self.envelope = Some(envelope);
            return self.refuse(replies::NEED_RCPT).await;
        }
        envelope.chunked = true;
        if last {
            return self.conclude(envelope).await;
        }
        self.envelope = Some(envelope);
        self.reply(&Voice::chunk(size)).await
    }

    /// The verdict: rights on the mailbox, then on the sender, then the limits.
    async fn conclude(&mut self, envelope: Envelope) -> Told {
        let Some(principal) = self.principal.clone() else {
            return Ok(Next::End);
        };
        let (world, voice) = (&self.world, &self.voice);
        world.say(Speaker::MailClient, format!("({} octets of message)", envelope.body.octets));
        if world.strikes(SmtpFault::DropAfterData) {
            return Ok(Next::End);
        }
        let mailbox = principal.mailbox;
        let (full, used_up) = world.directory(|directory| {
            directory
                .mailbox(&mailbox)
                .map_or((false, false), |mailbox| (mailbox.full, mailbox.quota_exceeded))
        });
        let author = envelope.body.author();
        let denied = [Some(envelope.from.as_str()), author.as_deref()]
            .into_iter()
            .flatten()
            .find(|from| !from.is_empty() && !exchange_auth::may_send_as(world, &mailbox, from));
        let reply = if !principal.may_open {
            voice.logon_failure()
        } else if let Some(from) = denied {
            let from: String = from.chars().filter(char::is_ascii_graphic).take(320).collect();
            voice.send_as_denied(&mailbox, &from)
        } else if !world.submission_allowed(&mailbox, self.open.number) {
            voice.verdict(replies::CONCURRENT)
        } else if used_up {
            voice.quota_exceeded()
        } else if full {
            voice.mailbox_full()
        } else if envelope.body.octets > world.tuning().size_limit {
            voice.verdict(replies::TOO_LARGE)
        } else if envelope.body.header_too_large() {
            voice.verdict(replies::HEADER_TOO_LARGE)
        } else {
            let reply = voice.accepted(envelope.body.message_id().as_deref());
            world.deliver(Message {
                mailbox,
                from: envelope.from,
                parameters: envelope.parameters,
                recipients: envelope.recipients,
                octets: envelope.body.octets,
                sha256: envelope.body.sha256(),
                bytes: envelope.body.kept,
                chunked: envelope.chunked,
            });
            reply
        };
        self.reply(&reply).await
    }

    async fn timed_out(&mut self) -> Told {
        self.refuse(replies::TIMEOUT).await?;
        Ok(Next::End)
    }

    fn kept_octets(&self) -> usize {
        self.world.tuning().keep_octets
    }
}

/// `FROM:<path> parameters`, with or without a blank behind the colon.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    let rest = rest.trim_start().strip_prefix('<')?;
    let (path, parameters) = rest.split_once('>')?;
    head.eq_ignore_ascii_case(keyword).then_some((path, parameters))
}
