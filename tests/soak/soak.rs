//! A soak: many sessions for many minutes while the upstream, the proxy and Entra flap.
//!
//! `tests/soak/run --minutes 20 --sessions 200` runs it against the release build. mailwicket is a
//! process of its own here, so that its memory and descriptors are its own; Microsoft is the
//! sandbox. At the end everything must add up: each message that was accepted is there once, each
//! connection is counted once, no session is left, memory and descriptors are what they were. Exit
//! code 0 only then.

#![allow(clippy::expect_used, clippy::print_stdout)] // a test may fail, and a report is printed
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)] // small numbers

mod clients;
mod flaps;
mod process;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use mailwicket::sandbox::{Options, Sandbox, world::Mailbox, world::contoso};
use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;

use crate::{
    clients::{Clients, PASSWORD, Tally},
    process::{Sample, Service},
};

/// So many mailboxes; fewer than a third of the sessions, so that some wait for a place.
const MAILBOXES: usize = 60;
/// So many sessions are weighed, three of a mailbox at most.
const WEIGHED: u64 = 150;
/// How much the last quarter may hold of what the second held: allocators breathe.
const GROWTH: f64 = 1.10;

#[derive(Parser)]
struct Arguments {
    /// How long the load lasts
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// How many clients at a time
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// The mailwicket to test
    #[arg(long)]
    binary: std::path::PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let faults = runtime.block_on(soak(&arguments));
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    println!("{}", if faults.is_empty() { "all held" } else { "did not hold" });
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs it all. What did not hold, in words.
async fn soak(arguments: &Arguments) -> Vec<String> {
    let sandbox = Arc::new(sandbox().await);
    let mut service = Service::start(&arguments.binary, &sandbox).await;
    let before = service.sample().await;
    println!("before: {before}");

    let (stop, mut crowd) = (CancellationToken::new(), JoinSet::new());
    let clients = Arc::new(Clients::new(service.ports));
    let mut tally = weigh(&clients, &mut service).await;
    for number in 0..arguments.sessions {
        crowd.spawn(Arc::clone(&clients).come_again(number as u64, stop.clone()));
    }
    let mut weather = JoinSet::new();
    weather.spawn(flaps::flap(Arc::clone(&sandbox), stop.clone()));

    let samples = watch(&mut service, arguments.minutes).await;
    stop.cancel();
    weather.join_all().await;
    sandbox.world().disarm();
    for each in crowd.join_all().await {
        tally.add(each);
    }
    println!("clients: {tally}");

    let after = service.all_gone().await;
    println!("after: {after}");
    let mut faults = tally.wrong.clone();
    faults.extend(mail_adds_up(&sandbox, &tally));
    faults.extend(counts_add_up(&after.metrics, &tally));
    faults.extend(nothing_grew(&before, &samples, &after));
    let open = sandbox.world().counters();
    if (open.smtp_open, open.imap_open, open.pop3_open) != (0, 0, 0) {
        faults.push(format!(
            "sessions left at Microsoft: {} {} {}",
            open.smtp_open, open.imap_open, open.pop3_open
        ));
    }
    if let Err(words) = service.stop() {
        faults.push(words);
    }
    faults
}

/// What a session takes: one that waits, and one whose client does not read.
async fn weigh(clients: &Arc<Clients>, service: &mut Service) -> Tally {
    let (mut tally, mut waiting) = (Tally::default(), Vec::new());
    clients.waits(0, &mut tally).await.expect("a login"); // the token, the password
    let none = service.all_gone().await;
    for number in 0..WEIGHED {
        waiting.push(clients.waits(number, &mut tally).await.expect("a login"));
    }
    let wait = service.sample().await;
    let mut floods = JoinSet::new();
    for mut client in waiting {
        floods.spawn(async move {
            client.flood().await;
            client
        });
    }
    let stalled = floods.join_all().await;
    let stall = service.sample().await;
    let each = |sample: &Sample| sample.resident.saturating_sub(none.resident) / WEIGHED;
    println!("a session takes {} KiB, one that stalls {} KiB", each(&wait), each(&stall));
    drop(stalled);
    service.all_gone().await;
    tally
}

async fn sandbox() -> Sandbox {
    let sandbox =
        Sandbox::start(Options { tarpit: Duration::from_millis(200), ..Options::default() });
    let sandbox = sandbox.await.expect("the sandbox starts");
    let world = sandbox.world();
    world.directory(|directory| {
        directory.mailboxes.extend((0..MAILBOXES).map(|number| Mailbox {
            address: clients::user(number as u64),
            full_access: vec![contoso::APP_OBJECT_ID.to_owned()],
            ..Mailbox::default()
        }));
    });
    world.tune(|tuning| {
        tuning.keep_octets = 200; // the head is enough to know a message by
        tuning.token_life = Some(Duration::from_secs(90)); // so that Entra matters
    });
    sandbox
}

/// Takes a sample now and then, and reloads the configuration in between.
async fn watch(service: &mut Service, minutes: f64) -> Vec<Sample> {
    let (start, length) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let (mut ticks, mut samples) = (interval(Duration::from_secs(5)), Vec::new());
    while start.elapsed() < length {
        ticks.tick().await;
        let sample = service.sample().await;
        if samples.len() % 12 == 0 {
            println!("{:>5} s: {sample}", start.elapsed().as_secs());
            service.reload();
        }
        samples.push(sample);
    }
    samples
}

/// Each message whose acceptance a client heard is there, and none is there twice.
fn mail_adds_up(sandbox: &Sandbox, tally: &Tally) -> Vec<String> {
    let mut there: BTreeMap<String, u32> = BTreeMap::new();
    for message in sandbox.world().messages() {
        let head = String::from_utf8_lossy(&message.bytes).into_owned();
        let id = head.lines().find_map(|line| line.strip_prefix("Subject: "));
        *there.entry(id.unwrap_or("?").to_owned()).or_default() += 1;
    }
    let lost = tally.sent.iter().filter(|id| !there.contains_key(*id)).count();
    let twice = there.values().filter(|times| **times > 1).count();
    println!(
        "mail: {} accepted, {} there, {lost} lost, {twice} twice",
        tally.sent.len(),
        there.len()
    );
    let found = [(lost, "lost"), (twice, "twice")];
    let mut faults: Vec<_> = found
        .iter()
        .filter(|(many, _)| *many > 0)
        .map(|(many, what)| format!("{many} messages {what}"))
        .collect();
    if tally.sent.is_empty() {
        faults.push("no message was sent".to_owned());
    }
    faults
}

/// What mailwicket counted is what its clients did.
fn counts_add_up(metrics: &BTreeMap<String, f64>, tally: &Tally) -> Vec<String> {
    let sum = |name: &str, with: &str| -> u64 {
        let rows = metrics.iter().filter(|(row, _)| row.starts_with(name) && row.contains(with));
        rows.map(|(_, value)| *value as u64).sum()
    };
    let ended = sum("mailwicket_sessions_total{", "");
    let accepted = sum("mailwicket_logins_total{", "outcome=\"accepted\"");
    let live = sum("mailwicket_sessions_live{", "");
    println!("counts: {ended} sessions ended, {accepted} logins accepted, {live} live");
    let mut faults = Vec::new();
    if ended != tally.connections {
        faults.push(format!("{} connections and {ended} sessions", tally.connections));
    }
    // A client that left before the answer did not hear of its login.
    if accepted < tally.logins || accepted > tally.logins + tally.left_early {
        faults.push(format!("clients heard of {} logins, {accepted} are counted", tally.logins));
    }
    if live != 0 {
        faults.push(format!("{live} sessions are said to live"));
    }
    faults
}

fn nothing_grew(before: &Sample, samples: &[Sample], after: &Sample) -> Vec<String> {
    let quarter = samples.len() / 4;
    let most = |samples: &[Sample]| samples.iter().map(|sample| sample.resident).max().unwrap_or(0);
    let (early, late) = (most(&samples[quarter..2 * quarter]), most(&samples[3 * quarter..]));
    println!("memory: at most {early} KiB in the second quarter, {late} KiB in the last");
    let mut faults = Vec::new();
    if late as f64 > early as f64 * GROWTH + 4096.0 {
        faults.push(format!("memory grew from {early} to {late} KiB"));
    }
    if after.descriptors > before.descriptors + 4 {
        faults.push(format!(
            "descriptors: {} before, {} after",
            before.descriptors, after.descriptors
        ));
    }
    faults
}

/// What an account's `password_hash` is made of.
pub(crate) fn hash() -> String {
    mailwicket::secret::hash_password(&PASSWORD.into())
}
