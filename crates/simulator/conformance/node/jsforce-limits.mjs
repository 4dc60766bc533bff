// Limits and trouble, through jsforce.

import assert from 'node:assert/strict';
import jsforce from 'jsforce';
import { BASE, control, failure, USER, VERSION } from './harness.mjs';
import { code, connect, connectByCode, works } from './jsforce-connection.mjs';

export default {
  async 'session-expired'() {
    const conn = await connectByCode();
    let renewed = 0;
    conn.on('refresh', () => { renewed += 1; });
    await control('sessions/expire', {});
    const rows = await conn.sobject('Account').create([{ Name: 'After' }]);
    assert.equal(rows[0].success, true);
    assert.equal(renewed, 1);
    await control('faults', { kind: 'session_not_valid_for_rest', times: 1 });
    code('INVALID_SESSION_ID')(await failure(() => conn.query('SELECT Id FROM Account')));
    assert.equal(renewed, 1, 'a session that is not valid for REST is not renewed');
    const byPassword = new jsforce.Connection({ loginUrl: BASE, version: VERSION });
    await byPassword.login(USER.username, USER.password);
    await control('sessions/expire', {});
    await works(byPassword);
  },

  async 'api-limit'() {
    const conn = await connect();
    await control('settings', { api_limit: 3 });
    for (let n = 0; n < 3; n += 1) await works(conn);
    const error = await failure(() => conn.query('SELECT Id FROM Account'));
    code('REQUEST_LIMIT_EXCEEDED')(error);
    assert.equal(error.message, 'TotalRequests Limit exceeded.');
    assert.deepEqual(conn.limitInfo.apiUsage, { used: 3, limit: 3 });
    await connect();
  },

  async unavailable() {
    const conn = await connect();
    await control('faults', { kind: 'unavailable_html', times: 1 });
    await works(conn);
    await control('faults', { kind: 'unavailable_json', times: 1 });
    code('SERVER_UNAVAILABLE')(await failure(() => conn.sobject('Account').create({ Name: 'A' })));
    await control('faults', { kind: 'drop_before', times: 1 });
    await works(conn);
    assert.equal((await control('records/Account')).length, 0);
  },

  async 'row-lock'() {
    const conn = await connect();
    const error = await failure(() => conn.sobject('Account').create({ Name: 'A' }));
    code('UNABLE_TO_LOCK_ROW')(error);
    assert.equal((await conn.sobject('Account').create({ Name: 'A' })).success, true);
  },
};
