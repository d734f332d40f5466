//! What goes wrong, and when: something every few seconds, then nothing for a while.

use std::{sync::Arc, time::Duration};

use mailwicket::sandbox::{
    Sandbox,
    world::{Fault, ImapFault, Pop3Fault, ProxyFault, SmtpFault, TokenFault},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clients::Dice;

/// How long a fault lasts, and how long the calm after it.
const BAD: Duration = Duration::from_secs(3);
const CALM: Duration = Duration::from_secs(2);

/// Makes weather until told to stop. Only faults that pass: none of them is the user's, so no client
/// may hear that its login is refused for good.
pub(crate) async fn flap(sandbox: Arc<Sandbox>, stop: CancellationToken) {
    let (faults, mut dice) = (faults(), Dice::new(7));
    loop {
        let fault = faults[dice.below(faults.len() as u64) as usize].clone();
        sandbox.world().arm(fault);
        if stop.run_until_cancelled(sleep(BAD)).await.is_none() {
            return;
        }
        sandbox.world().disarm();
        if stop.run_until_cancelled(sleep(CALM)).await.is_none() {
            return;
        }
    }
}

fn faults() -> Vec<Fault> {
    vec![
        TokenFault::Throttled(Some(2)).into(),
        TokenFault::ServiceUnavailable.into(),
        TokenFault::Hang.into(),
        TokenFault::TruncatedJson.into(),
        TokenFault::HtmlPage.into(),
        TokenFault::Reset.into(),
        ProxyFault::BadGateway.into(),
        ProxyFault::EarlyOkThenClose.into(),
        ProxyFault::ConnectFailed.into(),
        ProxyFault::Hang.into(),
        ProxyFault::GlueGreeting.into(),
        ProxyFault::ByteByByte.into(),
        SmtpFault::ServiceNotAvailable.into(),
        SmtpFault::DropOnConnect.into(),
        SmtpFault::BannerDelayed(Duration::from_secs(2)).into(),
        SmtpFault::EhloSplit.into(),
        SmtpFault::TemporaryAuthFailure.into(),
        SmtpFault::DropOnAuth.into(),
        SmtpFault::CloseMidData.into(),
        SmtpFault::DropAfterData.into(),
        SmtpFault::TemporaryServerError.into(),
        ImapFault::DropOnConnect.into(),
        ImapFault::ByeGreeting.into(),
        ImapFault::DropOnAuth.into(),
        ImapFault::ServerUnavailable.into(),
        ImapFault::ThrottledCommand.into(),
        ImapFault::SplitFetch.into(),
        ImapFault::DropMidFetch.into(),
        Pop3Fault::DropOnConnect.into(),
        Pop3Fault::ProtocolError.into(),
        Pop3Fault::TemporaryFailure.into(),
        Pop3Fault::InUse.into(),
        Pop3Fault::DropMidRetr.into(),
    ]
}
