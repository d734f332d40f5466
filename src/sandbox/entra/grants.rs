//! Which token a request gets, or why none: the checks in Entra's order.

use crate::sandbox::entra::errors::{self, Refusal};
use crate::sandbox::entra::form::Form;
use crate::sandbox::entra::jwt::{self, Claims, Renewal};
use crate::sandbox::entra::{authorize, device};
use crate::sandbox::moment::{Moment, guid, random_hex};
use crate::sandbox::world::{App, Directory, Standing, Tuning, User, World};

/// The resources that have a service principal in every tenant.
const RESOURCES: [&str; 3] =
    ["https://outlook.office365.com", "https://outlook.office.com", "https://graph.microsoft.com"];
/// Scopes of `OpenID` Connect, which belong to no resource.
const OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// A token response.
pub(super) struct Issued {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    /// Who signed in, where `openid` was asked for.
    pub(super) id_token: Option<String>,
    /// The delegated scope; none for app-only tokens.
    pub(super) scope: Option<String>,
    /// Seconds.
    pub(super) expires_in: u64,
}

/// Answers a token request for this tenant, as the path of the endpoint names it.
pub(super) fn issue(
    world: &World,
    tenant: &str,
    form: &Form,
    now: Moment,
) -> Result<Issued, Refusal> {
    let grant = form.value("grant_type").ok_or_else(|| errors::missing_parameter("grant_type"))?;
    let tuning = world.tuning();
    let authority = world.authority();
    let request = Request { form, now, key: world.key(), tuning: &tuning, authority: &authority };
    world.people_and_sign_ins(|directory, sign_ins| match grant {
        "client_credentials" => request.client_credentials(directory, tenant),
        "password" => request.password(directory, tenant),
        "refresh_token" => request.refresh(directory, tenant),
        "authorization_code" => authorize::redeem(&request, directory, sign_ins, tenant),
        device::GRANT => device::poll(&request, directory, sign_ins, tenant),
        other => Err(errors::unsupported_grant(other)),
    })
}

pub(super) struct Request<'a> {
    form: &'a Form,
    pub(super) now: Moment,
    pub(super) key: &'a [u8; 32],
    tuning: &'a Tuning,
    /// The sandbox's own, for the issuer of id tokens.
    pub(super) authority: &'a str,
}

