//! Which command it is, whether it may be given now, and what may be shown of it.

use crate::sandbox::Profile;
use crate::sandbox::imap::cursor::Cursor;
use crate::sandbox::imap::framing::{Framed, tag_of};
use crate::sandbox::imap::{Next, Session, Told, replies};
use crate::sandbox::world::{ImapEnd, ImapFault};

/// The untagged lines of a command and its tagged end, without the tag.
pub(super) type Answer = (Vec<String>, String);

/// An end without untagged lines.
pub(super) fn only(end: &str) -> Answer {
    (Vec::new(), end.to_owned())
}

/// Commands before and after the login, then those behind it.
const ANY: [&str; 6] = ["AUTHENTICATE", "CAPABILITY", "ID", "LOGIN", "LOGOUT", "NOOP"];
const MEMBER: [&str; 25] = [
    "APPEND",
    "CHECK",
    "CLOSE",
    "COPY",
    "CREATE",
    "DELETE",
    "EXAMINE",
    "EXPUNGE",
    "FETCH",
    "IDLE",
    "LIST",
    "LSUB",
    "MOVE",
    "NAMESPACE",
    "RENAME",
    "SEARCH",
    "SELECT",
    "STATUS",
    "STORE",
    "SUBSCRIBE",
    "UID COPY",
    "UID EXPUNGE",
    "UID FETCH",
    "UID MOVE",
    "UID SEARCH",
];
const MORE: [&str; 3] = ["UID STORE", "UNSELECT", "UNSUBSCRIBE"];

impl Session {
    pub(super) async fn command(&mut self, line: Vec<u8>) -> Told {
        let whole = match self.whole(line).await? {
            Framed::Whole(whole) => whole,
            Framed::Refused(next) => return Ok(next),
        };
        let tag = tag_of(&whole);
        let mut cursor = Cursor::new(whole.get(tag.len()..).unwrap_or_default());
        let name = (tag != "*").then(|| name(&mut cursor)).flatten().unwrap_or_default();
        match name.as_str() {
            "LOGIN" => self.heard(&format!("{tag} LOGIN <user> <password>")),
            // AUTHENTICATE says itself what may be shown of it.
            "AUTHENTICATE" => {}
            name if known(name) => {
                let shown = whole.split(|octet| *octet == b'\r').next().unwrap_or_default();
                self.heard(&String::from_utf8_lossy(shown));
            }
            // It may be a password or a token that has lost its place: not for the transcript.
            _ => self.heard("<unknown command>"),
        }
        if !known(&name) {
            // The tag may be that word.
            self.say(&format!("<tag> {}", replies::COMMAND_ERROR));
            let reply = format!("{tag} {}\r\n", replies::COMMAND_ERROR);
            self.wire.send(reply.as_bytes()).await?;
            return Ok(Next::Command);
        }
        if ANY.contains(&name.as_str()) {
            return self.any_state(&tag, &name, cursor).await;
        }
        if self.member.is_none() {
            return self.reply(&tag, replies::INVALID_STATE).await;
        }
        if self.world.strikes(ImapFault::ThrottledCommand) {
            self.reply(&tag, &format!("BAD {}", replies::THROTTLED)).await?;
            return self.end(ImapEnd::Error).await;
        }
        if self.member.as_ref().is_some_and(|member| !member.principal.may_open) {
            self.reply(&tag, &format!("BAD {}", replies::NOT_CONNECTED)).await?;
            return self.end(ImapEnd::Error).await;
        }
        self.member_state(&tag, &name, cursor).await
    }

