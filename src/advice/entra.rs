//! What AADSTS codes mean: Microsoft's reference of error codes, in plain words.

use super::Advice;

pub(super) const CODES: &[(&[u32], Advice)] = &[
    (
        &[7_000_215],
        Advice {
            code: "AADSTS7000215",
            cause: "the client secret is wrong; often the secret's ID was copied in place of its Value",
            remedy: "copy the Value of a client secret (Entra, App registrations, Certificates & secrets); if it is no longer shown, make a new one",
        },
    ),
    (
        &[7_000_222],
        Advice {
            code: "AADSTS7000222",
            cause: "the client secret has expired",
            remedy: "make a new client secret in Entra and put its Value into client_secret",
        },
    ),
    (
        &[7_000_218],
        Advice {
            code: "AADSTS7000218",
            cause: "the app is confidential and no secret was sent",
            remedy: "set client_secret, or allow public client flows (Entra, App registrations, Authentication)",
        },
    ),
    (
        &[700_025],
        Advice {
            code: "AADSTS700025",
            cause: "the app is a public client and a secret was sent",
            remedy: "remove client_secret from proxy.toml",
        },
    ),
    (
        &[700_016, 70_001],
        Advice {
            code: "AADSTS700016",
            cause: "the app is not known in this tenant",
            remedy: "check client_id and tenant; for an app of another tenant an administrator must consent first",
        },
    ),
    (
        &[70_002],
        Advice {
            code: "AADSTS70002",
            cause: "the app's credential does not match",
            remedy: "check client_secret",
        },
    ),
    (
        &[700_027, 50_012],
        Advice {
            code: "AADSTS700027",
            cause: "the certificate's signature was not accepted: the key is not the app's, or the clock is wrong",
            remedy: "upload the certificate to the app registration and check this machine's clock",
        },
    ),
    (
        &[700_024],
        Advice {
            code: "AADSTS700024",
            cause: "the signed assertion is outside its time",
            remedy: "check this machine's clock",
        },
    ),
    (
        &[700_030],
        Advice {
            code: "AADSTS700030",
            cause: "the certificate's subject is not authorised for the app",
            remedy: "use a certificate that is uploaded to the app registration",
        },
    ),
    (
        &[70_021, 700_211, 700_212, 700_213],
        Advice {
            code: "AADSTS70021",
            cause: "no federated credential of the app matches the token's issuer, subject and audience",
            remedy: "mend the federated credential in Entra; all three must match exactly",
        },
    ),
    (
        &[7_000_112],
        Advice {
            code: "AADSTS7000112",
            cause: "the enterprise application is switched off",
            remedy: "Entra, Enterprise applications, Properties: enable sign-in",
        },
    ),
    (
        &[90_002],
        Advice {
            code: "AADSTS90002",
            cause: "the tenant was not found: a typing error, or the wrong cloud",
            remedy: "check tenant, and authority if the tenant is in a national cloud",
        },
    ),
    (
        &[900_023],
        Advice {
            code: "AADSTS900023",
            cause: "the tenant is neither an ID nor a domain",
            remedy: "write the Directory (tenant) ID into tenant",
        },
    ),
    (
        &[90_038],
        Advice {
            code: "AADSTS90038",
            cause: "the tenant is in a national cloud",
            remedy: "set authority, upstream and scope of that cloud",
        },
    ),
    (
        &[50_059, 90_019],
        Advice {
            code: "AADSTS50059",
            cause: "the request named no tenant",
            remedy: "write the Directory (tenant) ID into tenant",
        },
    ),
    (
        &[9_001_023, 50_194, 90_124, 90_130],
        Advice {
            code: "AADSTS9001023",
            cause: "the app or the grant does not work on common, organizations or consumers",
            remedy: "write the Directory (tenant) ID into tenant",
        },
    ),
    (
        &[900_144],
        Advice {
            code: "AADSTS900144",
            cause: "the request lacked a parameter",
            remedy: "report it: this should not happen; a proxy may have changed the request",
        },
    ),
    (
        &[9_002_313],
        Advice {
            code: "AADSTS9002313",
            cause: "the request was malformed",
            remedy: "check tenant and scope for stray characters; a proxy may have changed the request",
        },
    ),
    (
        &[900_561],
        Advice {
            code: "AADSTS900561",
            cause: "the token endpoint was asked with GET; a proxy redirects",
            remedy: "ask the proxy's owners to let login.microsoftonline.com through unchanged",
        },
    ),
    (
        &[9_002_326, 9_002_327],
        Advice {
            code: "AADSTS9002326",
            cause: "the app is registered as a single-page application",
            remedy: "add the redirect under Mobile and desktop applications instead",
        },
    ),
    (
        &[9_002_332],
        Advice {
            code: "AADSTS9002332",
            cause: "the app is for work accounts only",
            remedy: "write the Directory (tenant) ID into tenant",
        },
    ),
    (
        &[50_034],
        Advice {
            code: "AADSTS50034",
            cause: "the user is not in this tenant",
            remedy: "check the user name in the client (the user principal name) and tenant",
        },
    ),
    (
        &[50_053],
        Advice {
            code: "AADSTS50053",
            cause: "the account is locked after wrong passwords, or sign-in comes from an address with a bad name",
            remedy: "wait for the lockout to end, mend the password in the client, then unblock if need be; do not retry",
        },
    ),
    (
        &[50_055],
        Advice {
            code: "AADSTS50055",
            cause: "the password has expired",
            remedy: "change it, then in the client too",
        },
    ),
    (
        &[50_056],
        Advice {
            code: "AADSTS50056",
            cause: "the directory holds no password: the account is federated or passwordless",
            remedy: "use grant = \"client_credentials\", or a cloud account with a password",
        },
    ),
    (
        &[50_057],
        Advice {
            code: "AADSTS50057",
            cause: "the account is disabled",
            remedy: "enable it in Entra",
        },
    ),
    (
        &[50_076, 50_074, 50_078],
        Advice {
            code: "AADSTS50076",
            cause: "multi-factor authentication is required, which a password alone cannot pass",
            remedy: "exclude the account from the policy, or use grant = \"client_credentials\"",
        },
    ),
    (
        &[50_079, 50_072],
        Advice {
            code: "AADSTS50079",
            cause: "the user must register for multi-factor authentication first",
            remedy: "exclude the account from the policy, or use grant = \"client_credentials\"",
        },
    ),
    (
        &[50_105],
        Advice {
            code: "AADSTS50105",
            cause: "the user is not assigned to the app",
            remedy: "assign the user (Enterprise applications, Users and groups), or switch the assignment requirement off",
        },
    ),
    (
        &[50_126],
        Advice {
            code: "AADSTS50126",
            cause: "user name or password is wrong; federated users get this too",
            remedy: "mend the password in the client; for a federated user use grant = \"client_credentials\"; do not retry: it locks the account",
        },
    ),
    (
        &[50_158],
        Advice {
            code: "AADSTS50158",
            cause: "a challenge outside Entra is required, such as another firm's multi-factor authentication",
            remedy: "exclude the account from the policy, or use grant = \"client_credentials\"",
        },
    ),
    (
        &[50_173],
        Advice {
            code: "AADSTS50173",
            cause: "the grant was revoked, by a password change or an administrator",
            remedy: "log in again with the present password",
        },
    ),
    (
        &[50_196],
        Advice {
            code: "AADSTS50196",
            cause: "Entra saw a loop of identical requests",
            remedy: "find what asks so often; mailwicket waits before it asks again",
        },
    ),
    (
        &[53_003, 530_032, 530_034, 53_000, 53_001, 53_002],
        Advice {
            code: "AADSTS53003",
            cause: "Conditional Access or another policy blocks this sign-in",
            remedy: "look at the sign-in log in Entra; exclude the account or app, or name the proxy's outgoing address as a trusted location",
        },
    ),
    (
        &[530_035],
        Advice {
            code: "AADSTS530035",
            cause: "security defaults block this sign-in",
            remedy: "use grant = \"client_credentials\", or replace security defaults by Conditional Access",
        },
    ),
    (
        &[54_005],
        Advice {
            code: "AADSTS54005",
            cause: "an authorization code was used twice",
            remedy: "sign in again",
        },
    ),
    (
        &[65_001, 65_004],
        Advice {
            code: "AADSTS65001",
            cause: "nobody has consented to the app's permissions",
            remedy: "an administrator grants consent: App registrations, API permissions, Grant admin consent",
        },
    ),
    (
        &[65_002, 650_057],
        Advice {
            code: "AADSTS65002",
            cause: "the app does not list Exchange Online among its permissions",
            remedy: "API permissions: add SMTP.SendAsApp (application) or SMTP.Send (delegated) of Office 365 Exchange Online, and consent",
        },
    ),
    (
        &[650_052, 650_054],
        Advice {
            code: "AADSTS650052",
            cause: "the organisation has no subscription to the service",
            remedy: "check the tenant's licences for Exchange Online",
        },
    ),
    (
        &[70_000],
        Advice {
            code: "AADSTS70000",
            cause: "the refresh token is malformed or unknown",
            remedy: "log in again",
        },
    ),
    (
        &[70_008],
        Advice {
            code: "AADSTS70008",
            cause: "a refresh token or code has expired or was revoked",
            remedy: "log in again",
        },
    ),
    (
        &[700_082],
        Advice {
            code: "AADSTS700082",
            cause: "the refresh token was not used for 90 days",
            remedy: "log in again",
        },
    ),
    (
        &[700_084],
        Advice {
            code: "AADSTS700084",
            cause: "a single-page application's refresh token lives 24 hours only",
            remedy: "register the app under Mobile and desktop applications",
        },
    ),
    (
        &[70_043],
        Advice {
            code: "AADSTS70043",
            cause: "a sign-in frequency policy ended the grant",
            remedy: "log in again, exclude the account, or use grant = \"client_credentials\"",
        },
    ),
    (
        &[700_003],
        Advice {
            code: "AADSTS700003",
            cause: "the device was not found",
            remedy: "sign in again",
        },
    ),
    (
        &[70_011, 1_002_012],
        Advice {
            code: "AADSTS70011",
            cause: "the scope is malformed; client credentials need one that ends in /.default",
            remedy: "leave scope out, or write https://outlook.office365.com/.default",
        },
    ),
    (
        &[70_003],
        Advice {
            code: "AADSTS70003",
            cause: "the grant is not supported for this app",
            remedy: "check grant in proxy.toml",
        },
    ),
    (
        &[70_016],
        Advice {
            code: "AADSTS70016",
            cause: "the user has not signed in yet",
            remedy: "finish the sign-in",
        },
    ),
    (
        &[70_018, 70_019, 70_020],
        Advice {
            code: "AADSTS70018",
            cause: "the sign-in code is wrong or has expired",
            remedy: "start the sign-in again",
        },
    ),
    (
        &[500_011],
        Advice {
            code: "AADSTS500011",
            cause: "the resource of the scope is not known in the tenant",
            remedy: "leave scope out, or write https://outlook.office365.com/.default; check that the tenant has Exchange Online",
        },
    ),
    (
        &[500_014, 50_001],
        Advice {
            code: "AADSTS500014",
            cause: "Exchange Online is switched off in the tenant, or the subscription has lapsed",
            remedy: "check the tenant's licences",
        },
    ),
    (
        &[1_002_016],
        Advice {
            code: "AADSTS1002016",
            cause: "the request came with an outdated TLS version",
            remedy: "something on the way ends TLS with an old version: ask the proxy's owners",
        },
    ),
    (
        &[90_055],
        Advice {
            code: "AADSTS90055",
            cause: "Entra throttles the tenant",
            remedy: "wait; mailwicket tries again",
        },
    ),
    (
        &[90_033, 90_006, 90_024, 90_090, 50_033, 50_087, 90_012],
        Advice {
            code: "AADSTS90033",
            cause: "Entra has a passing fault",
            remedy: "wait; mailwicket tries again",
        },
    ),
    (
        &[500_021, 500_022, 50_002],
        Advice {
            code: "AADSTS500021",
            cause: "the company's proxy restricts which tenants may be used, and this one is not listed",
            remedy: "ask the network team to add the tenant to Restrict-Access-To-Tenants",
        },
    ),
];
