//! What a token is asked for.

use crate::sandbox::entra::errors::{self, Refusal};

/// The resources that have a service principal in every tenant.
const RESOURCES: [&str; 3] =
    ["https://outlook.office365.com", "https://outlook.office.com", "https://graph.microsoft.com"];
/// Scopes of `OpenID` Connect, which belong to no resource.
const OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// A scope that was understood.
pub(super) struct Wanted {
    pub(super) resource: String,
    pub(super) permissions: Vec<String>,
    pub(super) offline: bool,
    pub(super) openid: bool,
    pub(super) profile: bool,
}

impl Wanted {
    /// Reads a scope: permissions of one resource, and those of `OpenID`.
    pub(super) fn read(scope: &str, tenant: &str) -> Result<Self, Refusal> {
        let mut wanted = Self {
            resource: String::new(),
            permissions: vec![],
            offline: false,
            openid: false,
            profile: false,
        };
        for part in scope.split_ascii_whitespace() {
            if OPENID.contains(&part) {
                wanted.offline |= part == "offline_access";
                wanted.openid |= part == "openid";
                wanted.profile |= part == "profile";
                continue;
            }
            // `https://host//.default` keeps the slash that belongs to the resource.
            let Some((resource, permission)) = part.rsplit_once('/') else {
                return Err(errors::scope_invalid(scope));
            };
            if !resource.contains("://") || permission.is_empty() {
                return Err(errors::scope_invalid(scope));
            }
            if !wanted.resource.is_empty() && wanted.resource != resource {
                return Err(errors::several_resources(scope));
            }
            resource.clone_into(&mut wanted.resource);
            wanted.permissions.push(permission.to_owned());
        }
        if wanted.permissions.is_empty() {
            return Err(errors::scope_invalid(scope));
        }
        if !is_known(&wanted.resource) {
            return Err(errors::resource_unknown(&wanted.resource, tenant));
        }
        Ok(wanted)
    }
}

/// Whether every tenant has a service principal of this resource.
pub(super) fn is_known(resource: &str) -> bool {
    RESOURCES.contains(&resource.trim_end_matches('/'))
}

pub(super) fn is_exchange(resource: &str) -> bool {
    resource.contains("outlook.office")
}
