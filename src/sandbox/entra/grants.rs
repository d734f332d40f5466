//! Which token a request gets, or why none: the checks in Entra's order.

use crate::sandbox::entra::assertion::Presented;
use crate::sandbox::entra::errors::{self, Refusal};
use crate::sandbox::entra::form::Form;
use crate::sandbox::entra::jwt::{self, Claims, Renewal};
use crate::sandbox::entra::scope;
pub(super) use crate::sandbox::entra::scope::Wanted;
pub(super) use crate::sandbox::entra::users::check_existence;
use crate::sandbox::entra::users::{check_password, check_standing};
use crate::sandbox::entra::{assertion, authorize, device};
use crate::sandbox::moment::{Moment, guid, random_hex};
use crate::sandbox::world::{App, Directory, Managed, Tuning, User, World};

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
    let request =
        Request { world, form, now, key: world.key(), tuning: &tuning, authority: &authority };
    world.people_and_sign_ins(|directory, sign_ins| match grant {
        "client_credentials" => request.client_credentials(directory, tenant),
        "password" => request.password(directory, tenant),
        "refresh_token" => request.refresh(directory, tenant),
        "authorization_code" => authorize::redeem(&request, directory, sign_ins, tenant),
        device::GRANT => device::poll(&request, directory, sign_ins, tenant),
        other => Err(errors::unsupported_grant(other)),
    })
}

/// A token for one of the machine's managed identities: the one of this id, or its own.
pub(super) fn for_machine(
    world: &World,
    client_id: Option<&str>,
    resource: &str,
    now: Moment,
) -> Result<(String, Issued), NoIdentity> {
    let (tuning, authority) = (world.tuning(), world.authority());
    let form = Form::default();
    let request = Request {
        world,
        form: &form,
        now,
        key: world.key(),
        tuning: &tuning,
        authority: &authority,
    };
    world.directory(|directory| {
        let app = directory.apps.iter().find(|app| match client_id {
            Some(id) => app.managed.is_some() && app.client_id.eq_ignore_ascii_case(id),
            None => app.managed == Some(Managed::System),
        });
        let app = app.ok_or(NoIdentity::Unknown)?;
        if !scope::is_known(resource) {
            return Err(NoIdentity::Resource(app.tenant.clone()));
        }
        Ok((app.client_id.clone(), request.as_app(app, resource.to_owned())))
    })
}

/// Why the machine gets no token.
pub(super) enum NoIdentity {
    /// It has no such identity.
    Unknown,
    /// The tenant of this id knows no such resource.
    Resource(String),
}

pub(super) struct Request<'a> {
    world: &'a World,
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
        Ok(self.as_app(app, wanted.resource))
    }

    fn as_app(&self, app: &App, resource: String) -> Issued {
        let claims = Claims {
            roles: if scope::is_exchange(&resource) { app.roles.clone() } else { vec![] },
            idtyp: "app".to_owned(),
            oid: app.object_id.clone(),
            ..self.claims(app, resource)
        };
        self.issued(claims, None, None)
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
            (false, None) => {
                if field("client_assertion_type") != Some(assertion::TYPE) {
                    return Err(errors::missing_parameter("client_assertion_type"));
                }
                let assertion = assertion.unwrap_or_default();
                let (world, now, authority) = (self.world, self.now, self.authority);
                Presented { world, directory, app, assertion, now, authority }.check()?;
            }
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

/// A random number from `low` to `high`.
fn between(low: u64, high: u64) -> u64 {
    let mut drawn = [0; 8];
    // Without randomness the lower bound does; nothing is secret about it.
    let _ = getrandom::fill(&mut drawn);
    low + u64::from_le_bytes(drawn) % (high - low + 1)
}
