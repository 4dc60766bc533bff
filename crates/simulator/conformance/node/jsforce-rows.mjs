// Rows, one at a time, through jsforce.

import assert from 'node:assert/strict';
import jsforce from 'jsforce';
import { BASE, control, failure, VERSION } from './harness.mjs';
import { code, connect } from './jsforce-connection.mjs';

export default {
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
};
