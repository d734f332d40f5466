//! Errors about the user: password, multi-factor, policies, consent, and sign-ins that ended.

use super::{Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        &[50_034],
        "AADSTS50034",
        "There is no such user in this tenant.",
        "Check the user name (the user principal name counts) and tenant.",
    ),
    row(
        &[50_053],
        "AADSTS50053",
        "The account is locked after too many wrong passwords, or the address is seen as \
         malicious.",
        "Wait, and correct the password in every client; do not retry. The administrator can \
         unblock it.",
    ),
    row(
        &[50_055],
        "AADSTS50055",
        "The user's password has expired.",
        "Change the password at Microsoft, then in the client.",
    ),
    row(
        &[50_056],
        "AADSTS50056",
        "The user has no password at Microsoft: a federated or passwordless account.",
        "Use grant = \"authorization_code\" or \"device_code\", where a person signs in once, or \
         \"client_credentials\".",
    ),
    row(&[50_057], "AADSTS50057", "The account is disabled.", "Have the administrator enable it."),
    row(
        &[50_076],
        "AADSTS50076",
        "The account needs multi-factor authentication, which a password alone cannot give.",
        "Use grant = \"authorization_code\" or \"device_code\", where a person signs in once, or \
         \"client_credentials\"; or exclude this account from the policy.",
    ),
    row(
        &[50_079],
        "AADSTS50079",
        "The account has to register for multi-factor authentication.",
        "Use grant = \"authorization_code\" or \"device_code\", where a person signs in once, or \
         \"client_credentials\"; or exclude this account from the policy.",
    ),
    row(
        &[50_072, 50_074, 50_078],
        "AADSTS50072/50074/50078",
        "The account's multi-factor authentication is missing, not passed or has expired.",
        "Use grant = \"authorization_code\" or \"device_code\", where a person signs in once, or \
         \"client_credentials\"; or exclude this account from the policy.",
    ),
    row(
        &[50_105],
        "AADSTS50105",
        "The user is not assigned to the app.",
        "In Enterprise applications assign the user, or switch \"Assignment required\" off.",
    ),
    row(
        &[50_126],
        "AADSTS50126",
        "The user name or password is wrong; federated users get this too.",
        "Correct the password; do not retry, for the account would be locked. Use an account \
         whose password is in the cloud.",
    ),
    row(
        &[50_158],
        "AADSTS50158",
        "The account needs an external challenge: another provider's multi-factor, or terms of \
         use.",
        "Use grant = \"authorization_code\" or \"device_code\", where a person signs in once, or \
         \"client_credentials\"; or exclude this account from the policy.",
    ),
    row(
        &[50_173],
        "AADSTS50173",
        "The sign-in was revoked, as after a change of password.",
        "Sign in again with mailwicket sign-in; grant = \"client_credentials\" never needs it.",
    ),
    row(
        &[50_196],
        "AADSTS50196",
        "Too many identical requests within a short time: Entra sees a loop.",
        "Wait some minutes; look for several programs that use the same app.",
    ),
    row(
        &[53_000, 53_001, 53_002],
        "AADSTS53000/53001/53002",
        "Conditional Access wants a managed device or an approved app.",
        "Exclude this account or app from the policy.",
    ),
    row(
        &[53_003],
        "AADSTS53003",
        "Conditional Access blocks this sign-in.",
        "Find it in the sign-in log; exclude the account, or name the outgoing address as a \
         trusted location.",
    ),
    row(
        &[530_032],
        "AADSTS530032",
        "A security policy of the organisation blocks this sign-in.",
        "Find it in the sign-in log; exclude the account from the policy.",
    ),
    row(
        &[530_034],
        "AADSTS530034",
        "A delegated administrator is blocked for risk.",
        "Have the tenant's own administrator look at the risk and sign in.",
    ),
    row(
        &[530_035],
        "AADSTS530035",
        "Security defaults block this sign-in.",
        "Use grant = \"client_credentials\", or replace security defaults by Conditional Access \
         with an exception.",
    ),
    row(
        &[54_005],
        "AADSTS54005",
        "The sign-in code was used before.",
        "Sign in again with mailwicket sign-in.",
    ),
    row(
        &[65_001],
        "AADSTS65001",
        "Nobody has consented to the app's permissions.",
        "Have an administrator press \"Grant admin consent\" under API permissions of the app \
         registration.",
    ),
    row(
        &[65_002],
        "AADSTS65002",
        "The client_id is one of Microsoft's own apps.",
        "Register an app of your own and use its id.",
    ),
    row(
        &[65_004],
        "AADSTS65004",
        "The user declined to consent.",
        "Have an administrator press \"Grant admin consent\" in the app registration.",
    ),
    row(
        &[650_052, 650_054],
        "AADSTS650052/650054",
        "The organisation lacks the service that the scope names.",
        "Check scope, and that the tenant has Exchange Online licences.",
    ),
    row(
        &[650_057],
        "AADSTS650057",
        "The scope's resource is not among the app's permissions.",
        "Add the permission of Office 365 Exchange Online in the app registration and grant admin \
         consent.",
    ),
    row(
        &[70_000],
        "AADSTS70000",
        "The refresh token is malformed or unknown.",
        "Sign in again with mailwicket sign-in.",
    ),
    row(
        &[70_008],
        "AADSTS70008",
        "The code or refresh token has expired or was revoked.",
        "Sign in again with mailwicket sign-in; grant = \"client_credentials\" never needs it.",
    ),
    row(
        &[700_082],
        "AADSTS700082",
        "The refresh token was not used for 90 days.",
        "Sign in again with mailwicket sign-in; grant = \"client_credentials\" never needs it.",
    ),
    row(
        &[700_084],
        "AADSTS700084",
        "The refresh token of a browser app lives for 24 hours only.",
        "Register the redirect address under \"Mobile and desktop applications\" and sign in \
         again.",
    ),
    row(
        &[70_043],
        "AADSTS70043",
        "A policy on sign-in frequency has ended the sign-in.",
        "Sign in again with mailwicket sign-in, or exclude the account from the policy.",
    ),
    row(
        &[700_003],
        "AADSTS700003",
        "The device of the sign-in is not known any more.",
        "Sign in again with mailwicket sign-in; have the administrator check the device.",
    ),
];
