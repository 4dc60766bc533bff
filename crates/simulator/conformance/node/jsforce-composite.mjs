// Many rows at once, through jsforce.

import assert from 'node:assert/strict';
import { control, failure, VERSION } from './harness.mjs';
import { code, connect } from './jsforce-connection.mjs';

export default {
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
};
