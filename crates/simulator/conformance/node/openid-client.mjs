// The scenarios through openid-client.

import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import * as oidc from 'openid-client';
import { allow, APP, BASE, CALLBACK, failure, KEY, serve, USER, VERSION } from './harness.mjs';

/** The library's configuration, from the org's discovery document. */
function discover(secret = APP.clientSecret, authentication = oidc.ClientSecretPost(secret)) {
  return oidc.discovery(new URL(BASE), APP.clientId, { client_secret: secret }, authentication, {
    execute: [oidc.allowInsecureRequests],
  });
}

/** The tokens of a web-server flow with PKCE. */
async function signIn(config, scope = 'api refresh_token') {
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK, scope, state,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  });
  const back = await allow(url);
  return oidc.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state });
}

async function works(token) {
  const url = `${BASE}/services/data/v${VERSION}/limits`;
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  return answer.status;
}

const refusal = (error, code) => assert.equal(error.error ?? error.cause?.error, code, `${error.message} ${error.cause}`);

await serve({
  async 'client-credentials'() {
    for (const authentication of [oidc.ClientSecretPost(APP.clientSecret), oidc.ClientSecretBasic(APP.clientSecret)]) {
      const tokens = await oidc.clientCredentialsGrant(await discover(APP.clientSecret, authentication));
      assert.equal(tokens.token_type, 'bearer');
      assert.equal(await works(tokens.access_token), 200);
    }
  },

  async 'jwt-bearer'() {
    const config = await discover();
    const { SignJWT } = await import('jose');
    const assertion = await new SignJWT({}).setProtectedHeader({ alg: 'RS256' }).setIssuer(APP.clientId)
      .setSubject(USER.username).setAudience(BASE).setExpirationTime('3m').sign(createPrivateKey(KEY));
    const grant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
    const tokens = await oidc.genericGrantRequest(config, grant, { assertion });
    assert.equal(await works(tokens.access_token), 200);
    const broken = `${assertion.slice(0, -6)}AAAAAA`;
    refusal(await failure(() => oidc.genericGrantRequest(config, grant, { assertion: broken })), 'invalid_grant');
  },

  async 'web-server'() {
    const tokens = await signIn(await discover());
    assert.ok(tokens.refresh_token);
    assert.equal(await works(tokens.access_token), 200);
  },

  async 'username-password'() {
    const config = await discover();
    const tokens = await oidc.genericGrantRequest(config, 'password', USER);
    assert.equal(await works(tokens.access_token), 200);
    const wrong = { ...USER, password: 'wrong' };
    refusal(await failure(() => oidc.genericGrantRequest(config, 'password', wrong)), 'invalid_grant');
  },

  async 'sign-in-refused'() {
    const config = await discover('wrong');
    refusal(await failure(() => oidc.clientCredentialsGrant(config)), 'invalid_client');
    const again = await discover();
    refusal(await failure(() => oidc.refreshTokenGrant(again, 'nonsense')), 'invalid_grant');
  },

  async refresh() {
    const config = await discover();
    const tokens = await signIn(config);
    const renewed = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    assert.notEqual(renewed.access_token, tokens.access_token);
    assert.equal(await works(renewed.access_token), 200);
  },

  async 'refresh-rotation'() {
    const config = await discover();
    const tokens = await signIn(config);
    const next = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    assert.ok(next.refresh_token && next.refresh_token !== tokens.refresh_token);
    refusal(await failure(() => oidc.refreshTokenGrant(config, tokens.refresh_token)), 'invalid_grant');
    refusal(await failure(() => oidc.refreshTokenGrant(config, next.refresh_token)), 'invalid_grant');
  },

  async revoke() {
    const config = await discover();
    const tokens = await signIn(config);
    await oidc.tokenRevocation(config, tokens.refresh_token);
    assert.equal(await works(tokens.access_token), 401, 'its access tokens die with it');
    refusal(await failure(() => oidc.refreshTokenGrant(config, tokens.refresh_token)), 'invalid_grant');
  },

  async discovery() {
    const server = (await discover()).serverMetadata();
    assert.equal(server.issuer, BASE);
    const path = (url) => new URL(url).pathname;
    assert.equal(path(server.authorization_endpoint), '/services/oauth2/authorize');
    assert.equal(path(server.token_endpoint), '/services/oauth2/token');
    assert.equal(path(server.revocation_endpoint), '/services/oauth2/revoke');
    assert.equal(path(server.introspection_endpoint), '/services/oauth2/introspect');
    assert.ok(server.response_types_supported.includes('code'));
  },

  async userinfo() {
    const config = await discover();
    const tokens = await signIn(config);
    const info = await oidc.fetchUserInfo(config, tokens.access_token, oidc.skipSubjectCheck);
    assert.equal(info.preferred_username, USER.username);
    assert.match(info.organization_id, /^00D/);
    assert.equal(info.sub, tokens.id, 'the subject is the identity URL');
  },

  async introspection() {
    const config = await discover();
    const tokens = await signIn(config);
    const alive = await oidc.tokenIntrospection(config, tokens.access_token);
    assert.deepEqual([alive.active, alive.client_id, alive.username], [true, APP.clientId, USER.username]);
    assert.ok(alive.exp > alive.iat);
    await oidc.tokenRevocation(config, tokens.access_token);
    assert.deepEqual(await oidc.tokenIntrospection(config, tokens.access_token), { active: false });
  },
});
