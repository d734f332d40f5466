//! One way that was walked, in words: the token first, then the login.

use super::{
    Finding, Findings, Verdict, Words,
    claims::{self, Remark},
    commands,
};
use crate::{
    config::Listener,
    mail::Protocol,
    net::authority,
    session::probe::{Place, Probe, Probed, Seen, Trouble},
    token::claims::Claims,
};

/// Adds what was met on the way of this user through this listener.
pub(super) fn describe(
    walked: Result<Probed, Trouble>,
    listener: &Listener,
    user: &str,
    findings: &mut Findings,
) {
    let upstream = &listener.upstream;
    let way = format!("{} at {}", listener.protocol, authority(&upstream.host, upstream.port));
    let probed = match walked {
        Ok(probed) => probed,
        Err(trouble) => {
            return findings.add(Finding::failure(format!("{user}: over {way}"), trouble.into()));
        }
    };
    let whose = whose(&probed);
    let mut remarks = Vec::new();
    let mut said = None;
    match &probed.token {
        Seen::Nothing => {}
        Seen::Opaque => findings.add(Finding::fine(format!(
            "{whose}: there is a token; it is opaque, as those of personal accounts are, so what it allows shows only at the server"
        ))),
        Seen::Claims(claims) => {
            findings.add(Finding::fine(format!("{whose}: {}", claims::summary(claims))));
            remarks = claims::judge(claims, &probed, listener);
            said = Some((**claims).clone());
        }
    }
    let works = probed.outcome.is_ok();
    let is_right = !remarks.iter().any(|remark| remark.grave);
    for Remark { grave, error, remedy } in remarks {
        // A login that worked is proof; what the token says is not.
        let finding = if grave && !works { Finding::failure } else { Finding::warning };
        findings.add(finding(whose.clone(), Words::new(error, remedy)));
    }
    findings.add(login(probed, listener, &way, said.as_ref(), is_right));
}

/// Whose token it is, as `proxy.toml` says it.
fn whose(probed: &Probed) -> String {
    if probed.app.is_app_only() {
        format!("entra.{}", probed.app.name)
    } else {
        format!("{} by entra.{}", probed.user, probed.app.name)
    }
}

fn login(
    probed: Probed,
    listener: &Listener,
    way: &str,
    claims: Option<&Claims>,
    is_right: bool,
) -> Finding {
    let Probed { user, mailbox, app, outcome, .. } = probed;
    let as_mailbox =
        if mailbox.eq_ignore_ascii_case(&user) { String::new() } else { format!(" as {mailbox}") };
    let trouble = match outcome {
        Ok(Probe::LoggedIn) if listener.protocol == Protocol::Smtp && app.is_app_only() => {
            return Finding::fine(format!(
                "{user}: logged in over {way}{as_mailbox}; whether the app may send for this mailbox, Exchange says only at the first message"
            ));
        }
        Ok(Probe::LoggedIn) => {
            return Finding::fine(format!("{user}: logged in over {way}{as_mailbox}"));
        }
        Ok(Probe::Reached) => {
            return Finding::fine(format!(
                "{user}: reached {way}; not logged in, because Entra judges the password that the client sends"
            ));
        }
        Err(trouble) => trouble,
    };
    let reply = match &trouble.place {
        Place::SignIn => {
            return Finding::failure(format!("{user}: needs sign-in"), trouble.into());
        }
        Place::Refused(reply) => reply.clone(),
        Place::Here | Place::Between => {
            return Finding::failure(format!("{user}: over {way}{as_mailbox}"), trouble.into());
        }
    };
    let by_app = app.is_app_only();
    let commands = commands::for_refusal(&reply, listener, &mailbox, by_app, claims);
    let mut words = Words::from(trouble);
    if !commands.is_empty() {
        let ids = commands.iter().any(|line| line.contains("ServicePrincipal"));
        let mut remedy = String::from(
            "have an administrator of Exchange run these lines; they may take an hour to work.",
        );
        if ids {
            remedy += " ObjectId is that of the enterprise application, as the token says, and not of the app registration; should the app be known already with another one (Get-ServicePrincipal), remove that first with Remove-ServicePrincipal.";
        }
        if !is_right {
            remedy = format!("first mend what is said above of the token; then {remedy}");
        }
        words.remedy = Some(remedy);
    }
    let verdict = Verdict::Failure(words);
    Finding { what: format!("{user}: over {way}{as_mailbox}"), verdict, commands }
}
