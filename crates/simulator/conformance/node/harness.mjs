// What the Node runners have in common: scenario ids come in on stdin, one a line, and each is answered by one JSON
// line on stdout. The org's control plane is reached by plain fetch; everything else goes through the client.

import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';

export const BASE = process.env.CONFORMANCE_URL;
export const KEY = readFileSync(process.env.CONFORMANCE_KEY, 'utf8');
export const APP = { clientId: 'causeway-dev', clientSecret: 'causeway-dev-secret' };
export const USER = { username: 'integration@causeway.test', password: 'causeway' };
export const CALLBACK = 'http://localhost:1717/callback';
export const VERSION = '62.0';
export const EVENT = 'i42as__OrderEvent__e';

/** Posts to the control plane, or reads from it when there is no body. */
export async function control(path, body) {
  const answer = await fetch(`${BASE}/_sim/${path}`, body === undefined ? {} : {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`control plane, ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/**
 * Allows the app as a person would, on the pages that an authorize URL leads to: logs in where a password is asked for,
 * presses Allow where there is such a button, and keeps the cookies. Gives the URL of the way back.
 */
export async function allow(authorizeUrl) {
  const cookies = new Map();
  let [url, options] = [new URL(authorizeUrl), {}];
  for (let step = 0; step < 10; step += 1) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, { ...options, redirect: 'manual', headers: cookie ? { cookie } : {} });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
      cookies.set(name, value);
    }
    const next = answer.headers.get('location');
    if (next?.startsWith(CALLBACK)) return new URL(next);
    if (next) {
      [url, options] = [new URL(next, url), {}];
      continue;
    }
    const page = await answer.text();
    const form = page.match(/<form[^>]* action="([^"]*)"/);
    if (!form) throw new Error(`no form on ${url.pathname} (${answer.status}): ${page.slice(0, 300)}`);
    const body = new URLSearchParams();
    for (const [, name, value] of page.matchAll(/type="hidden" name="([^"]*)" value="([^"]*)"/g)) {
      body.set(name, value.replaceAll('&#39;', "'").replaceAll('&quot;', '"').replaceAll('&amp;', '&'));
    }
    if (page.includes('name="password"')) {
      body.set('username', USER.username);
      body.set('password', USER.password);
    }
    if (page.includes('value="allow"')) body.set('decision', 'allow');
    [url, options] = [new URL(form[1], url), { method: 'POST', body }];
  }
  throw new Error('the pages lead nowhere');
}

/** The error of a call that has to fail. */
export async function failure(call) {
  let value;
  try {
    value = await call();
  } catch (error) {
    return error;
  }
  throw new Error(`was not refused: ${JSON.stringify(value)}`);
}

/** Runs scenarios until stdin ends. */
export async function serve(scenarios) {
  // Libraries write what they please; stdout is for the answers.
  console.log = console.info = console.debug = console.error;
  for await (const line of createInterface({ input: process.stdin })) {
    const id = line.trim();
    if (!id) continue;
    const started = performance.now();
    let ok = true;
    let detail = '';
    try {
      const run = scenarios[id];
      if (!run) throw new Error('this runner has no such scenario');
      detail = (await run()) ?? '';
    } catch (error) {
      ok = false;
      detail = describe(error);
    }
    process.stdout.write(`${JSON.stringify({ id, ok, millis: Math.round(performance.now() - started), detail })}\n`);
  }
  process.exit(0);
}

function describe(error) {
  const frames = String(error?.stack ?? error).split('\n');
  const place = frames.map((frame) => frame.match(/([\w-]+\.mjs:\d+)/)?.[1]).find(Boolean);
  const cause = error?.cause ? ` (cause: ${error.cause.message ?? error.cause})` : '';
  const code = error?.errorCode ? ` [${error.errorCode}]` : '';
  return `${error?.message ?? error}${code}${cause}${place ? `, at ${place}` : ''}`;
}
