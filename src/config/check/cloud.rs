//! The clouds that Exchange Online is operated in, and what differs between them.
//!
//! Pure. Sources: Microsoft's national cloud pages for the authorities, and for hosts and scopes
//! outside the global cloud what mail programs in use there have built in.

use crate::mail::Protocol;

/// `cloud = "..."`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cloud {
    /// Worldwide, GCC included.
    Global,
    /// GCC High.
    UsGovHigh,
    /// The US Department of Defense.
    UsGovDod,
    /// Operated by 21Vianet.
    China,
    /// outlook.com, hotmail.com, live.com.
    Personal,
}

impl Cloud {
    /// What can be written.
    pub(super) const NAMES: &'static str =
        "\"global\", \"us_gov_high\", \"us_gov_dod\", \"china\" or \"personal\"";

    pub(super) const ALL: [Self; 5] =
        [Self::Global, Self::UsGovHigh, Self::UsGovDod, Self::China, Self::Personal];

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::UsGovHigh => "us_gov_high",
            Self::UsGovDod => "us_gov_dod",
            Self::China => "china",
            Self::Personal => "personal",
        }
    }

    pub(super) fn authority(self) -> &'static str {
        match self {
            Self::Global | Self::Personal => "https://login.microsoftonline.com",
            Self::UsGovHigh | Self::UsGovDod => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// Whether national: one in which there are no personal accounts.
    pub(super) fn is_national(self) -> bool {
        !matches!(self, Self::Global | Self::Personal)
    }

    /// The mail server for a protocol.
    pub(super) fn host(self, protocol: Protocol) -> &'static str {
        match (self, protocol) {
            (Self::Global, Protocol::Smtp) => "smtp.office365.com",
            (Self::Personal, Protocol::Smtp) => "smtp-mail.outlook.com",
            (Self::Global | Self::Personal, _) => "outlook.office365.com",
            (Self::UsGovHigh, Protocol::Smtp) => "smtp.office365.us",
            (Self::UsGovHigh, _) => "outlook.office365.us",
            (Self::UsGovDod, _) => "outlook-dod.office365.us",
            (Self::China, Protocol::Smtp) => "smtp.partner.outlook.cn",
            (Self::China, _) => "partner.outlook.cn",
        }
    }

    /// What an app's own token is for.
    pub(super) fn app_resource(self) -> &'static str {
        match self {
            Self::Global | Self::Personal => "https://outlook.office365.com",
            Self::UsGovHigh => "https://outlook.office365.us",
            Self::UsGovDod => "https://outlook-dod.office365.us",
            Self::China => "https://partner.outlook.cn",
        }
    }

    /// What a user's token is for.
    pub(super) fn user_resource(self) -> &'static str {
        match self {
            Self::Global | Self::Personal => "https://outlook.office.com",
            // For the DoD the sources disagree: the tools for administrators ask for
            // outlook-dod.office365.us, and mail programs for users' scopes of
            // outlook.office365.us. Each is taken for what it is used for; `scope` overrides.
            Self::UsGovHigh | Self::UsGovDod => "https://outlook.office365.us",
            Self::China => "https://partner.outlook.cn",
        }
    }
}
