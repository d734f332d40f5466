//! Errors about the app, the tenant, the request, the resource, and Entra's own health.

use super::{Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        &[7_000_215],
        "AADSTS7000215",
        "The client secret is wrong; often the secret's ID was pasted instead of its value.",
        "In the app registration, under Certificates & secrets, make a new secret and copy the \
         column Value.",
    ),
    row(
        &[7_000_222],
        "AADSTS7000222",
        "The client secret has expired.",
        "Make a new secret in the app registration, put its value where client_secret points, and \
         restart.",
    ),
    row(
        &[7_000_218],
        "AADSTS7000218",
        "The app is confidential, but neither secret nor certificate was sent.",
        "Set client_secret or certificate; or, where a user signs in, switch on \"Allow public \
         client flows\" in the app registration.",
    ),
    row(
        &[700_025],
        "AADSTS700025",
        "The app is a public client, but a secret was sent.",
        "Remove client_secret, or make the app registration a confidential one (platform Web).",
    ),
    row(
        &[700_016],
        "AADSTS700016",
        "There is no app with this client_id in this tenant.",
        "Compare tenant and client_id with the app registration's overview page; give admin \
         consent in this tenant.",
    ),
    row(
        &[700_027, 50_012],
        "AADSTS700027/50012",
        "The signed assertion was not accepted: its certificate is not the app's, or has ended.",
        "Upload the certificate, without its key, under Certificates & secrets of the app \
         registration; check client_id.",
    ),
    row(
        &[700_024],
        "AADSTS700024",
        "The signed assertion is outside its time of validity.",
        "Correct this machine's clock. With workload_identity: the token file is old; look at what \
         renews it.",
    ),
    row(
        &[700_021],
        "AADSTS700021",
        "The signed assertion names another app than the request.",
        "With workload_identity: set client_id to the app that the token file is for.",
    ),
    row(
        &[700_023],
        "AADSTS700023",
        "The signed assertion was made for another endpoint.",
        "Check authority and tenant; with workload_identity the token's audience must be \
         api://AzureADTokenExchange.",
    ),
    row(
        &[700_030],
        "AADSTS700030",
        "The certificate's subject name is not authorised for this app.",
        "Use the certificate that the app registration names.",
    ),
    row(
        &[70_021, 700_211, 700_212, 700_213],
        "AADSTS70021/700211/700212/700213",
        "No federated credential of the app matches the token's issuer, subject or audience.",
        "Correct the federated credential in the app registration; the values must match exactly.",
    ),
    row(
        &[7_000_112],
        "AADSTS7000112",
        "The app is switched off in this tenant.",
        "In Enterprise applications, set \"Enabled for users to sign-in\" to Yes for this app.",
    ),
    row(
        &[70_001],
        "AADSTS70001",
        "The app is not found or switched off in this tenant.",
        "Compare tenant and client_id with the app registration's overview page.",
    ),
    row(
        &[70_002],
        "AADSTS70002",
        "The app's credentials do not match.",
        "Make a new client secret and use its value.",
    ),
    row(
        &[90_002],
        "AADSTS90002",
        "There is no such tenant, or it lives in another cloud.",
        "Check tenant for typing errors, and authority for the cloud.",
    ),
    row(
        &[900_023],
        "AADSTS900023",
        "The tenant is neither an id nor a valid domain.",
        "Correct tenant: the directory (tenant) id, or a domain such as contoso.onmicrosoft.com.",
    ),
    row(
        &[90_038],
        "AADSTS90038",
        "The tenant lives in a national cloud.",
        "Set authority to that cloud's, such as https://login.microsoftonline.us/.",
    ),
    row(
        &[90_019, 50_059],
        "AADSTS90019/50059",
        "The request names no tenant.",
        "Set tenant to the directory (tenant) id.",
    ),
    row(
        &[9_001_023, 90_124, 90_130],
        "AADSTS9001023/90124/90130",
        "This grant does not work with common or consumers as the tenant.",
        "Set tenant to the directory (tenant) id.",
    ),
    row(
        &[50_194],
        "AADSTS50194",
        "The app belongs to one tenant, but common was used.",
        "Set tenant to the directory (tenant) id.",
    ),
    row(
        &[900_144],
        "AADSTS900144",
        "The request lacks a parameter.",
        "Something on the way changed the request, or this is a bug: please report it.",
    ),
    row(
        &[9_002_313],
        "AADSTS9002313",
        "The request is malformed.",
        "Look for a proxy that changes requests; otherwise this is a bug: please report it.",
    ),
    row(
        &[900_561],
        "AADSTS900561",
        "The request arrived as GET where only POST works, as after a redirect.",
        "Look for a proxy or an authority that redirects; set authority to the final host.",
    ),
    row(
        &[9_002_326],
        "AADSTS9002326",
        "The sign-in code belongs to a browser app's redirect address.",
        "Register the redirect address under \"Mobile and desktop applications\".",
    ),
    row(
        &[9_002_327],
        "AADSTS9002327",
        "The refresh token was issued to a browser app.",
        "Register the redirect address under \"Mobile and desktop applications\" and sign in \
         again.",
    ),
    row(
        &[9_002_332],
        "AADSTS9002332",
        "The app is for work accounts only, but consumers was used.",
        "Set tenant to the directory (tenant) id.",
    ),
    row(
        &[70_011, 1_002_012],
        "AADSTS70011/1002012",
        "The scope is malformed, or not of the form that this grant takes.",
        "With client_credentials leave scope out, or set https://outlook.office365.com/.default",
    ),
    row(
        &[70_003],
        "AADSTS70003",
        "The grant is not supported for this app.",
        "Check grant and the kind of the app registration.",
    ),
    row(
        &[70_016],
        "AADSTS70016",
        "The sign-in with a device code is still pending.",
        "Complete it in the browser with the code that was shown.",
    ),
    row(
        &[70_018],
        "AADSTS70018",
        "The device code is wrong.",
        "Start the sign-in again and type the new code.",
    ),
    row(
        &[70_019, 70_020],
        "AADSTS70019/70020",
        "The device code has expired.",
        "Start the sign-in again.",
    ),
    row(
        &[500_011],
        "AADSTS500011",
        "The scope's resource is not known in this tenant.",
        "Leave scope out, or correct it; check that the tenant has Exchange Online.",
    ),
    row(
        &[500_014],
        "AADSTS500014",
        "Exchange Online is switched off in this tenant, as after a lapsed subscription.",
        "Have the administrator check the subscription and licences.",
    ),
    row(
        &[50_001],
        "AADSTS50001",
        "The scope's resource does not exist or is switched off.",
        "Leave scope out, or correct it; check that the tenant has Exchange Online.",
    ),
    row(
        &[1_002_016],
        "AADSTS1002016",
        "The connection to Entra used TLS 1.0 or 1.1, which are refused.",
        "Look for a proxy that opens TLS with an old version.",
    ),
    row(
        &[90_055],
        "AADSTS90055",
        "The tenant is throttled: too many requests.",
        "Wait; tokens that still live are served meanwhile.",
    ),
    row(
        &[90_006, 90_024, 90_033, 90_090, 50_033, 50_087],
        "AADSTS90006/90024/90033/90090/50033/50087",
        "Entra has a temporary fault.",
        "Nothing to do: it is tried again. If it lasts, look at Microsoft's service health.",
    ),
    row(
        &[90_012],
        "AADSTS90012",
        "The request to Entra timed out.",
        "Nothing to do: it is tried again. If it lasts, check the way out.",
    ),
    row(
        &[500_021, 500_022, 50_002],
        "AADSTS500021/500022/50002",
        "A proxy of your network allows sign-in to certain tenants only, and not to this one.",
        "Have the network team add the tenant to Restrict-Access-To-Tenants.",
    ),
];
