// The page of one org: it polls what /_sim/view tells and changes only what changed.
// All text of the org goes into the page as text, never as markup.
const $ = (id) => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";
const sim = (path) => new URL(`_sim/${path}`, document.baseURI);
const base = document.baseURI.split("#")[0].split("?")[0].replace(/\/$/, "");
const PERIOD = 1500;
const VIEWS = ["records", "events", "requests", "faults", "setup"];
const SYSTEM = new Set(["IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp", "OwnerId"]);
const state = { object: "Account", live: true, view: "records", last: null, orgs: [], turn: 0 };

function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = value;
    else if (key === "on") for (const [name, run] of Object.entries(value)) node.addEventListener(name, run);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Keeps the nodes whose key and content stayed the same, so that open rows, focus and scroll survive.
function sync(parent, items, key, build) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const first = old.size === 0;
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = String(key(item));
    const shape = JSON.stringify(item);
    let node = old.get(id);
    old.delete(id);
    if (!node || node.shape !== shape) {
      const made = build(item);
      made.dataset.key = id;
      made.shape = shape;
      if (node) {
        if (node.open) made.open = true;
        if (place === node) place = made;
        const focused = node.contains(document.activeElement);
        node.replaceWith(made);
        if (focused) (made.querySelector("button,summary,a") ?? made).focus();
      } else if (!first) {
        made.classList.add("new");
      }
      node = made;
    }
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const count = (n) => Number(n).toLocaleString("en");
const shown = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
const time = (text) => text.replace("T", " ").replace(/\.(\d{3}).*$/, ".$1");

// JSON text inside a payload is unfolded, so that a person can read the order in it.
function unfolded(value, depth = 0) {
  if (depth > 8) return value;
  if (typeof value === "string" && /^\s*[[{]/.test(value)) {
    try { return unfolded(JSON.parse(value), depth + 1); } catch { return value; }
  }
  if (Array.isArray(value)) return value.map((entry) => unfolded(entry, depth + 1));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, unfolded(entry, depth + 1)]));
  return value;
}

