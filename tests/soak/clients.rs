//! Clients of every kind, good and bad, that come again and again.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::MAILBOXES;

/// Every account's.
pub(crate) const PASSWORD: &str = "soak-password";
/// Beyond this a session is stuck: longer than every limit of mailwicket's before it answers.
const STUCK: Duration = Duration::from_secs(90);
/// So many things that went wrong are told; the rest are like them.
const TOLD: usize = 10;

/// The user of this number, who is the same as that of `number + MAILBOXES`.
pub(crate) fn user(number: u64) -> String {
    format!("soak{}@contoso.com", number % MAILBOXES as u64)
}

/// What clients saw.
#[derive(Default)]
pub(crate) struct Tally {
    /// Connections that were opened.
    pub(crate) connections: u64,
    /// Logins that were accepted.
    pub(crate) logins: u64,
    /// Logins that may have been accepted, and whose client did not wait for the answer.
    pub(crate) left_early: u64,
    /// Sessions that ended early with words that say: again later.
    pub(crate) later: u64,
    /// Sessions that ended without words.
    pub(crate) broken: u64,
    /// Logins that were rightly refused.
    pub(crate) refused: u64,
    /// The messages that were accepted.
    pub(crate) sent: Vec<String>,
    /// What must never be.
    pub(crate) wrong: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.logins += other.logins;
        self.left_early += other.left_early;
        self.later += other.later;
        self.broken += other.broken;
        self.refused += other.refused;
        self.sent.extend(other.sent);
        self.wrong.extend(other.wrong);
        self.wrong.truncate(TOLD);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, logins, left_early, later, broken, refused, sent, .. } = self;
        write!(
            f,
            "{connections} connections, {logins} logins, {refused} rightly refused, {later} told to \
             come later, {broken} broken off, {left_early} left early, {} messages",
            sent.len()
        )
    }
}

/// Where the clients go.
pub(crate) struct Clients {
    ports: [u16; 3],
}

/// How a session of a client ended.
enum End {
    Well,
    /// It was told to come again later.
    Later,
}

impl Clients {
    pub(crate) fn new(ports: [u16; 3]) -> Self {
        Self { ports }
    }

    /// A client that has logged in to send, and waits.
    pub(crate) async fn waits(&self, number: u64, tally: &mut Tally) -> io::Result<Client> {
        let mut client = self.connect(0, tally).await?;
        match client.log_in_smtp(&user(number), tally).await? {
            None => Ok(client),
            Some(told) => Err(io::Error::other(told)),
        }
    }

    /// One client after the other, until told to stop.
    pub(crate) async fn come_again(
        self: std::sync::Arc<Self>,
        number: u64,
        stop: CancellationToken,
    ) -> Tally {
        let (mut tally, mut dice, mut round) = (Tally::default(), Dice::new(number), 0);
        while !stop.is_cancelled() {
            round += 1;
            let id = format!("soak {number}.{round}");
            match timeout(STUCK, self.come(number, &id, &mut dice, &mut tally)).await {
                Ok(Ok(End::Well)) => {}
                Ok(Ok(End::Later)) => tally.later += 1,
                Ok(Err(_)) => tally.broken += 1,
                Err(_) => tally.wrong.push(format!("{id} got no answer within {STUCK:?}")),
            }
            sleep(Duration::from_millis(100 + dice.below(900))).await;
        }
        tally
    }

