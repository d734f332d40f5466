//! `scope` or `resource`: what tokens are for.

use toml::Spanned;

use super::{
    super::{Audience, form::is_guid},
    Checker,
    app::Written,
    cloud::Cloud,
    grant::Kind,
};

/// What a token for a user's mail may be used for, each by its name at the resource.
const MAIL: [&str; 3] = ["SMTP.Send", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All"];

impl Checker<'_> {
    pub(super) fn audience(
        &mut self,
        written: Written<'_>,
        kind: Option<Kind>,
        cloud: Option<Cloud>,
        tenant: Option<&str>,
    ) -> Option<Audience> {
        let table = written.table;
        match (&table.scope, &table.resource) {
            (Some(_), Some(resource)) => {
                let words =
                    format!("{} and scope exclude each other; remove one", written.key("resource"));
                self.problems.at(resource.span(), words);
                None
            }
            (None, Some(resource)) => {
                self.resource(&written.key("resource"), resource).map(Audience::Resource)
            }
            (Some(scope), None) => {
                self.scope(&written.key("scope"), scope, kind?).map(Audience::Scope)
            }
            (None, None) => Some(usual(kind?, cloud?, tenant)),
        }
    }

    /// An application's URI or id.
    fn resource(&mut self, key: &str, given: &Spanned<String>) -> Option<String> {
        let value = given.get_ref().trim();
        let legal = is_guid(value)
            || ["https://", "api://"].iter().any(|scheme| {
                let rest = value.strip_prefix(scheme).unwrap_or_default();
                !rest.is_empty() && rest.bytes().all(|octet| octet.is_ascii_graphic())
            });
        if !legal || value.ends_with("/.default") {
            let words = format!(
                "{key} is no resource; write such as \"https://outlook.office365.com\" (what ends in /.default is a scope)"
            );
            self.problems.at(given.span(), words);
            return None;
        }
        Some(value.to_owned())
    }

    fn scope(&mut self, key: &str, given: &Spanned<String>, kind: Kind) -> Option<String> {
        let mut words: Vec<_> = given.get_ref().split_whitespace().collect();
        // RFC 6749 section 3.3: scope-token
        let legal = |word: &&str| {
            word.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\')
        };
        if words.is_empty() || !words.iter().all(legal) {
            let words = format!("{key} is empty or no scope; leave it out for the default");
            self.problems.at(given.span(), words);
            return None;
        }
        if words.iter().any(|word| word.starts_with("https://graph.microsoft.com/")) {
            let words = format!(
                "{key}: Exchange Online's mail servers take no token for Microsoft Graph; leave it out for the default"
            );
            self.problems.warn(given.span(), &words);
        }
        if kind.is_app_only() && !words.iter().all(|word| word.ends_with("/.default")) {
            let words = format!(
                "{key}: with grant = \"{}\" Entra takes only a scope that ends in /.default; leave it out for the default",
                kind.name()
            );
            self.problems.warn(given.span(), &words);
        }
        for more in kind.standing_scopes() {
            if !words.contains(more) {
                words.push(more);
            }
        }
        Some(words.join(" "))
    }
}

/// What tokens are for where the file does not say.
fn usual(kind: Kind, cloud: Cloud, tenant: Option<&str>) -> Audience {
    match kind {
        Kind::Identity => Audience::Resource(cloud.app_resource().to_owned()),
        Kind::App | Kind::Workload => Audience::Scope(format!("{}/.default", cloud.app_resource())),
        // Entra operated by 21Vianet takes passwords at the v1.0 endpoint.
        Kind::Password if cloud == Cloud::China => {
            Audience::Resource(cloud.user_resource().to_owned())
        }
        Kind::Password | Kind::Browser | Kind::Device => {
            let resource = cloud.user_resource();
            // A personal account has no admin who could have consented to a default.
            let each = cloud == Cloud::Personal || matches!(tenant, Some("consumers" | "common"));
            let names = if each { &MAIL[..] } else { &[".default"] };
            let own = names.iter().map(|name| format!("{resource}/{name}"));
            let standing = kind.standing_scopes().iter().map(|&scope| scope.to_owned());
            Audience::Scope(own.chain(standing).collect::<Vec<_>>().join(" "))
        }
    }
}
