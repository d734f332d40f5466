// oidc-provider, an identity provider that others wrote, on Entra's paths.
//
// Usage: oidc.js PORT FOLDER; of FOLDER it takes the certificate and keys in tls/, and writes log/oidc.jsonl.
//
// Where it is told to differ from its defaults, Entra does, or Debian 12's Dovecot wants it.
const [port, folder] = process.argv.slice(2);
const { X509Certificate, createHash, createPrivateKey } = require("crypto");
const { appendFileSync, readFileSync } = require("fs");
const https = require("https");
const { pathToFileURL } = require("url");

const RESOURCE = "https://outlook.office365.com";
const SCOPES = ["https://outlook.office365.com/.default", "https://outlook.office.com/.default"];
const TENANT = "/contoso.test";
// In seconds: of those whose refresh token must be used again and again, and of all others.
const SHORT_LIFE = 4, LIFE = 3600;
const NATIVE = {
  application_type: "native", token_endpoint_auth_method: "none", redirect_uris: ["http://localhost"],
  response_types: ["code"], grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
};
const CONFIDENTIAL = { redirect_uris: [], response_types: [], grant_types: ["client_credentials"] };
// Client ids, as the configuration of mailwicket has them.
const NATIVE_APP = "aaaaaaaa-1111-4222-8333-444444444444", ROTATING_APP = "bbbbbbbb-1111-4222-8333-444444444444";
const SECRET_APP = "cccccccc-1111-4222-8333-444444444444", CERTIFICATE_APP = "dddddddd-1111-4222-8333-444444444444";
// Whose mailbox an app's own token opens.
const MAILBOXES = { [SECRET_APP]: "copier@contoso.test", [CERTIFICATE_APP]: "printer@contoso.test" };

const read = (name) => readFileSync(`${folder}/tls/${name}`);
const signing = { ...createPrivateKey(read("signing.key")).export({ format: "jwk" }), kid: "default", alg: "RS256", use: "sig" };
const certificate = new X509Certificate(read("app.pem"));
const thumbprint = createHash("sha256").update(certificate.raw).digest("base64url");

const configuration = {
  clients: [
    { ...NATIVE, client_id: NATIVE_APP },
    { ...NATIVE, client_id: ROTATING_APP },
    { ...CONFIDENTIAL, client_id: SECRET_APP, token_endpoint_auth_method: "client_secret_post", client_secret: "oidc-canary-secret~value" },
    { ...CONFIDENTIAL, client_id: CERTIFICATE_APP, token_endpoint_auth_method: "private_key_jwt",
      token_endpoint_auth_signing_alg: "PS256", jwks: { keys: [certificate.publicKey.export({ format: "jwk" })] } },
  ],
  jwks: { keys: [signing] },
  claims: { openid: ["sub"], profile: ["preferred_username", "name"] },
  // Entra's id token has the claims of the profile scope, access token or not.
  conformIdTokenClaims: false,
  findAccount: (_, user) => ({ accountId: user, claims: () => ({ sub: user, preferred_username: user, name: user.split("@")[0] }) }),
  // What Dovecot goes by. No claim may be an array: over those Debian 12's stumbles and crashes.
  extraTokenClaims: (_, token) => ({ upn: token.accountId ?? MAILBOXES[token.clientId] }),
  formats: { customizers: { jwt: (_, token, jwt) => { jwt.header = { typ: "JWT" }; } } }, // not at+jwt
  rotateRefreshToken: true,
  assertJwtClientAuthClaimsAndHeader: (_, claims, header) => {
    // As Entra finds the key; here there is one, and nothing looks for it.
    if (header["x5t#S256"] !== thumbprint) throw new Error("x5t#S256 is no thumbprint of the certificate");
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // mailwicket names a scope, as Entra wants it, and no resource.
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource, client) => ({
        audience: resource, scope: SCOPES.join(" "), accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } },
        accessTokenTTL: client.clientId === ROTATING_APP ? SHORT_LIFE : LIFE,
      }),
    },
  },
  routes: {
    authorization: `${TENANT}/oauth2/v2.0/authorize`, token: `${TENANT}/oauth2/v2.0/token`,
    device_authorization: `${TENANT}/oauth2/v2.0/devicecode`, code_verification: "/devicelogin",
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  cookies: { keys: ["oidc-canary-cookies"] },
  ttl: { Interaction: 600, Session: 600, Grant: 3600, DeviceCode: 600, AuthorizationCode: 60, IdToken: 600, RefreshToken: 3600 },
};

// One form, no password: a name signs in, an empty one says no.
const FORM = '<!DOCTYPE html><title>Sign in</title><form method="post"><input name="login" autofocus><button name="go">Sign in</button></form>';

async function interact(provider, request, response) {
  const { params, uid } = await provider.interactionDetails(request, response);
  if (request.method === "GET") {
    return response.setHeader("Content-Type", "text/html").end(FORM);
  }
  let body = "";
  for await (const piece of request) body += piece;
  const login = new URLSearchParams(body).get("login");
  if (!login) {
    return provider.interactionFinished(request, response, { error: "access_denied", error_description: "The user said no." });
  }
  const grant = new provider.Grant({ accountId: login, clientId: params.client_id });
  grant.addOIDCScope("openid profile offline_access");
  grant.addResourceScope(RESOURCE, SCOPES.join(" "));
  return provider.interactionFinished(request, response, { login: { accountId: login }, consent: { grantId: await grant.save() } });
}

async function main() {
  const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
  const provider = new Provider(`https://localhost:${port}`, configuration);
  provider.use(async (context, next) => {
    // Entra asks for consent when it is due; here offline_access is dropped unless a client asks.
    if (context.path.endsWith("/authorize")) context.query = { ...context.query, prompt: "consent" };
    await next();
    if (context.path.endsWith("/token")) {
      const { grant_type, client_id, scope, refresh_token } = context.oidc?.params ?? {};
      const line = { sent: { grant_type, client_id, scope, refresh_token }, status: context.status, got: context.body };
      appendFileSync(`${folder}/log/oidc.jsonl`, `${JSON.stringify(line)}\n`);
    }
  });
  provider.on("server_error", (_, error) => console.error(error));
  const callback = provider.callback();
  const serve = (request, response) => {
    if (!request.url.startsWith("/interaction/")) return callback(request, response);
    interact(provider, request, response).catch((error) => {
      console.error(error);
      response.writeHead(500).end();
    });
  };
  https.createServer({ cert: read("leaf.pem"), key: read("leaf.key") }, serve).listen(Number(port), "127.0.0.1");
}

main();
