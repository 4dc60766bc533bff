// Signing in, through jsforce.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import jsforce from 'jsforce';
import { APP, BASE, failure, USER, VERSION } from './harness.mjs';
import { app, code, connect, connectByCode, works } from './jsforce-connection.mjs';

export default {
  async 'client-credentials'() {
    const conn = await connect();
    assert.match(conn.userInfo.organizationId, /^00D.{15}$/);
    assert.equal(conn.instanceUrl, BASE);
    await works(conn);
  },

  async 'web-server'() {
    const conn = await connectByCode();
    await works(conn);
    const identity = await conn.identity();
    assert.equal(identity.username, USER.username);
    assert.equal(identity.user_id, conn.userInfo.id);
  },

  async 'username-password'() {
    const conn = new jsforce.Connection({ oauth2: app, version: VERSION });
    const user = await conn.login(USER.username, USER.password);
    assert.match(user.id, /^005/);
    await works(conn);
    const error = await failure(() => new jsforce.Connection({ oauth2: app }).login(USER.username, 'wrong'));
    assert.equal(error.name, 'invalid_grant', error.message);
  },

  async 'soap-login'() {
    const conn = new jsforce.Connection({ loginUrl: BASE, version: VERSION });
    const user = await conn.login(USER.username, USER.password);
    assert.match(user.organizationId, /^00D.{15}$/);
    await works(conn);
    const token = conn.accessToken;
    await conn.logout();
    const after = new jsforce.Connection({ instanceUrl: BASE, accessToken: token, version: VERSION });
    code('INVALID_SESSION_ID')(await failure(() => after.query('SELECT Id FROM Account')));
    const error = await failure(() => new jsforce.Connection({ loginUrl: BASE }).login(USER.username, 'wrong'));
    assert.match(error.message, /^INVALID_LOGIN: Invalid username, password, security token; or user locked out/);
  },

  async 'sign-in-refused'() {
    const conn = new jsforce.Connection({ oauth2: { ...app, clientSecret: 'wrong' }, version: VERSION });
    const error = await failure(() => conn.authorize({ grant_type: 'client_credentials' }));
    assert.equal(error.name, 'invalid_client', error.message);
    assert.equal(error.message, 'invalid client credentials');
  },

  async refresh() {
    const conn = await connectByCode();
    const answer = await conn.oauth2.refreshToken(conn.refreshToken);
    assert.notEqual(answer.access_token, conn.accessToken);
    assert.equal(answer.instance_url, BASE);
    const signed = createHmac('sha256', APP.clientSecret).update(answer.id + answer.issued_at).digest('base64');
    assert.equal(answer.signature, signed, 'the signature is that of the secret');
    await works(new jsforce.Connection({ instanceUrl: BASE, accessToken: answer.access_token, version: VERSION }));
  },

  async 'refresh-rotation'() {
    const conn = await connectByCode();
    const oauth2 = conn.oauth2;
    const next = await oauth2.refreshToken(conn.refreshToken);
    assert.ok(next.refresh_token && next.refresh_token !== conn.refreshToken, 'there is a successor');
    assert.equal((await failure(() => oauth2.refreshToken(conn.refreshToken))).name, 'invalid_grant');
    assert.equal((await failure(() => oauth2.refreshToken(next.refresh_token))).name, 'invalid_grant');
  },

  async revoke() {
    const conn = await connectByCode();
    const token = conn.accessToken;
    await conn.logout(true);
    const after = new jsforce.Connection({ instanceUrl: BASE, accessToken: token, version: VERSION });
    code('INVALID_SESSION_ID')(await failure(() => after.query('SELECT Id FROM Account')));
    const error = await failure(() => new jsforce.OAuth2(app).revokeToken('nonsense'));
    assert.match(`${error.name} ${error.message}`, /invalid_token/);
  },
};
