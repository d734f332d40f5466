//! The first command behind a login, and the last: whether a mailbox opens, and a polite end.
//!
//! Exchange's older IMAP servers say OK to a login and open the mailbox at the first command, which
//! then is answered `BAD User is authenticated but not connected.` NAMESPACE (RFC 2342) is such a
//! command, changes nothing and selects nothing. For diagnosis only: in a session these words are
//! the client's. Must never know what a client wants.

use bytes::BytesMut;

use super::{
    Failure, KEPT, REPLY_LINE,
    imap::{is_not_connected, is_temporary},
};
use crate::mail::{
    Protocol, Step,
    wire::{Framed, one_line, take_line},
};

/// The tag that no login of ours has.
const TAG: &str = "N1";
/// The phase, for failures.
const PHASE: &str = "first command";

/// Asks once whether the mailbox is there.
#[derive(Debug, Default)]
pub struct FirstCommand {
    asked: bool,
}

impl FirstCommand {
    /// What to do next, of an IMAP session that is logged in.
    pub fn step(&mut self, input: &mut BytesMut) -> Step<(), Failure> {
        if !self.asked {
            self.asked = true;
            return Step::Write(format!("{TAG} NAMESPACE\r\n").into_bytes());
        }
        loop {
            let line = match take_line(input, REPLY_LINE) {
                Framed::Line(line) => line,
                Framed::Partial => return Step::Read,
                Framed::TooLong => {
                    let what = format!("a line beyond {REPLY_LINE} octets");
                    return Step::Fail(Failure::Protocol { what, phase: PHASE });
                }
            };
            let line = one_line(&line, KEPT);
            let (first, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let word = rest.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let reply = rest.to_owned();
            match (first, word.as_str()) {
                ("*", "BYE") => return Step::Fail(Failure::Unavailable { reply, phase: PHASE }),
                (TAG, "NO" | "BAD") if is_temporary(&reply) => {
                    return Step::Fail(Failure::Unavailable { reply, phase: PHASE });
                }
                (TAG, status) if status == "NO" || is_not_connected(&reply) => {
                    let (detail, inline_octets) = (None, None);
                    return Step::Fail(Failure::Rejected { reply, detail, inline_octets });
                }
                // OK; or BAD, because it does not know the command, which says nothing of the
                // mailbox.
                (TAG, _) => return Step::Done(()),
                _ => {}
            }
        }
    }
}

/// How a client of this protocol says that it goes.
pub fn farewell(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Imap => b"N2 LOGOUT\r\n",
        Protocol::Smtp | Protocol::Pop3 => b"QUIT\r\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these octets, in one piece or octet by octet.
    fn answered(said: &str, at_once: bool) -> Result<(), String> {
        let mut command = FirstCommand::default();
        let mut input = BytesMut::new();
        let mut rest = said.bytes();
        let mut asked = 0;
        loop {
            match command.step(&mut input) {
                Step::Write(bytes) => {
                    assert_eq!(bytes, b"N1 NAMESPACE\r\n");
                    asked += 1;
                    if at_once {
                        input.extend(rest.by_ref());
                    }
                }
                Step::Read => match rest.next() {
                    Some(octet) => input.extend([octet]),
                    None => return Err("silent".to_owned()),
                },
                Step::Done(()) => {
                    assert_eq!(asked, 1);
                    return Ok(());
                }
                Step::Fail(failure) => return Err(failure.to_string()),
                Step::StartTls => panic!("TLS"),
            }
        }
    }

    #[test]
    fn the_first_answer_tells_whether_the_mailbox_opens() {
        let rows: [(&str, Result<(), &str>); 11] = [
            ("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\nN1 OK NAMESPACE completed.\r\n", Ok(())),
            ("N1 OK\n", Ok(())),
            ("* 3 EXISTS\r\nM2 OK late\r\nN1 ok done\r\n", Ok(())),
            ("N1 BAD Command unknown\r\n", Ok(())),
            ("N1 NO Not you\r\n", Err("refused the login: NO Not you")),
            (
                "N1 BAD User is authenticated but not connected.\r\n* BYE Connection closed. 14\r\n",
                Err("refused the login: BAD User is authenticated but not connected."),
            ),
            (
                "N1 NO User is Authenticated but not connected\r\n",
                Err("refused the login: NO User"),
            ),
            (
                "N1 BAD Request is throttled. Suggested Backoff Time: 5 milliseconds\r\n",
                Err("not available (first command): BAD Request"),
            ),
            ("N1 NO Server Unavailable. 15\r\n", Err("not available (first command): NO Server")),
            ("* BYE Connection closed. 14\r\n", Err("not available (first command): BYE")),
            ("* OK still here\r\n", Err("silent")),
        ];
        let mut ran = 0;
        for (said, expected) in rows {
            for at_once in [true, false] {
                match (answered(said, at_once), expected) {
                    (Ok(()), Ok(())) => {}
                    (Err(error), Err(words)) => assert!(error.contains(words), "{said}: {error}"),
                    (outcome, _) => panic!("{said}: {outcome:?}"),
                }
                ran += 1;
            }
        }
        assert_eq!(ran, 22);
        let long = format!("* {}\r\n", "x".repeat(REPLY_LINE));
        assert!(answered(&long, true).unwrap_err().contains("beyond"));
    }
}