async function call(method, path, body) {
  const response = await fetch(sim(path), {
    method, cache: "no-store",
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.error ?? `${method} ${path} answered ${response.status}`);
  return answer;
}

async function act(run, said) {
  const line = $("fault-said");
  try {
    await run();
    line.className = "said";
    setText(line, said ?? "");
  } catch (error) {
    line.className = "said bad";
    setText(line, error.message);
    if (state.view !== "faults") trouble(error.message);
  }
  await refresh();
}

function trouble(text) {
  $("trouble").hidden = !text;
  setText($("trouble"), text ?? "");
}

// --- what stands above all views ---

function meter(share) {
  const box = el("div", { class: `meter${share >= 1 ? " full" : share >= 0.8 ? " warn" : ""}`, "aria-hidden": "true" });
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", "0 0 100 6");
  svg.setAttribute("preserveAspectRatio", "none");
  const bar = document.createElementNS(NS, "rect");
  bar.setAttribute("height", "6");
  bar.setAttribute("width", String(Math.min(100, share * 100)));
  svg.append(bar);
  box.append(svg);
  return box;
}

function figures(view) {
  const { usage } = view;
  const limited = (label, used, limit) => ({ label: `of ${count(limit)} ${label}`, used, share: limit ? used / limit : 1 });
  const list = [
    limited("API calls in 24 hours", usage.api_calls, usage.api_limit),
    limited("events published in an hour", usage.events_last_hour, usage.event_hourly_limit),
  ];
  if (usage.event_daily_delivery_limit !== undefined) list.push(limited("event deliveries in 24 hours", usage.deliveries_last_day, usage.event_daily_delivery_limit));
  list.push({ label: `requests running${usage.waiting ? `, ${usage.waiting} waiting` : ""}`, used: usage.running });
  list.push({ label: view.live_sessions === 1 ? "live session" : "live sessions", used: view.live_sessions });
  sync($("figures"), list, (figure) => figure.label, ({ label, used, share }) =>
    el("div", { class: "figure" }, el("b", {}, count(used)), el("span", { class: "quiet" }, label), share === undefined ? null : meter(share)));
}

function header(view) {
  setText($("now"), time(view.now));
  $("now").setAttribute("datetime", view.now);
  document.title = `${view.org.name} · simulated Salesforce org`;
  const counts = {
    records: view.objects.reduce((sum, object) => sum + (object.setup ? 0 : object.count), 0),
    events: view.events.total, requests: view.requests.total, faults: view.faults.filter(spent(false)).length,
    setup: view.settings.length,
  };
  for (const badge of document.querySelectorAll("[data-count]")) {
    const n = counts[badge.dataset.count];
    setText(badge, n ? count(n) : "");
    badge.classList.toggle("hot", badge.dataset.count === "faults" && n > 0);
  }
}

const spent = (wanted) => (fault) => (fault.times !== null && fault.times !== undefined && fault.applied >= fault.times) === wanted;

function orgs() {
  const select = $("orgs");
  sync(select, state.orgs, (org) => org.name, (org) => el("option", { value: org.path }, org.sandbox ? `${org.name} (sandbox)` : org.name));
  const mine = state.last?.org.name;
  const place = state.orgs.findIndex((org) => org.name === mine);
  if (place >= 0 && document.activeElement !== select) select.selectedIndex = place;
}

// --- records ---

function records(view) {
  sync($("objects"), view.objects, (object) => object.name, (object) =>
    el("li", {}, el("button", { type: "button", class: object.count ? "" : "none", "aria-current": object.name === view.records.object ? "true" : null,
      on: { click: () => { state.object = object.name; refresh(); } } }, el("span", {}, object.name), el("span", { class: "quiet" }, count(object.count)))));
  for (const item of $("objects").children) {
    const button = item.firstElementChild;
    if (item.dataset.key === view.records.object) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
  }
  const wanted = $("record-filter").value.trim().toLowerCase();
  const rows = view.records.rows.filter((row) => !wanted || JSON.stringify(row).toLowerCase().includes(wanted));
  const { total, object } = view.records;
  const newest = total > view.records.rows.length ? `, the newest ${view.records.rows.length} are here` : "";
  setText($("record-note"), total === 0 ? "" : `${count(total)} ${object} ${total === 1 ? "row" : "rows"}${newest}${wanted ? `; ${rows.length} match` : ""}`);
  teach($("records-empty"), total === 0 && `records:${object}`, () => [el("p", {}, el("b", {}, `No ${object} rows yet. `), "Write one through the API:"), recipe(object)]);
  const columns = [];
  for (const row of rows) for (const name of Object.keys(row)) if (!columns.includes(name)) columns.push(name);
  columns.sort((a, b) => SYSTEM.has(a) - SYSTEM.has(b));
  const box = $("records-table");
  const heading = JSON.stringify([object, columns]);
  if (box.shape !== heading) {
    box.shape = heading;
    box.replaceChildren(...(columns.length ? [el("table", {}, el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))), el("tbody"))] : []));
  }
  const body = box.querySelector("tbody");
  if (body) sync(body, rows, (row) => row.Id, (row) => el("tr", {}, ...columns.map((name) =>
    name === "Id" ? el("td", { class: "mono" }, el("button", { type: "button", class: "link", on: { click: () => detail(object, row) } }, row.Id))
      : el("td", { title: shown(row[name]).length > 40 ? shown(row[name]) : null }, shown(row[name])))));
}

function detail(object, row) {
  setText($("detail-title"), `${object} ${row.Name ?? row.Id}`);
  const facts = el("dl");
  for (const [name, value] of Object.entries(row)) {
    const rich = unfolded(value);
    facts.append(el("dt", {}, name), el("dd", {}, rich && typeof rich === "object" ? el("pre", {}, JSON.stringify(rich, null, 2)) : shown(value)));
  }
  $("detail-body").replaceChildren(facts);
  $("detail").showModal();
}

// An empty view says how to fill it; it is written anew only when its reason changes.
function teach(box, reason, build) {
  box.hidden = !reason;
  if (!reason || box.reason === reason) return;
  box.reason = reason;
  box.replaceChildren(...build());
}

function signIn() {
  const insecure = base.startsWith("https:") ? " -k" : "";
  return `TOKEN=$(curl -s${insecure} ${base}/services/oauth2/token -d grant_type=client_credentials \\\n` +
    "  -d client_id=causeway-dev -d client_secret=causeway-dev-secret | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n" +
    `curl -s${insecure} ${base}`;
}

