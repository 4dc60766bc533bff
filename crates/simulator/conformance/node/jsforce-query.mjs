// Queries, through jsforce.

import assert from 'node:assert/strict';
import { control, failure } from './harness.mjs';
import { code, connect } from './jsforce-connection.mjs';

export default {
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
};
