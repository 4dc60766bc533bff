// Bulk jobs, through jsforce.

import assert from 'node:assert/strict';
import { control } from './harness.mjs';
import { connect } from './jsforce-connection.mjs';

export default {
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
};
