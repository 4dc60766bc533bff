// The streaming scenarios through salesforce-pubsub-api-client: gRPC and Avro, with the client's own TLS.

import assert from 'node:assert/strict';
import PubSubApiClient from 'salesforce-pubsub-api-client';
import { APP, BASE, control, EVENT, failure, KEY, serve, USER, VERSION } from './harness.mjs';

const TOPIC = `/event/${EVENT}`;
const quiet = { debug() {}, info() {}, warn: console.error, error: console.error };
const byApp = { authType: 'oauth-client-credentials', ...APP };
const open = [];

async function connect(how = byApp) {
  const client = new PubSubApiClient({
    loginUrl: BASE, pubSubEndpoint: new URL(BASE).host, rejectUnauthorizedSsl: false, ...how,
  }, quiet);
  await client.connect();
  open.push(client);
  return client;
}

/** Ends what a scenario has opened, whatever became of it. */
const closing = (scenario) => async () => {
  try {
    return await scenario();
  } finally {
    while (open.length) open.pop().close();
  }
};

/** Collects what a subscription brings until there is enough of it, or an error. */
function collect(subscribe, enough) {
  return new Promise((resolve, reject) => {
    const events = [];
    const late = setTimeout(() => reject(new Error(`${events.length} of ${enough} events within 10 s`)), 10_000);
    const done = (settle, value) => { clearTimeout(late); settle(value); };
    subscribe((_info, type, data) => {
      if (type === 'error') done(reject, data);
      if (type === 'event') events.push(data);
      if (type === 'event' && events.length === enough) done(resolve, events);
    });
  });
}

/** Publishes by REST, as somebody else would. */
async function publish(...numbers) {
  const form = new URLSearchParams({
    grant_type: 'client_credentials', client_id: APP.clientId, client_secret: APP.clientSecret,
  });
  const signedIn = await fetch(`${BASE}/services/oauth2/token`, { method: 'POST', body: form });
  const { access_token: token } = await signedIn.json();
  const uuids = [];
  for (const number of numbers) {
    const answer = await fetch(`${BASE}/services/data/v${VERSION}/sobjects/${EVENT}`, {
      method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ i42as__OrderNumber__c: number, i42as__PurchaseDate__c: '2026-02-03T16:13:57.820Z' }),
    });
    const sent = await answer.json();
    assert.equal(answer.status, 201, JSON.stringify(sent));
    uuids.push(sent.errors[0].message);
  }
  return uuids;
}

const numbers = (events) => events.map((event) => event.payload.i42as__OrderNumber__c);

const scenarios = {
  async 'stream-sign-in'() {
    const ways = [
      byApp,
      { authType: 'oauth-jwt-bearer', clientId: APP.clientId, username: USER.username, privateKey: KEY },
      { authType: 'username-password', ...USER },
    ];
    for (const how of ways) {
      const client = await connect(how);
      const sent = await client.publish(TOPIC, event('SO-1'));
      assert.ok(sent.replayId > 0, how.authType);
    }
    const stranger = await connect({ authType: 'user-supplied', instanceUrl: BASE, accessToken: `${'00D'.padEnd(15, '0')}!x` });
    const error = await failure(() => stranger.publish(TOPIC, event('SO-1')));
    assert.equal(error.cause?.code, 16, `UNAUTHENTICATED, not ${error.cause}`);
  },

  async 'stream-publish'() {
    const client = await connect();
    const sent = await client.publish(TOPIC, event('SO-1'), 'my-key');
    assert.equal(sent.correlationKey, 'my-key');
    const [seen] = await control('events');
    assert.equal(seen.payload.i42as__OrderNumber__c, 'SO-1');
    assert.equal(seen.replay_id, sent.replayId);
  },

  async 'stream-subscribe'() {
    const client = await connect();
    const uuids = await publish('SO-1', 'SO-2');
    const past = await collect((call) => client.subscribeFromEarliestEvent(TOPIC, call), 2);
    assert.deepEqual(numbers(past), ['SO-1', 'SO-2']);
    assert.deepEqual(past.map((one) => one.id), uuids);
    assert.equal(past[0].payload.i42as__PurchaseDate__c, Date.parse('2026-02-03T16:13:57.820Z'));
    assert.match(past[0].payload.CreatedById, /^005/);
    assert.ok(past[1].replayId > past[0].replayId);
    const other = await connect();
    const later = collect((call) => other.subscribe(TOPIC, call), 1);
    await subscribed(2);
    await publish('SO-3');
    assert.deepEqual(numbers(await later), ['SO-3']);
  },

  async 'stream-replay'() {
    const client = await connect();
    await publish('SO-1', 'SO-2', 'SO-3');
    const [first] = await control('events');
    const rest = await collect((call) => client.subscribeFromReplayId(TOPIC, call, null, first.replay_id), 2);
    assert.deepEqual(numbers(rest), ['SO-2', 'SO-3']);
  },

  async 'stream-flow'() {
    const client = await connect();
    await publish('SO-1', 'SO-2', 'SO-3');
    const seen = [];
    const ends = [];
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`only ${seen.length} events within 10 s`)), 10_000);
      client.subscribeFromEarliestEvent(TOPIC, (_info, type, data) => {
        if (type === 'error') reject(data);
        if (type === 'event') seen.push(data);
        if (type === 'lastEvent') ends.push(seen.length);
        if (type === 'lastEvent' && seen.length === 2) client.requestAdditionalEvents(TOPIC, 1);
        if (seen.length === 3) { clearTimeout(late); resolve(); }
      }, 2);
    });
    assert.deepEqual(numbers(seen), ['SO-1', 'SO-2', 'SO-3']);
    assert.equal(ends[0], 2, 'no more than was asked for');
  },

  async 'stream-refused'() {
    const client = await connect();
    const unknown = await failure(() => client.publish('/event/Unknown__e', event('SO-1')));
    assert.ok([5, 7].includes(rootCode(unknown)), `NOT_FOUND or PERMISSION_DENIED, not ${rootCode(unknown)}`);
    const error = await failure(() => collect((call) => client.subscribe('/event/Unknown__e', call), 1));
    assert.ok(error.code > 0, 'a subscription ends with a status');
  },
};

// The library's close() takes the listeners off its streams and leaves these open; when one ends later, its status is an
// error that nobody listens to, which would end the process.
process.on('uncaughtException', (error) => {
  const late = typeof error?.code === 'number' && error.metadata !== undefined;
  console.error(late ? `a stream that was closed has ended: ${error.message}` : error);
  if (!late) process.exit(1);
});

/** Waits until the org has so many subscriptions. */
async function subscribed(count) {
  const until = Date.now() + 10_000;
  for (;;) {
    const { subscriptions } = await control('usage');
    if (subscriptions === undefined || subscriptions >= count) return;
    if (Date.now() > until) throw new Error(`${subscriptions} of ${count} subscriptions within 10 s`);
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
}

function rootCode(error) {
  let at = error;
  while (at && at.code === undefined) at = at.cause;
  return at?.code;
}

/** A payload as Avro wants it: the system fields, and what is set. */
function event(number) {
  return {
    CreatedDate: Date.now(), CreatedById: '005000000000000AAA', i42as__OrderNumber__c: { string: number },
  };
}

await serve(Object.fromEntries(Object.entries(scenarios).map(([id, scenario]) => [id, closing(scenario)])));
