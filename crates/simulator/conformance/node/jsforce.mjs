// The scenarios through jsforce.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import jsforce from 'jsforce';
import { allow, APP, BASE, CALLBACK, control, EVENT, failure, serve, USER, VERSION } from './harness.mjs';

const app = { loginUrl: BASE, ...APP, redirectUri: CALLBACK };

/** A connection that signs in as the app and renews itself by signing in again. */
async function connect() {
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
async function connectByCode() {
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

async function works(conn) {
  const result = await conn.query('SELECT Id FROM Organization');
  assert.equal(result.totalSize, 1);
}

const code = (expected) => (error) => {
  assert.equal(error.errorCode ?? error.name, expected, error.message);
};

await serve({
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

  async 'row-life'() {
    const conn = await connect();
    const contacts = conn.sobject('Contact');
    const created = await contacts.create({ FirstName: 'Ada', LastName: 'Lovelace', Email: 'ada@example.org' });
    assert.deepEqual([created.success, created.errors], [true, []]);
    assert.match(created.id, /^003.{15}$/);
    const row = await contacts.retrieve(created.id);
    assert.equal(row.attributes.type, 'Contact');
    assert.equal(row.Name, 'Ada Lovelace');
    assert.match(row.CreatedDate, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000$/);
    assert.deepEqual(await contacts.update({ Id: created.id, Title: 'Countess' }), {
      id: created.id, success: true, errors: [],
    });
    assert.equal((await contacts.retrieve(created.id)).Title, 'Countess');
    assert.equal((await contacts.destroy(created.id)).success, true);
    code('ENTITY_IS_DELETED')(await failure(() => contacts.retrieve(created.id)));
    code('ENTITY_IS_DELETED')(await failure(() => contacts.destroy(created.id)));
    const error = await failure(() => contacts.retrieve('003000000000000AAA'));
    code('NOT_FOUND')(error);
    assert.equal(error.message, 'The requested resource does not exist');
  },

  async 'row-changes'() {
    const conn = await connect();
    const contacts = conn.sobject('Contact');
    const [kept, gone] = await contacts.create([{ LastName: 'Kept' }, { LastName: 'Gone' }]);
    await contacts.destroy(gone.id);
    const [from, to] = [new Date(Date.now() - 3_600_000), new Date(Date.now() + 60_000)];
    const updated = await contacts.updated(from, to);
    assert.deepEqual(updated.ids, [kept.id]);
    assert.ok(updated.latestDateCovered);
    const deleted = await contacts.deleted(from, to);
    assert.deepEqual(deleted.deletedRecords.map((row) => row.id), [gone.id]);
    assert.ok(deleted.earliestDateAvailable && deleted.latestDateCovered && deleted.deletedRecords[0].deletedDate);
  },

  async 'row-upsert'() {
    const conn = await connect();
    const account = await conn.sobject('Account').create({ Name: 'Acme' });
    const first = await conn.sobject('LimioOrder__c').upsert(
      { LimioId__c: 'O 1 ä', OrderType__c: 'new', Account__c: account.id }, 'LimioId__c');
    assert.equal(first.created, true);
    const second = await conn.sobject('LimioOrder__c').upsert({ LimioId__c: 'O 1 ä', OrderType__c: 'renew' }, 'LimioId__c');
    assert.deepEqual([second.id, second.created], [first.id, false]);
    const row = await conn.request(`/sobjects/LimioOrder__c/LimioId__c/${encodeURIComponent('O 1 ä')}`);
    assert.equal(row.OrderType__c, 'renew');
    const old = new jsforce.Connection({ instanceUrl: BASE, accessToken: conn.accessToken, version: '45.0' });
    const third = await old.sobject('LimioOrder__c').upsert({ LimioId__c: 'O 1 ä', OrderType__c: 'x' }, 'LimioId__c');
    assert.equal(third.id, undefined, 'before v46 an update answers 204');
  },

  async 'row-refused'() {
    const conn = await connect();
    const contacts = conn.sobject('Contact');
    const unknown = await failure(() => contacts.create({ LastName: 'A', Emial: 'a@example.org' }));
    code('INVALID_FIELD')(unknown);
    assert.match(unknown.message, /^No such column 'Emial' on sobject of type Contact/);
    const missing = await failure(() => contacts.create({ FirstName: 'A' }));
    code('REQUIRED_FIELD_MISSING')(missing);
    assert.deepEqual(missing.data?.fields, ['LastName']);
    code('STRING_TOO_LONG')(await failure(() => contacts.create({ LastName: 'x'.repeat(81) })));
    code('INVALID_EMAIL_ADDRESS')(await failure(() => contacts.create({ LastName: 'A', Email: 'nobody' })));
    code('NOT_FOUND')(await failure(() => conn.sobject('Kontakt').create({ LastName: 'A' })));
    code('NOT_FOUND')(await failure(() => contacts.update({ Id: '003000000000000AAA', LastName: 'A' })));
  },

  async describe() {
    const conn = await connect();
    const all = await conn.describeGlobal();
    assert.equal(all.maxBatchSize, 200);
    const contact = all.sobjects.find((object) => object.name === 'Contact');
    assert.deepEqual([contact.keyPrefix, contact.custom, contact.createable], ['003', false, true]);
    const before = (await control('requests')).length;
    const described = await conn.describe$('Contact');
    await conn.describe$('Contact');
    assert.equal((await control('requests')).length, before + 1, 'the cache is filled');
    const parent = described.fields.find((field) => field.name === 'AccountId');
    assert.deepEqual([parent.type, parent.referenceTo, parent.relationshipName], ['reference', ['Account'], 'Account']);
    const name = described.fields.find((field) => field.name === 'LastName');
    assert.deepEqual([name.length, name.nillable, name.type], [80, false, 'string']);
    const order = await conn.sobject('LimioOrder__c').describe();
    const key = order.fields.find((field) => field.name === 'LimioId__c');
    assert.deepEqual([key.externalId, key.unique, key.idLookup, key.custom], [true, true, true, true]);
  },

  async 'versions-and-limits'() {
    const conn = await connect();
    const versions = await conn.request('/services/data');
    assert.ok(versions.some((version) => version.version === VERSION && version.url === `/services/data/v${VERSION}`));
    const limits = await conn.limits();
    const { Max, Remaining } = limits.DailyApiRequests;
    assert.equal(Max, 100000);
    assert.equal(conn.limitInfo.apiUsage.limit, Max);
    assert.ok(Remaining < Max && Remaining >= Max - 10, `${Remaining} of ${Max}`);
  },

  async 'query-paging'() {
    const conn = await connect();
    await control('records/Account', Array.from({ length: 450 }, (_, n) => ({ Name: `Account ${String(n).padStart(3, '0')}` })));
    const soql = 'SELECT Id, Name FROM Account ORDER BY Name';
    const headers = { 'Sforce-Query-Options': 'batchSize=200' };
    const first = await conn.query(soql, { headers, autoFetch: false });
    assert.deepEqual([first.totalSize, first.done, first.records.length], [450, false, 200]);
    assert.match(first.nextRecordsUrl, /\/services\/data\/v62\.0\/query\/01g\w{15}-200$/);
    const second = await conn.queryMore(first.nextRecordsUrl);
    assert.deepEqual([second.done, second.records.length, second.records[0].Name], [false, 200, 'Account 200']);
    const third = await conn.queryMore(second.nextRecordsUrl);
    assert.deepEqual([third.done, third.records.length, third.nextRecordsUrl], [true, 50, undefined]);
    const all = await conn.query(soql, { headers, autoFetch: true, maxFetch: 1000 });
    assert.deepEqual([all.done, new Set(all.records.map((row) => row.Name)).size], [true, 450]);
    code('INVALID_QUERY_LOCATOR')(await failure(() => conn.queryMore('/services/data/v62.0/query/01g000000000000AAA-200')));
  },

  async 'query-parents'() {
    const conn = await connect();
    const account = await conn.sobject('Account').create({ Name: 'Acme' });
    await conn.sobject('Contact').create([
      { LastName: 'Beta', AccountId: account.id, Email: 'b@example.org' },
      { LastName: 'Alpha', AccountId: account.id }, { LastName: 'Gamma' },
    ]);
    const found = await conn.sobject('Contact')
      .find({ LastName: { $like: '%a' }, 'Account.Name': 'Acme' }, ['Id', 'LastName', 'Account.Name'])
      .sort({ LastName: 1 }).limit(10);
    assert.deepEqual(found.map((row) => [row.LastName, row.Account.Name]), [['Alpha', 'Acme'], ['Beta', 'Acme']]);
    assert.equal(found[0].Account.attributes.type, 'Account');
    assert.equal(await conn.sobject('Contact').count({ LastName: ['Alpha', 'Gamma'] }), 2);
    const none = await conn.query("SELECT Id, Account.Name FROM Contact WHERE LastName = 'Gamma'");
    assert.equal(none.records[0].Account, null);
  },

  async 'query-groups'() {
    const conn = await connect();
    await control('records/Opportunity', [[1, 'Prospecting'], [2, 'Closed Won'], [4, 'Closed Won']].map(([Amount, StageName]) => (
      { Name: 'A', CloseDate: '2026-12-31', Amount, StageName })));
    const { records } = await conn.query(
      'SELECT StageName, COUNT(Id) n, SUM(Amount) FROM Opportunity GROUP BY StageName HAVING COUNT(Id) > 0 ORDER BY StageName');
    assert.deepEqual(records.map((row) => [row.StageName, row.n, row.expr0]), [['Closed Won', 2, 6], ['Prospecting', 1, 1]]);
    assert.equal(records[0].attributes.type, 'AggregateResult');
  },

  async 'query-children'() {
    const conn = await connect();
    const [full] = await conn.sobject('Account').create([{ Name: 'Full' }, { Name: 'Sole' }]);
    await conn.sobject('Contact').create([{ LastName: 'A', AccountId: full.id }, { LastName: 'B', AccountId: full.id }]);
    const accounts = await conn.sobject('Account').find({}, 'Name').sort('Name').include('Contacts').select('LastName')
      .sort('LastName').end().execute();
    assert.deepEqual(accounts.map((row) => row.Contacts?.records.map((contact) => contact.LastName) ?? null), [['A', 'B'], null]);
    assert.deepEqual([accounts[0].Contacts.totalSize, accounts[0].Contacts.done], [2, true]);
  },

  async 'query-deleted'() {
    const conn = await connect();
    const { id } = await conn.sobject('Account').create({ Name: 'Gone' });
    await conn.sobject('Account').destroy(id);
    const soql = "SELECT Id, IsDeleted FROM Account WHERE Name = 'Gone'";
    assert.equal((await conn.query(soql)).totalSize, 0);
    const all = await conn.query(soql, { scanAll: true });
    assert.deepEqual(all.records.map((row) => [row.Id, row.IsDeleted]), [[id, true]]);
  },

  async 'query-refused'() {
    const conn = await connect();
    code('MALFORMED_QUERY')(await failure(() => conn.query('SELECT FROM Account')));
    code('INVALID_FIELD')(await failure(() => conn.query('SELECT Nmae FROM Account')));
    code('INVALID_TYPE')(await failure(() => conn.query('SELECT Id FROM Accont')));
  },

  async 'collection-partial'() {
    const conn = await connect();
    const rows = Array.from({ length: 200 }, (_, n) => (n % 20 === 7 ? { FirstName: `${n}` } : { LastName: `Row ${n}` }));
    const results = await conn.sobject('Contact').create(rows);
    assert.equal(results.length, 200);
    for (const [n, result] of results.entries()) {
      assert.equal(result.success, n % 20 !== 7, `row ${n}`);
      if (result.success) {
        assert.match(result.id, /^003/);
      } else {
        assert.equal(result.errors[0].statusCode, 'REQUIRED_FIELD_MISSING');
        assert.deepEqual(result.errors[0].fields, ['LastName']);
      }
    }
    assert.equal(await conn.sobject('Contact').count({}), 190);
    const tooMany = await failure(() => conn.sobject('Contact').create([...rows, { LastName: 'One more' }]));
    code('EXCEEDED_ID_LIMIT')(tooMany);
    const many = Array.from({ length: 450 }, (_, n) => ({ LastName: `Row ${n}` }));
    const more = await conn.sobject('Contact').create(many, { allowRecursive: true });
    assert.equal(more.filter((result) => result.success).length, 450, 'in chunks of 200');
  },

  async 'collection-all-or-none'() {
    const conn = await connect();
    const rows = [{ LastName: 'A' }, { FirstName: 'B' }, { LastName: 'C' }];
    const results = await conn.sobject('Contact').create(rows, { allOrNone: true });
    assert.deepEqual(results.map((result) => [result.success, result.errors[0].statusCode]), [
      [false, 'ALL_OR_NONE_OPERATION_ROLLED_BACK'],
      [false, 'REQUIRED_FIELD_MISSING'],
      [false, 'ALL_OR_NONE_OPERATION_ROLLED_BACK'],
    ]);
    assert.equal((await control('records/Contact')).length, 0);
  },

  async 'collection-upsert'() {
    const conn = await connect();
    const orders = conn.sobject('LimioOrder__c');
    const first = await orders.upsert([{ LimioId__c: 'A', OrderType__c: 'new' }, { LimioId__c: 'B' }], 'LimioId__c');
    assert.deepEqual(first.map((result) => result.created), [true, true]);
    const second = await orders.upsert([{ LimioId__c: 'B', OrderType__c: 'x' }, { LimioId__c: 'C' }], 'LimioId__c');
    assert.deepEqual(second.map((result) => result.created), [false, true]);
    const ids = [second[1].id, first[0].id, 'a00000000000000AAA'];
    const read = await conn.retrieve('LimioOrder__c', ids, { fields: ['LimioId__c', 'OrderType__c'] });
    assert.deepEqual(read.map((row) => row && row.LimioId__c), ['C', 'A', null]);
    assert.equal((await conn.retrieve('LimioOrder__c', [first[0].id]))[0].OrderType__c, 'new', 'all fields by describe');
    const gone = await orders.destroy([first[0].id, 'a00000000000000AAA']);
    assert.deepEqual(gone.map((result) => result.success), [true, false]);
    const changed = await orders.update([{ Id: second[1].id, OrderType__c: 'late' }]);
    assert.deepEqual(changed.map((result) => result.success), [true]);
  },

  async 'composite-references'() {
    const conn = await connect();
    const at = (path) => `/services/data/v${VERSION}/${path}`;
    const parts = [
      { method: 'POST', url: at('sobjects/Account'), referenceId: 'account', body: { Name: 'Acme' } },
      { method: 'POST', url: at('sobjects/Contact'), referenceId: 'contact', body: { LastName: 'A', AccountId: '@{account.id}' } },
      { method: 'GET', url: at('sobjects/Contact/@{contact.id}?fields=LastName,AccountId'), referenceId: 'read' },
    ];
    const { compositeResponse } = await conn.requestPost('/composite', { allOrNone: true, compositeRequest: parts });
    assert.deepEqual(compositeResponse.map((part) => [part.referenceId, part.httpStatusCode]), [
      ['account', 201], ['contact', 201], ['read', 200],
    ]);
    assert.equal(compositeResponse[2].body.AccountId, compositeResponse[0].body.id);
    const bad = [...parts.slice(0, 1), { ...parts[1], body: { FirstName: 'A', AccountId: '@{account.id}' } }];
    const refused = await conn.requestPost('/composite', { allOrNone: true, compositeRequest: bad });
    assert.deepEqual(refused.compositeResponse.map((part) => part.body[0].errorCode), [
      'PROCESSING_HALTED', 'REQUIRED_FIELD_MISSING',
    ]);
    assert.equal((await control('records/Account')).length, 1);
  },

  async 'composite-tree'() {
    const conn = await connect();
    const tree = (contact) => ({ records: [{
      attributes: { type: 'Account', referenceId: 'account' }, Name: 'Acme',
      Contacts: { records: [{ attributes: { type: 'Contact', referenceId: 'contact' }, ...contact }] },
    }] });
    const good = await conn.requestPost('/composite/tree/Account', tree({ LastName: 'A' }));
    assert.equal(good.hasErrors, false);
    assert.deepEqual(good.results.map((row) => row.referenceId), ['account', 'contact']);
    const [contact] = await control('records/Contact');
    assert.deepEqual([contact.AccountId, contact.Id], good.results.map((row) => row.id));
    const error = await failure(() => conn.requestPost('/composite/tree/Account', tree({ FirstName: 'A' })));
    assert.equal(JSON.parse(error.message).hasErrors, true);
    assert.equal((await control('records/Account')).length, 1);
  },

  async 'composite-batch'() {
    const conn = await connect();
    const { id } = await conn.sobject('Account').create({ Name: 'Acme' });
    const answer = await conn.requestPost('/composite/batch', { batchRequests: [
      { method: 'PATCH', url: `v${VERSION}/sobjects/Account/${id}`, richInput: { Name: 'New' } },
      { method: 'GET', url: `v${VERSION}/sobjects/Account/${id}?fields=Name` },
      { method: 'GET', url: `v${VERSION}/sobjects/Account/001000000000000AAA` },
    ] });
    assert.equal(answer.hasErrors, true);
    assert.deepEqual(answer.results.map((part) => part.statusCode), [204, 200, 404]);
    assert.equal(answer.results[1].result.Name, 'New');
    assert.equal(answer.results[2].result[0].errorCode, 'NOT_FOUND');
  },

  async 'composite-graph'() {
    const conn = await connect();
    const url = (object) => `/services/data/v${VERSION}/sobjects/${object}`;
    const graph = (graphId, contact) => ({
      graphId,
      compositeRequest: [
        { method: 'POST', url: url('Account'), referenceId: 'account', body: { Name: graphId } },
        { method: 'POST', url: url('Contact'), referenceId: 'contact', body: { AccountId: '@{account.id}', ...contact } },
      ],
    });
    const { graphs } = await conn.requestPost('/composite/graph', {
      graphs: [graph('good', { LastName: 'A' }), graph('bad', { FirstName: 'B' })],
    });
    assert.deepEqual(graphs.map((one) => [one.graphId, one.isSuccessful]), [['good', true], ['bad', false]]);
    assert.equal(graphs[0].graphResponse.compositeResponse[1].httpStatusCode, 201);
    const codes = graphs[1].graphResponse.compositeResponse.map((part) => part.body[0].errorCode);
    assert.equal(codes[1], 'REQUIRED_FIELD_MISSING');
    assert.deepEqual((await control('records/Account')).map((row) => row.Name), ['good']);
  },

  async 'duplicate-blocked'() {
    const conn = await connect();
    const first = await conn.sobject('Contact').create({ LastName: 'A', Email: 'a@example.org' });
    const error = await failure(() => conn.sobject('Contact').create({ LastName: 'B', Email: 'A@example.org' }));
    code('DUPLICATES_DETECTED')(error);
    const result = error.data.duplicateResut;
    assert.equal(result.allowSave, false);
    assert.equal(result.matchResults[0].matchRecords[0].record.Id, first.id);
    const rows = await conn.sobject('Contact').create([{ LastName: 'C', Email: 'a@example.org' }, { LastName: 'D' }]);
    assert.deepEqual(rows.map((row) => row.success), [false, true]);
    assert.equal(rows[0].errors[0].statusCode, 'DUPLICATES_DETECTED');
  },

  async 'duplicate-allowed'() {
    const conn = await connect();
    await conn.sobject('Contact').create({ LastName: 'A', Email: 'a@example.org' });
    const again = { LastName: 'B', Email: 'a@example.org' };
    const error = await failure(() => conn.sobject('Contact').create(again));
    assert.equal(error.data.duplicateResut.allowSave, true);
    const headers = { 'Sforce-Duplicate-Rule-Header': 'allowSave=true' };
    assert.equal((await conn.sobject('Contact').create(again, { headers })).success, true);
    assert.equal((await conn.sobject('Contact').create([again], { headers }))[0].success, true);
  },

  async 'event-publish'() {
    const conn = await connect();
    const sent = await conn.sobject(EVENT).create({ i42as__OrderNumber__c: 'SO-1', i42as__OrderType__c: 'new' });
    assert.equal(sent.success, true);
    assert.equal(sent.errors[0].statusCode, 'OPERATION_ENQUEUED');
    const several = await conn.sobject(EVENT).create([{ i42as__OrderNumber__c: 'SO-2' }, { i42as__OrderNumber__c: 'SO-3' }]);
    assert.deepEqual(several.map((result) => result.success), [true, true]);
    const events = await control('events');
    assert.deepEqual(events.map((event) => event.payload.i42as__OrderNumber__c), ['SO-1', 'SO-2', 'SO-3']);
    assert.equal(events[0].event_uuid, sent.errors[0].message);
  },

  async 'event-refused'() {
    const conn = await connect();
    code('INVALID_FIELD')(await failure(() => conn.sobject(EVENT).create({ OrderNumber: 'SO-1' })));
    assert.deepEqual(await control('events'), []);
  },

  async 'bulk-ingest'() {
    const conn = await connect();
    conn.bulk2.pollInterval = 50;
    const input = [{ LastName: 'A, "B"', Email: 'a@example.org' }, { LastName: '', Email: 'b@example.org' }, { LastName: 'C' }];
    const results = await conn.bulk2.loadAndWaitForResults({ object: 'Contact', operation: 'insert', input });
    assert.deepEqual([results.successfulResults.length, results.failedResults.length, results.unprocessedRecords.length], [2, 1, 0]);
    assert.match(results.successfulResults[0].sf__Id, /^003/);
    assert.equal(results.successfulResults[0].sf__Created, 'true');
    assert.match(results.failedResults[0].sf__Error, /^REQUIRED_FIELD_MISSING:/);
    assert.equal(results.failedResults[0].Email, 'b@example.org');
    assert.deepEqual((await control('records/Contact')).map((row) => row.LastName), ['A, "B"', 'C']);
  },

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
});