    async fn come(
        &self,
        number: u64,
        id: &str,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> io::Result<End> {
        let user = user(number);
        match dice.below(20) {
            0..=8 => self.sends(&user, id, dice, tally).await,
            9..=12 => self.reads_imap(&user, dice, tally).await,
            13..=15 => self.reads_pop3(&user, tally).await,
            16 => self.guesses(number, &user, tally).await,
            17 => self.babbles(dice, tally).await,
            18 => self.leaves_early(&user, dice, tally).await,
            _ => self.does_not_read(&user, tally).await,
        }
    }

    async fn connect(&self, protocol: usize, tally: &mut Tally) -> io::Result<Client> {
        let client = Client::connect(self.ports[protocol], None).await?;
        tally.connections += 1;
        Ok(client)
    }

    async fn sends(
        &self,
        user: &str,
        id: &str,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> io::Result<End> {
        let mut client = self.connect(0, tally).await?;
        if client.log_in_smtp(user, tally).await?.is_some() {
            return Ok(End::Later);
        }
        let lines = 1 + dice.below(2000);
        for line in [
            format!("MAIL FROM:<{user}>"),
            "RCPT TO:<you@example.net>".to_owned(),
            "DATA".to_owned(),
        ] {
            if !client.say_smtp(&line).await?.starts_with(['2', '3']) {
                return Ok(End::Later);
            }
        }
        client.write(format!("Subject: {id}\r\n\r\n").as_bytes()).await?;
        for _ in 0..lines {
            client.write(b"A line of some length, as there are so many of in the mail of this world.\r\n").await?;
        }
        let verdict = client.say_smtp(".").await?;
        if verdict.starts_with('2') {
            tally.sent.push(id.to_owned());
        }
        client.say_smtp("QUIT").await?;
        Ok(if verdict.starts_with('2') { End::Well } else { End::Later })
    }

    async fn reads_imap(&self, user: &str, dice: &mut Dice, tally: &mut Tally) -> io::Result<End> {
        let mut client = self.connect(1, tally).await?;
        client.line().await?;
        let told = client.say_imap("A1", &format!("LOGIN {user} {PASSWORD}")).await?;
        if !tally.takes(&told, "A1 OK", "A1 NO [AUTH") {
            return Ok(End::Later);
        }
        client.say_imap("A2", "SELECT INBOX").await?;
        if dice.below(2) == 0 {
            client.say_imap("A3", "FETCH 1 BODY[]").await?;
        } else {
            client.write(b"A3 IDLE\r\n").await?;
            client.line().await?;
            sleep(Duration::from_millis(dice.below(4000))).await;
            client.write(b"DONE\r\n").await?;
            client.until_tag("A3").await?;
        }
        client.say_imap("A4", "LOGOUT").await?;
        Ok(End::Well)
    }

    async fn reads_pop3(&self, user: &str, tally: &mut Tally) -> io::Result<End> {
        let mut client = self.connect(2, tally).await?;
        client.line().await?;
        client.say(&format!("USER {user}")).await?;
        let told = client.say(&format!("PASS {PASSWORD}")).await?;
        if !tally.takes(&told, "+OK", "-ERR [AUTH]") {
            return Ok(End::Later);
        }
        if client.say("RETR 1").await?.starts_with("+OK") {
            while client.line().await?.trim_end() != "." {}
            client.say("DELE 1").await?;
        }
        client.say("QUIT").await?;
        Ok(End::Well)
    }

    /// With a wrong password, from an address where nobody else is made to wait.
    async fn guesses(&self, number: u64, user: &str, tally: &mut Tally) -> io::Result<End> {
        let [_, _, third, fourth] = (number as u32).to_be_bytes();
        let from = Ipv4Addr::new(127, 1, third, fourth.max(1));
        let mut client = Client::connect(self.ports[0], Some(from)).await?;
        tally.connections += 1;
        client.reply_smtp().await?;
        client.say_smtp("EHLO soak.example").await?;
        let told = client.say_smtp(&format!("AUTH PLAIN {}", plain(user, "wrong"))).await?;
        if told.starts_with('2') {
            tally.wrong.push("a wrong password was let in".to_owned());
        }
        tally.refused += u64::from(told.starts_with("535"));
        Ok(End::Well)
    }

    async fn babbles(&self, dice: &mut Dice, tally: &mut Tally) -> io::Result<End> {
        let mut client = self.connect(dice.below(3) as usize, tally).await?;
        for _ in 0..dice.below(40) {
            let babble: Vec<u8> = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect();
            client.write(&babble).await?;
            client.write(b"\r\n").await?;
        }
        while !client.line().await?.is_empty() {}
        Ok(End::Well)
    }

    /// Octet by octet, and gone before the answer, wherever that is.
    async fn leaves_early(
        &self,
        user: &str,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> io::Result<End> {
        let mut client = self.connect(0, tally).await?;
        tally.left_early += 1;
        let words = format!("EHLO soak.example\r\nAUTH PLAIN {}\r\n", plain(user, PASSWORD));
        let end = dice.below(words.len() as u64 + 30) as usize;
        for octet in words.bytes().take(end) {
            client.write(&[octet]).await?;
        }
        Ok(End::Well)
    }

    /// Logs in and asks for more than it reads.
    async fn does_not_read(&self, user: &str, tally: &mut Tally) -> io::Result<End> {
        let mut client = self.connect(0, tally).await?;
        if client.log_in_smtp(user, tally).await?.is_some() {
            return Ok(End::Later);
        }
        client.flood().await;
        sleep(Duration::from_secs(2)).await;
        Ok(End::Well)
    }
}

impl Tally {
    /// Whether a login was taken. That it is refused for good must not be: the password is right.
    fn takes(&mut self, told: &str, taken: &str, refused: &str) -> bool {
        self.logins += u64::from(told.starts_with(taken));
        if told.starts_with(refused) {
            self.wrong.push(format!("an outage was told as a refusal: {}", told.trim_end()));
        }
        told.starts_with(taken)
    }
}

fn plain(user: &str, password: &str) -> String {
    BASE64_STANDARD.encode(format!("\0{user}\0{password}"))
}

/// A connection, line by line.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(port: u16, from: Option<Ipv4Addr>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::from((from, 0)))?;
        }
        let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for answers and reads none, until nothing moves any more.
    pub(crate) async fn flood(&mut self) {
        let questions = "NOOP\r\n".repeat(2000);
        let patience = Duration::from_millis(500);
        while let Ok(Ok(())) = timeout(patience, self.write(questions.as_bytes())).await {}
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.write_all(octets).await
    }

    /// Empty at the end.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).await?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// A line that must come.
    async fn next(&mut self) -> io::Result<String> {
        let line = self.line().await?;
        if line.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
    }

    async fn say(&mut self, line: &str) -> io::Result<String> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.next().await
    }

    async fn reply_smtp(&mut self) -> io::Result<String> {
        loop {
            let line = self.next().await?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    async fn say_smtp(&mut self, line: &str) -> io::Result<String> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply_smtp().await
    }

    async fn say_imap(&mut self, tag: &str, line: &str) -> io::Result<String> {
        self.write(format!("{tag} {line}\r\n").as_bytes()).await?;
        self.until_tag(tag).await
    }

    async fn until_tag(&mut self, tag: &str) -> io::Result<String> {
        loop {
            let line = self.next().await?;
            if line.starts_with(tag) {
                return Ok(line);
            }
        }
    }

    /// `None` when logged in, otherwise what was said.
    async fn log_in_smtp(&mut self, user: &str, tally: &mut Tally) -> io::Result<Option<String>> {
        let greeting = self.reply_smtp().await?;
        if !greeting.starts_with("220") {
            return Ok(Some(greeting));
        }
        self.say_smtp("EHLO soak.example").await?;
        let told = self.say_smtp(&format!("AUTH PLAIN {}", plain(user, PASSWORD))).await?;
        Ok(if tally.takes(&told, "235", "5") { None } else { Some(told) })
    }
}

/// Numbers that are the same in every run (xorshift64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// From 0 to one less than `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}