    async fn any_state(&mut self, tag: &str, name: &str, mut cursor: Cursor<'_>) -> Told {
        let plain = cursor.end().is_some();
        match name {
            "CAPABILITY" if plain => {
                let logged_in = self.member.is_some();
                let line = replies::capabilities(self.profile, logged_in, self.sasl_ir);
                self.conclude(tag, name, (vec![line], completed(name))).await
            }
            "NOOP" if plain => self.conclude(tag, name, only(&completed(name))).await,
            "ID" if cursor.space().is_some() => {
                // The literal is not known; version as in the greeting.
                let line = "* ID (\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\" \"version\" \
                            \"15.21\")";
                self.conclude(tag, name, (vec![line.to_owned()], "OK ID completed".to_owned()))
                    .await
            }
            "LOGOUT" if plain => {
                self.send(&signing_off(self.profile)).await?;
                self.reply(tag, &completed(name)).await?;
                Ok(Next::End)
            }
            "LOGIN" | "AUTHENTICATE" if self.member.is_some() => {
                self.reply(tag, replies::INVALID_STATE).await
            }
            "LOGIN" => self.login(tag, cursor).await,
            "AUTHENTICATE" => self.authenticate(tag, cursor).await,
            _ => self.reply(tag, replies::ARGUMENT_ERROR).await,
        }
    }

    async fn member_state(&mut self, tag: &str, name: &str, mut cursor: Cursor<'_>) -> Told {
        let (by_uid, bare) = match name.strip_prefix("UID ") {
            Some(bare) => (true, bare),
            None => (false, name),
        };
        let answer = match bare {
            "APPEND" => self.append(&mut cursor),
            "CREATE" | "DELETE" | "RENAME" | "SUBSCRIBE" | "UNSUBSCRIBE" => {
                self.change_folder(name, &mut cursor)
            }
            "IDLE" if cursor.end().is_some() => return self.idle(tag).await,
            "LIST" | "LSUB" => self.list(name, &mut cursor),
            "NAMESPACE" => {
                Some((vec!["* NAMESPACE ((\"\" \"/\")) NIL NIL".into()], completed(name)))
            }
            "SELECT" | "EXAMINE" => self.select(name, &mut cursor),
            "STATUS" => self.status(&mut cursor),
            _ if self.view.is_none() => Some(only(replies::INVALID_STATE)),
            "CHECK" => Some(only(&completed(name))),
            "CLOSE" | "UNSELECT" => Some(self.close(name)),
            "COPY" | "MOVE" => self.copy(name, by_uid, &mut cursor),
            "EXPUNGE" => self.expunge(by_uid, &mut cursor),
            "FETCH" => return self.fetch(tag, by_uid, &mut cursor).await,
            "SEARCH" => self.search(by_uid, &mut cursor),
            "STORE" => self.store(by_uid, &mut cursor),
            _ => None,
        };
        let answer = answer.unwrap_or_else(|| only(replies::ARGUMENT_ERROR));
        self.conclude(tag, name, answer).await
    }

    /// The lines of the answer, what has changed meanwhile, and the tagged end.
    pub(super) async fn conclude(&mut self, tag: &str, name: &str, answer: Answer) -> Told {
        let (lines, end) = answer;
        for line in lines {
            self.send(&line).await?;
        }
        // While a client counts by number, no number may change (RFC 3501 section 7.4.1).
        let by_number = matches!(name, "FETCH" | "STORE" | "SEARCH");
        self.tell_news(!by_number).await?;
        self.reply(tag, &end).await
    }
}

/// The name in upper case, with the one behind UID; the blank before it goes too.
fn name(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.space()?;
    let name = cursor.word()?;
    if name != "UID" {
        return Some(name);
    }
    cursor.space()?;
    Some(format!("UID {}", cursor.word()?))
}

fn known(name: &str) -> bool {
    ANY.contains(&name) || MEMBER.contains(&name) || MORE.contains(&name)
}

pub(super) fn completed(name: &str) -> String {
    format!("OK {} completed.", name.strip_prefix("UID ").unwrap_or(name))
}

fn signing_off(profile: Profile) -> String {
    match profile {
        Profile::Exo2023 => replies::SIGNING_OFF.replacen("Server IMAP4", "Server 2016 IMAP4", 1),
        Profile::Exo2026 => replies::SIGNING_OFF.to_owned(),
    }
}