impl Request<'_> {
    fn client_credentials(&self, directory: &Directory, tenant: &str) -> Result<Issued, Refusal> {
        if is_shared_endpoint(tenant) {
            return Err(errors::tenant_missing());
        }
        let tenant = tenant_id(directory, tenant)?;
        let app = self.app(directory, &tenant, true)?;
        let scope = self.form.value("scope").ok_or_else(|| errors::missing_parameter("scope"))?;
        let wanted = Wanted::read(scope, &tenant)?;
        if wanted.permissions != [".default"] {
            return Err(errors::not_default_scope(scope));
        }
        let claims = Claims {
            roles: if exchange(&wanted.resource) { app.roles.clone() } else { vec![] },
            idtyp: "app".to_owned(),
            oid: app.object_id.clone(),
            ..self.claims(app, wanted.resource)
        };
        Ok(self.issued(claims, None, None))
    }

    fn password(&self, directory: &mut Directory, tenant: &str) -> Result<Issued, Refusal> {
        if is_one_of(tenant, &["common", "consumers"]) {
            return Err(errors::grant_needs_tenant());
        }
        let field = |name| self.form.value(name).ok_or_else(|| errors::missing_parameter(name));
        let username = field("username")?.to_owned();
        let tenant = users_tenant(directory, tenant, &username)?;
        let app = self.app(directory, &tenant, false)?.clone();
        let password = field("password")?;
        let scope = field("scope")?;
        let wanted = Wanted::read(scope, &tenant)?;
        let Some(user) = directory.user_mut(&username).filter(|user| user.tenant == tenant) else {
            return Err(errors::user_unknown(&username, &tenant));
        };
        check_password(user, password, self.tuning.lockout_after)?;
        let user = user.clone();
        self.delegated(&app, &user, wanted)
    }

    fn refresh(&self, directory: &Directory, tenant: &str) -> Result<Issued, Refusal> {
        let field = |name| self.form.value(name).ok_or_else(|| errors::missing_parameter(name));
        let renewal = jwt::verify_renewal(self.key, field("refresh_token")?);
        let upn = renewal.as_ref().map_or("", |renewal| &renewal.upn);
        let tenant = users_tenant(directory, tenant, upn)?;
        let app = self.app(directory, &tenant, false)?;
        let renewal = renewal
            .filter(|renewal| renewal.client_id.eq_ignore_ascii_case(&app.client_id))
            .ok_or_else(errors::renewal_malformed)?;
        if renewal.exp <= self.now.unix() {
            return Err(errors::renewal_expired());
        }
        let user = directory.user(&renewal.upn).ok_or_else(errors::renewal_revoked)?;
        if user.generation != renewal.generation {
            return Err(errors::renewal_revoked());
        }
        check_standing(user)?;
        let wanted = Wanted::read(self.form.value("scope").unwrap_or(&renewal.scope), &tenant)?;
        // A refresh token keeps begetting refresh tokens, whatever scope is asked this time.
        self.delegated(app, user, Wanted { offline: true, ..wanted })
    }

    pub(super) fn field(&self, name: &str) -> Result<&str, Refusal> {
        self.form.value(name).ok_or_else(|| errors::missing_parameter(name))
    }

    /// The app, once its credential is right.
    pub(super) fn app<'d>(
        &self,
        directory: &'d Directory,
        tenant: &str,
        confidential_only: bool,
    ) -> Result<&'d App, Refusal> {
        let field = |name| self.form.value(name);
        let client_id = field("client_id").ok_or_else(|| errors::missing_parameter("client_id"))?;
        let (secret, assertion) = (field("client_secret"), field("client_assertion"));
        let nothing = secret.is_none() && assertion.is_none();
        if confidential_only && nothing {
            return Err(errors::no_credential());
        }
        let app = directory
            .app(tenant, client_id)
            .ok_or_else(|| errors::app_unknown(client_id, tenant))?;
        match (app.public, secret) {
            (true, _) if !nothing => return Err(errors::public_with_secret()),
            (true, _) => {}
            (false, _) if nothing => return Err(errors::no_credential()),
            // No certificate is registered in the sandbox.
            (false, None) => return Err(errors::assertion_unknown()),
            (false, Some(secret)) => match app.secrets.iter().find(|known| known.value == secret) {
                None => return Err(errors::wrong_secret(client_id)),
                Some(known) if known.expired => return Err(errors::expired_secret(client_id)),
                Some(_) => {}
            },
        }
        if app.disabled {
            return Err(errors::app_disabled(client_id, &app.name));
        }
        Ok(app)
    }

    pub(super) fn delegated(
        &self,
        app: &App,
        user: &User,
        wanted: Wanted,
    ) -> Result<Issued, Refusal> {
        let all = wanted.permissions == [".default"];
        let granted: Vec<_> = app
            .scopes
            .iter()
            .filter(|scope| all || wanted.permissions.contains(scope))
            .cloned()
            .collect();
        if granted.is_empty() || (!all && granted.len() < wanted.permissions.len()) {
            return Err(errors::no_consent(&app.client_id, &app.name));
        }
        let prefixed: Vec<_> =
            granted.iter().map(|scope| format!("{}/{scope}", wanted.resource)).collect();
        let scope = prefixed.join(" ");
        let refresh_token = wanted.offline.then(|| {
            let renewal = Renewal {
                client_id: app.client_id.clone(),
                upn: user.upn.clone(),
                scope: scope.clone(),
                generation: user.generation,
                exp: self.now.unix().saturating_add(self.tuning.refresh_life.as_secs()),
                uti: random_hex(11),
            };
            jwt::sign_renewal(self.key, &renewal)
        });
        let claims = Claims {
            scp: Some(granted.join(" ")),
            idtyp: "user".to_owned(),
            oid: user.object_id.clone(),
            upn: Some(user.upn.clone()),
            ..self.claims(app, wanted.resource)
        };
        Ok(self.issued(claims, refresh_token, Some(scope)))
    }

    fn claims(&self, app: &App, resource: String) -> Claims {
        let now = self.now.unix();
        let life =
            self.tuning.token_life.map_or_else(|| between(3600, 5400), |life| life.as_secs());
        Claims {
            aud: resource,
            iss: format!("https://sts.windows.net/{}/", app.tenant),
            // Entra dates tokens five minutes back, for clocks that run late.
            iat: now.saturating_sub(300),
            nbf: now.saturating_sub(300),
            exp: now.saturating_add(life),
            appid: app.client_id.clone(),
            app_displayname: app.name.clone(),
            tid: app.tenant.clone(),
            uti: guid(),
            ver: "1.0".to_owned(),
            ..Claims::default()
        }
    }

    fn issued(&self, claims: Claims, refresh: Option<String>, scope: Option<String>) -> Issued {
        let octets = self
            .tuning
            .token_octets
            .unwrap_or_else(|| usize::try_from(between(1600, 2400)).unwrap_or(2000));
        // Entra rounds down: a life of an hour is said to be 3599 seconds.
        let expires_in = claims.exp.saturating_sub(self.now.unix()).saturating_sub(1);
        Issued {
            access_token: jwt::sign_access(self.key, claims, octets),
            refresh_token: refresh,
            id_token: None,
            scope,
            expires_in,
        }
    }
}

