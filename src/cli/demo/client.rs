//! The tour's legacy client: says one line, reads one reply, and writes both down.
//!
//! Deliberately simple and deliberately not the product's own SMTP client: it stands for the
//! scanner.

use std::{io, net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything in the demo takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connected legacy client and what was said so far, with credentials masked.
pub(super) struct Scanner {
    stream: BufReader<TcpStream>,
    pub(super) transcript: Vec<String>,
}

impl Scanner {
    /// Connects and reads the greeting.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = BufReader::new(TcpStream::connect(address).await?);
        let mut scanner = Self { stream, transcript: Vec::new() };
        scanner.reply().await?;
        Ok(scanner)
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
        self.transcript.push(format!("C: {shown}"));
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            if timeout(PATIENCE, self.stream.read_line(&mut line)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.transcript.push(format!("S: {}", line.trim_end()));
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }
}
