// Duplicate rules, through jsforce.

import assert from 'node:assert/strict';
import { control, failure } from './harness.mjs';
import { code, connect } from './jsforce-connection.mjs';

export default {
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

  async predupe() {
    const conn = await connect();
    const { id } = await conn.sobject('Contact').create({ LastName: 'A', Email: 'a@example.org' });
    const ask = (fields) => conn.requestPost('/ui-api/predupe', { apiName: 'Contact', fields });
    const found = await ask({ LastName: 'B', Email: 'A@example.org' });
    const rule = 'Standard_Contact_Duplicate_Rule';
    assert.deepEqual([found.allowSave, found.duplicateError, found.duplicateRules], [false, true, [rule]]);
    assert.deepEqual(found.matches.map((match) => [match.objectApiName, match.recordIds]), [['Contact', [id]]]);
    assert.equal(found.matches[0].duplicateResultInfos[rule].matchResultInfo.rule, 'Standard_Contact_Match_Rule_v1_1');
    const none = await ask({ LastName: 'B', Email: 'b@example.org' });
    assert.deepEqual([none.duplicateError, none.matches], [false, []]);
    code('INVALID_FIELD')(await failure(() => ask({ LastName: 'B', Emial: 'b@example.org' })));
    assert.equal((await control('records/Contact')).length, 1, 'nothing was saved');
    const rules = await conn.request('/ui-api/duplicates/Contact');
    assert.deepEqual([rules.dedupeEnabled, rules.duplicateRules.map((each) => each.actionOnInsert)], [true, ['Block']]);
  },
};