pub(super) struct Wanted {
    resource: String,
    permissions: Vec<String>,
    offline: bool,
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
        let bare = wanted.resource.trim_end_matches('/');
        if !RESOURCES.contains(&bare) {
            return Err(errors::resource_unknown(&wanted.resource, tenant));
        }
        Ok(wanted)
    }
}

/// The tenant of a delegated request; on `organizations` the user name leads to it.
pub(super) fn users_tenant(
    directory: &Directory,
    tenant: &str,
    upn: &str,
) -> Result<String, Refusal> {
    if !is_shared_endpoint(tenant) {
        return tenant_id(directory, tenant);
    }
    let found = directory.tenant_of(upn).map(|tenant| tenant.id.clone());
    found.ok_or_else(|| match upn {
        "" => errors::renewal_malformed(),
        _ => errors::user_unknown(upn, tenant),
    })
}

fn check_password(user: &mut User, password: &str, lockout_after: u32) -> Result<(), Refusal> {
    match user.standing {
        Standing::Disabled => return Err(errors::user_disabled()),
        Standing::Locked => return Err(errors::locked()),
        Standing::Federated => return Err(errors::federated()),
        _ => {}
    }
    if user.password != password {
        user.failures = user.failures.saturating_add(1);
        if user.failures >= lockout_after {
            user.standing = Standing::Locked;
        }
        return Err(errors::wrong_password());
    }
    user.failures = 0;
    check_standing(user)
}

/// What bars even a sign-in on a page.
pub(super) fn check_existence(user: &User) -> Result<(), Refusal> {
    match user.standing {
        Standing::Disabled => Err(errors::user_disabled()),
        Standing::Locked => Err(errors::locked()),
        _ => Ok(()),
    }
}

fn check_standing(user: &User) -> Result<(), Refusal> {
    Err(match user.standing {
        // A federated user signs in elsewhere and then holds refresh tokens like anyone.
        Standing::Fine | Standing::Federated => return Ok(()),
        Standing::Disabled => errors::user_disabled(),
        Standing::Locked => errors::locked(),
        Standing::PasswordExpired => errors::password_expired(),
        Standing::MfaRequired => errors::mfa_required(),
        Standing::MfaEnrolment => errors::mfa_enrolment(),
        Standing::Blocked => errors::access_blocked(),
    })
}

pub(super) fn tenant_id(directory: &Directory, tenant: &str) -> Result<String, Refusal> {
    if let Some(found) = directory.tenant(tenant) {
        return Ok(found.id.clone());
    }
    let is_guid = tenant.len() == 36
        && tenant.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b'-');
    let is_domain = tenant.contains('.')
        && tenant.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet));
    Err(if is_guid || is_domain {
        errors::tenant_unknown(tenant)
    } else {
        errors::tenant_unreadable(tenant)
    })
}

pub(super) fn is_shared_endpoint(tenant: &str) -> bool {
    is_one_of(tenant, &["common", "consumers", "organizations"])
}

fn is_one_of(tenant: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(tenant))
}

fn exchange(resource: &str) -> bool {
    resource.contains("outlook.office")
}

/// A random number from `low` to `high`.
fn between(low: u64, high: u64) -> u64 {
    let mut drawn = [0; 8];
    // Without randomness the lower bound does; nothing is secret about it.
    let _ = getrandom::fill(&mut drawn);
    low + u64::from_le_bytes(drawn) % (high - low + 1)
}
