//! The tour's old programs: one that sends by SMTP, one that reads by IMAP, one by POP3.
//!
//! Each says one line, reads one reply, and writes both down. Deliberately simple, and deliberately
//! nothing of the product's own: they stand for what stands in the corner.

use std::{io, net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything in the demo takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, and what was said on it so far, with credentials and messages masked.
struct Talk {
    stream: BufReader<TcpStream>,
    transcript: Vec<String>,
}

impl Talk {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = BufReader::new(TcpStream::connect(address).await?);
        Ok(Self { stream, transcript: Vec::new() })
    }

    async fn say(&mut self, line: &str, shown: &str) -> io::Result<()> {
        self.transcript.push(format!("C: {shown}"));
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await
    }

    /// A line with its end, which is not written down.
    async fn quiet_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        if timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    /// A line without its end.
    async fn line(&mut self) -> io::Result<String> {
        let line = self.quiet_line().await?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        self.transcript.push(format!("S: {line}"));
        Ok(line)
    }

    fn note_message(&mut self, octets: usize) {
        self.transcript.push(format!("S: ... {octets} octets of message"));
    }
}

/// A scanner: sends by SMTP.
pub(super) struct Scanner(Talk);

impl Scanner {
    /// Connects and reads the greeting.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut scanner = Self(Talk::connect(address).await?);
        scanner.reply().await?;
        Ok(scanner)
    }

    pub(super) fn transcript(&self) -> &[String] {
        &self.0.transcript
    }

    /// EHLO and AUTH LOGIN in two steps; the reply to the password.
    pub(super) async fn log_in(&mut self, user: &str, password: &str) -> io::Result<String> {
        self.say("EHLO scanner.contoso.com").await?;
        self.say("AUTH LOGIN").await?;
        self.say(&BASE64_STANDARD.encode(user)).await?;
        self.send(&BASE64_STANDARD.encode(password), "<password>").await
    }

    /// Sends a message and returns the reply to its end.
    pub(super) async fn send_mail(
        &mut self,
        from: &str,
        to: &str,
        message: &str,
    ) -> io::Result<String> {
        self.say(&format!("MAIL FROM:<{from}>")).await?;
        self.say(&format!("RCPT TO:<{to}>")).await?;
        self.say("DATA").await?;
        let stuffed = message.replace("\r\n.", "\r\n..");
        self.send(
            &format!("{stuffed}\r\n."),
            &format!("... {} octets of message, then a dot", message.len()),
        )
        .await
    }

    /// Says a line and returns the whole reply.
    pub(super) async fn say(&mut self, line: &str) -> io::Result<String> {
        self.send(line, line).await
    }

    async fn send(&mut self, line: &str, shown: &str) -> io::Result<String> {
        self.0.say(line, shown).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let line = self.0.line().await?;
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }
}

/// A ticket system: reads by IMAP.
pub(super) struct TicketSystem(Talk);

impl TicketSystem {
    /// Connects, logs in with LOGIN and opens the inbox; the reply to the first command that is
    /// not OK, or to the last.
    pub(super) async fn connect(
        address: SocketAddr,
        user: &str,
        password: &str,
    ) -> io::Result<(Self, String)> {
        let mut talk = Talk::connect(address).await?;
        talk.line().await?;
        let mut system = Self(talk);
        let login = format!("a1 LOGIN {user} \"{password}\"");
        let mut reply = system.say(&login, &format!("a1 LOGIN {user} <password>")).await?;
        if reply.starts_with("a1 OK") {
            reply = system.say("a2 SELECT INBOX", "a2 SELECT INBOX").await?;
        }
        Ok((system, reply))
    }

    pub(super) fn transcript(&self) -> &[String] {
        &self.0.transcript
    }

    /// The newest message, octet for octet.
    pub(super) async fn newest(&mut self) -> io::Result<Vec<u8>> {
        self.0.say("a3 FETCH * BODY.PEEK[]", "a3 FETCH * BODY.PEEK[]").await?;
        let mut message = Vec::new();
        loop {
            let line = self.0.line().await?;
            if line.starts_with("a3 ") {
                return Ok(message);
            }
            if let Some(octets) = literal(&line) {
                message = vec![0; octets];
                timeout(PATIENCE, self.0.stream.read_exact(&mut message)).await??;
                self.0.note_message(octets);
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn leave(&mut self) -> io::Result<()> {
        self.say("a4 LOGOUT", "a4 LOGOUT").await.map(drop)
    }

    /// The tagged reply.
    async fn say(&mut self, line: &str, shown: &str) -> io::Result<String> {
        self.0.say(line, shown).await?;
        loop {
            let reply = self.0.line().await?;
            if !reply.starts_with('*') {
                return Ok(reply);
            }
        }
    }
}

/// The length of the literal that a line ends in.
fn literal(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

/// A mail robot: fetches by POP3.
pub(super) struct Robot(Talk);

impl Robot {
    /// Connects and logs in with USER and PASS; the reply to PASS.
    pub(super) async fn connect(
        address: SocketAddr,
        user: &str,
        password: &str,
    ) -> io::Result<(Self, String)> {
        let mut robot = Self(Talk::connect(address).await?);
        robot.0.line().await?;
        robot.say(&format!("USER {user}"), &format!("USER {user}")).await?;
        let reply = robot.say(&format!("PASS {password}"), "PASS <password>").await?;
        Ok((robot, reply))
    }

    pub(super) fn transcript(&self) -> &[String] {
        &self.0.transcript
    }

    /// The first message, octet for octet.
    pub(super) async fn first(&mut self) -> io::Result<Vec<u8>> {
        let status = self.say("RETR 1", "RETR 1").await?;
        let mut message = Vec::new();
        while status.starts_with("+OK") {
            let line = self.0.quiet_line().await?;
            match line.strip_prefix(b".") {
                Some(b"\r\n") => break,
                Some(stuffed) => message.extend_from_slice(stuffed),
                None => message.extend_from_slice(&line),
            }
        }
        self.0.note_message(message.len());
        Ok(message)
    }

    /// Says goodbye.
    pub(super) async fn leave(&mut self) -> io::Result<()> {
        self.say("QUIT", "QUIT").await.map(drop)
    }

    async fn say(&mut self, line: &str, shown: &str) -> io::Result<String> {
        self.0.say(line, shown).await?;
        self.0.line().await
    }
}