function recipe(object) {
  const body = { Contact: { LastName: "Smith" }, Account: { Name: "Acme" }, Opportunity: { Name: "Renewal", StageName: "Prospecting", CloseDate: "2030-01-31" } }[object] ?? {};
  return el("pre", {}, `${signIn()}/services/data/v62.0/sobjects/${object} -H "Authorization: Bearer $TOKEN" \\\n  -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`);
}

// --- events ---

function events(view) {
  const { total, rows } = view.events;
  setText($("events-note"), total > rows.length ? `${count(total)} events; the newest ${rows.length} are here, newest first.` : total ? `${count(total)} ${total === 1 ? "event" : "events"}, newest first.` : "");
  teach($("events-empty"), total === 0 && "events", () => [el("p", {}, el("b", {}, "No events yet. "), "Publish one:"),
    el("pre", {}, `${signIn()}/services/data/v62.0/sobjects/i42as__OrderEvent__e -H "Authorization: Bearer $TOKEN" \\\n  -H 'Content-Type: application/json' -d '{"i42as__OrderNumber__c":"A-1"}'`)]);
  sync($("events-list"), rows, (event) => `${event.replay_id}`, (event) => el("details", { class: "event" },
    el("summary", {}, el("span", { class: "n mono" }, `#${event.replay_id}`), el("span", {}, time(event.published_at)), el("b", {}, event.object),
      el("code", { class: "quiet" }, event.event_uuid), el("span", { class: "quiet" }, gist(event.payload))),
    el("pre", {}, JSON.stringify(unfolded(event.payload), null, 2))));
}

