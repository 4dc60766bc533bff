// How the scenarios through jsforce sign in, and what they ask of any connection.

import assert from 'node:assert/strict';
import jsforce from 'jsforce';
import { allow, APP, BASE, CALLBACK, VERSION } from './harness.mjs';

export const app = { loginUrl: BASE, ...APP, redirectUri: CALLBACK };

/** A connection that signs in as the app and renews itself by signing in again. */
export async function connect() {
  const conn = new jsforce.Connection({
    loginUrl: BASE, instanceUrl: BASE, version: VERSION, oauth2: app,
    refreshFn: async (connection, done) => {
      try {
        const answer = await connection.oauth2.requestToken({ grant_type: 'client_credentials' });
        done(null, answer.access_token, answer);
      } catch (error) {
        done(error);
      }
    },
  });
  await conn.authorize({ grant_type: 'client_credentials' });
  return conn;
}

/** A connection with a refresh token, by the web-server flow with PKCE. */
export async function connectByCode() {
  const oauth2 = new jsforce.OAuth2({ ...app, useVerifier: true });
  const back = await allow(oauth2.getAuthorizationUrl({ scope: 'api refresh_token', state: 'st/ate' }));
  assert.equal(back.searchParams.get('state'), 'st/ate');
  const conn = new jsforce.Connection({ oauth2, version: VERSION });
  const user = await conn.authorize(back.searchParams.get('code'));
  assert.match(user.organizationId, /^00D/);
  assert.match(user.id, /^005/);
  assert.ok(conn.refreshToken, 'there is a refresh token');
  return conn;
}

export async function works(conn) {
  const result = await conn.query('SELECT Id FROM Organization');
  assert.equal(result.totalSize, 1);
}

/** Whether an error has this code. */
export const code = (expected) => (error) => {
  assert.equal(error.errorCode ?? error.name, expected, error.message);
};
