// Platform events, through jsforce.

import assert from 'node:assert/strict';
import { control, EVENT, failure } from './harness.mjs';
import { code, connect } from './jsforce-connection.mjs';

export default {
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
};