// The first short fields of a payload, so that a closed line says which order it is about.
function gist(payload) {
  const fields = Object.entries(payload).filter(([name]) => !SYSTEM.has(name));
  const short = fields.filter(([, value]) => !/^\s*[[{]/.test(shown(value)) && shown(value).length <= 40).slice(0, 2);
  const rest = fields.length - short.length;
  return [...short.map(([name, value]) => `${name.replace(/^\w+?__(?=\w+__c$)|__c$/g, "").replace(/__c$/, "")} ${shown(value)}`), rest ? `${rest} more` : ""].filter(Boolean).join(" · ");
}

// --- requests ---

function requests(view) {
  const { total, rows } = view.requests;
  const wanted = $("request-filter").value.trim().toLowerCase();
  const kind = $("request-kind").value;
  const failed = (request) => request.status === 0 || request.status >= 400;
  const fits = (request) => (kind === "all" || (kind === "failed" ? failed(request) : request.fault)) &&
    (!wanted || `${request.method} ${request.path} ${request.status || "dropped"} ${request.fault ?? ""}`.toLowerCase().includes(wanted));
  const list = rows.filter(fits);
  setText($("requests-note"), total ? `${list.length} of the newest ${rows.length}; ${count(total)} in the log` : "");
  teach($("requests-empty"), total === 0 && "requests", () => [el("p", {}, el("b", {}, "No requests yet. "), "Ask the org something:"),
    el("pre", {}, `${signIn()}/services/data/v62.0/limits -H "Authorization: Bearer $TOKEN"`)]);
  sync($("requests-table").tBodies[0], list, (request) => request.number, (request) => el("tr", {},
    el("td", { class: "n" }, count(request.number)), el("td", {}, time(request.at)),
    el("td", { class: "mono", title: request.path }, `${request.method} ${request.path.replace(/^\/services\/data\/v[\d.]+/, "…")}`),
    el("td", {}, /\/data\/(v[\d.]+)/.exec(request.path)?.[1] ?? ""),
    el("td", { class: "n" }, el("span", { class: `tag${failed(request) ? " bad" : " good"}` }, request.status === 0 ? "dropped" : String(request.status))),
    el("td", { class: "n" }, count(request.duration_ms)), el("td", { class: "n" }, request.graphs ? count(request.graphs) : ""),
    el("td", { class: "n" }, request.nodes ? count(request.nodes) : ""),
    el("td", {}, request.fault ? el("span", { class: "tag warn" }, request.fault) : "")));
}

// --- faults ---

const PRESETS = [
  ["Lose the next answer", { kind: "commit_then_drop", times: 1 }, "The request is committed; the connection closes before the answer"],
  ["Lose the next request", { kind: "drop_before", times: 1 }, "The connection closes before any work"],
  ["One 503", { kind: "unavailable_html", times: 1 }, "The maintenance page"],
  ["Expire the next session", { kind: "expired_session", times: 1 }, "401 INVALID_SESSION_ID once"],
  ["Next 10 take 2 s", { kind: "slow", ms: 2000, times: 10 }, "Ten requests wait two seconds each"],
  ["Next row is locked", { kind: "lock", times: 1 }, "UNABLE_TO_LOCK_ROW on one row"],
  ["A fifth of rows locked", { kind: "lock", probability: 0.2 }, "UNABLE_TO_LOCK_ROW by chance until cleared"],
  ["Break an answer in the middle", { kind: "truncated_body", times: 1 }, "Half a body, then the end of the connection"],
  ["Daily limit reached", { kind: "daily_limit" }, "403 REQUEST_LIMIT_EXCEEDED until cleared"],
];

function presets() {
  $("presets").append(...PRESETS.map(([label, fault, title]) => el("button", { type: "button", title, on: { click: () => {
    const path = $("fault-path").value.trim();
    act(() => call("POST", "faults", path ? { ...fault, path } : fault), `Armed: ${label.toLowerCase()}${path ? ` on ${path}` : ""}.`);
  } } }, label)));
}

function faults(view) {
  $("clear-faults").disabled = view.faults.length === 0;
  teach($("faults-empty"), view.faults.length === 0 && "faults", () => [el("p", {}, el("b", {}, "No faults are armed. "), "Any fault with any filter can be armed over HTTP too:"),
    el("pre", {}, `curl -s ${base}/_sim/faults -d '{"kind":"commit_then_drop","path":"/composite/graph","nth":2,"times":1}'`)]);
  $("faults-table").hidden = view.faults.length === 0;
  const filters = ["path", "method", "object", "containing"];
  const doses = ["nth", "probability", "times"];
  const known = new Set([...filters, ...doses, "kind", "matched", "applied", "id", "held"]);
  const pairs = (fault, keys) => keys.filter((key) => fault[key] !== null && fault[key] !== undefined).map((key) => `${key} ${shown(fault[key])}`).join(", ");
  sync($("faults-table").tBodies[0], view.faults, (fault) => fault.id, (fault) => {
    const more = Object.keys(fault).filter((key) => !known.has(key) || (key === "held" && fault.held > 0));
    return el("tr", {}, el("td", { class: "wrap" }, el("code", {}, fault.kind), more.length ? el("span", { class: "quiet" }, ` ${pairs(fault, more)}`) : null),
      el("td", { class: "wrap" }, pairs(fault, filters) || "any"), el("td", {}, pairs(fault, doses) || "always", spent(true)(fault) ? " " : "", spent(true)(fault) ? el("span", { class: "tag" }, "spent") : null),
      el("td", { class: "n" }, count(fault.matched)), el("td", { class: "n" }, count(fault.applied)),
      el("td", {}, el("button", { type: "button", "aria-label": `Disarm ${fault.kind}`, on: { click: () => act(() => call("DELETE", `faults/${fault.id}`), `Disarmed ${fault.kind}.`) } }, "Disarm")));
  });
}

// --- setup ---

function redraw(box, value, build) {
  const shape = JSON.stringify(value);
  if (box.shape === shape) return;
  box.shape = shape;
  box.replaceChildren(...build(value));
}

function setup(view) {
  redraw($("settings"), view.settings, (list) => list.length === 0
    ? [el("p", { class: "quiet" }, "All are at their default. Change some:"), el("pre", {}, `curl -s ${base}/_sim/settings -d '{"latency_ms":40,"api_limit":1000}'`)]
    : [el("table", {}, el("thead", {}, el("tr", {}, ...["Setting", "Value", "Default"].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, ...list.map((entry) => el("tr", {}, el("td", {}, el("code", {}, entry.key)), el("td", { class: "wrap" }, shown(entry.value)), el("td", { class: "wrap quiet" }, shown(entry.default))))))]);
  redraw($("rules"), view.rules, (list) => list.length === 0
    ? [el("p", { class: "quiet" }, "No rule is active; duplicates are written. Start with "), el("code", {}, "--duplicate-rules block"), el("p", { class: "quiet" }, "or POST to /_sim/duplicate-rules.")]
    : list.map((rule) => el("details", { class: "event" }, el("summary", {}, el("b", {}, rule.name ?? "rule"), el("span", {}, rule.object ?? ""),
        el("span", { class: "tag" }, `create: ${rule.on_create?.action ?? "none"}`), el("span", { class: "tag" }, `edit: ${rule.on_update?.action ?? rule.on_edit?.action ?? "none"}`)),
      el("pre", {}, JSON.stringify(rule, null, 2)))));
  setText($("sessions-note"), `${count(view.live_sessions)} live ${view.live_sessions === 1 ? "session" : "sessions"}; refresh tokens stay good.`);
  redraw($("audit"), view.audit ?? null, (list) => list === null ? [] : list.length === 0 ? [el("p", { class: "quiet" }, "No tokens were asked for yet.")]
    : [el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Token audit" }, el("table", {}, el("thead", {}, el("tr", {}, ...["At", "What", "Flow", "App", "User", "Error"].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, ...list.map((entry) => el("tr", {}, el("td", {}, time(entry.at)), el("td", {}, entry.action), el("td", {}, entry.flow.replace(/^.*:/, "")), el("td", {}, entry.client_id), el("td", {}, entry.username),
          el("td", { class: "wrap" }, entry.error ? el("span", { class: "tag bad" }, entry.error) : ""))))))]);
  redraw($("org-facts"), view.org, (org) => Object.entries({ "My Domain name": org.name, "Organization id": org.organization_id, "Kind": org.sandbox ? "sandbox (signs in at test)" : "production (signs in at login)", "instance_url": org.base_url })
    .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

// --- the loop ---

let running = false;
let again = false;
async function refresh() {
  if (running) { again = true; return; }
  running = true;
  try {
    do {
      again = false;
      const view = await call("GET", `view?object=${encodeURIComponent(state.object)}`);
      if (state.turn++ % 4 === 0) state.orgs = await call("GET", "orgs");
      state.last = view;
      trouble(null);
      draw();
    } while (again);
  } catch (error) {
    trouble(error instanceof TypeError ? "The org does not answer; the page tries again." : error.message);
  } finally {
    running = false;
  }
}

function draw() {
  const view = state.last;
  if (!view) return;
  header(view);
  figures(view);
  orgs();
  ({ records, events, requests, faults, setup })[state.view](view);
}

function show() {
  const wanted = location.hash.slice(1);
  state.view = VIEWS.includes(wanted) ? wanted : "records";
  for (const name of VIEWS) $(`view-${name}`).hidden = name !== state.view;
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.hash === `#${state.view}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  draw();
}

$("advance").append(...[["+1 min", 60], ["+1 h", 3600], ["+1 day", 86400]].map(([label, seconds]) =>
  el("button", { type: "button", on: { click: () => act(() => call("POST", "clock", { advance_s: seconds })) } }, label)));
$("live").addEventListener("click", () => {
  state.live = !state.live;
  $("live").setAttribute("aria-pressed", String(state.live));
  setText($("live"), state.live ? "Live" : "Paused");
  if (state.live) refresh();
});
$("orgs").addEventListener("change", (event) => { location.href = event.target.value + location.hash; });
for (const id of ["record-filter", "request-filter", "request-kind"]) $(id).addEventListener("input", draw);
$("clear-faults").addEventListener("click", () => act(() => call("DELETE", "faults"), "All faults are cleared."));
$("expire").addEventListener("click", () => act(() => call("POST", "sessions/expire")));
$("detail-close").addEventListener("click", () => $("detail").close());
$("reset").addEventListener("click", () => $("sure").showModal());
$("sure-no").addEventListener("click", () => $("sure").close());
$("sure-yes").addEventListener("click", () => { $("sure").close(); act(() => call("POST", "reset")); });
window.addEventListener("hashchange", show);
presets();
show();
refresh();
setInterval(() => { if (state.live && !document.hidden) refresh(); }, PERIOD);
