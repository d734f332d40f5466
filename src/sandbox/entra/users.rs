//! What bars a user.

use crate::sandbox::entra::errors::{self, Refusal};
use crate::sandbox::world::{Standing, User};

pub(super) fn check_password(
    user: &mut User,
    password: &str,
    lockout_after: u32,
) -> Result<(), Refusal> {
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

pub(super) fn check_standing(user: &User) -> Result<(), Refusal> {
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
