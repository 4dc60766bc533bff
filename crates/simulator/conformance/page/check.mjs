// Opens the page of a running org in a headless Chromium and uses it as a person would.
//
//   node check.mjs BASE_URL [SCREENSHOTS]
//
// Needs playwright-core (`npm ci` beside this file) and a Chromium (CHROMIUM is its path), and installs neither: `cargo
// xtask conformance` does. Ends with 0 when all held, with 69 when one of the two is missing or the browser does not start,
// else with 1. Screenshots go to target/conformance unless told otherwise.
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const [base, folder] = process.argv.slice(2);
if (!base) {
  console.error("usage: node check.mjs BASE_URL [SCREENSHOTS]");
  process.exit(64);
}
const url = base.replace(/\/$/, "");
const shots = resolve(folder ?? join(here, "../../../../target/conformance"));
mkdirSync(shots, { recursive: true });

function missing(what) {
  console.log(`page check not run: ${what}`);
  process.exit(69);
}

const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = places.find((path) => path && existsSync(path)) ?? missing("there is no Chromium; set CHROMIUM to its path");
const { chromium: driver } = await import("playwright-core").catch((error) => missing(`playwright-core is not here: ${error.code}`));

let failures = 0;
function hold(what, truth, seen) {
  console.log(`${truth ? "ok  " : "FAIL"} ${what}${truth || seen === undefined ? "" : `: ${JSON.stringify(seen)}`}`);
  if (!truth) failures += 1;
}

async function api(method, path, body, token) {
  const response = await fetch(url + path, {
    method,
    headers: { ...(body ? { "content-type": "application/json" } : {}), ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body: body ? JSON.stringify(body) : undefined,
  });
  const text = await response.text();
  return { status: response.status, body: text && response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text };
}

async function signIn() {
  const form = new URLSearchParams({ grant_type: "client_credentials", client_id: "causeway-dev", client_secret: "causeway-dev-secret" });
  const response = await fetch(`${url}/services/oauth2/token`, { method: "POST", body: form });
  return (await response.json()).access_token;
}

const browser = await driver.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
}).catch((error) => missing(`${executablePath} does not start: ${String(error.message).split("\n", 1)[0]}`));
try {
  await api("POST", "/_sim/reset");
  const context = await browser.newContext({ viewport: { width: 1400, height: 1000 }, colorScheme: "light", ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const complaints = [];
  const strangers = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => { complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (new URL(request.url()).host !== new URL(url).host) strangers.push(request.url()); });
  const view = async (name) => {
    await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: new RegExp(`^${name}`) }).click();
    await page.getByRole("heading", { level: 2, name: { Records: "Records", Events: "Events on the bus", Requests: "Request log", Faults: "Faults", Setup: "Setup" }[name] }).waitFor();
  };
  const shot = (name) => page.screenshot({ path: join(shots, `page-${name}.png`) });

  await page.goto(`${url}/`);
  await page.locator("#records-empty").getByText("No Account rows yet.").waitFor();
  hold("an empty org says how to write the first row", (await page.locator("#records-empty pre").textContent()).includes(`${url}/services/data/`));
  await shot("empty");

  const token = await signIn();
  const nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>";
  await api("POST", "/services/data/v62.0/sobjects/Account", { Name: nasty }, token);
  await page.locator("#records-table tbody tr").first().waitFor();
  hold("a row written through the API appears by itself, as text", (await page.locator("#records-table tbody tr").first().innerText()).includes(nasty));
  for (let n = 0; n < 30; n += 1) {
    await api("POST", "/services/data/v62.0/sobjects/Account", { FirstName: "Jane", LastName: `Smith${n}`, PersonEmail: `jane${n}@example.com` }, token);
  }
  await page.locator("#records-table").getByText("Smith29", { exact: false }).first().waitFor();
  await page.getByLabel("Filter").first().fill("smith17");
  await page.waitForFunction(() => document.querySelectorAll("#records-table tbody tr").length === 1);
  hold("a filter leaves the row it names", (await page.locator("#records-table tbody tr").innerText()).includes("Smith17"));
  await page.locator("#records-table tbody button").first().click();
  hold("a row opens in full", (await page.locator("#detail-body").innerText()).includes("jane17@example.com"));
  await page.keyboard.press("Escape");
  hold("and closes by Escape", !(await page.locator("#detail").isVisible()));
  await page.getByLabel("Filter").first().fill("");
  await shot("records-light");

  await api("POST", "/services/data/v62.0/sobjects/i42as__OrderEvent__e",
    { i42as__OrderNumber__c: "N1", i42as__LimioOrder__c: JSON.stringify({ id: "order-1", note: nasty }) }, token);
  await view("Events");
  await page.locator("#events-list details summary").first().click();
  const payload = page.locator("#events-list details[open] pre");
  await payload.waitFor();
  hold("an event's payload is unfolded", (await payload.innerText()).includes('"id": "order-1"'));
  await api("POST", "/services/data/v62.0/sobjects/i42as__OrderEvent__e", { i42as__OrderNumber__c: "N2" }, token);
  await page.waitForFunction(() => document.querySelectorAll("#events-list details").length === 2);
  hold("an open event stays open when another comes", await payload.isVisible());
  await shot("events");

  await view("Faults");
  await page.getByRole("button", { name: "One 503" }).click();
  await page.locator("#faults-table tbody tr").first().waitFor();
  const answer = await api("GET", "/services/data/v62.0/limits", undefined, token);
  hold("a fault armed by button hits the next request", answer.status === 503, answer.status);
  await page.waitForFunction(() => document.querySelector("#faults-table tbody tr td:nth-child(5)")?.textContent === "1");
  hold("and is counted as applied", true);
  await shot("faults");
  await view("Requests");
  await page.getByLabel("Show").selectOption("faulted");
  const row = page.locator("#requests-table tbody tr").first();
  await row.waitFor();
  hold("the request log names status and fault", /503[\s\S]*unavailable_html/.test(await row.innerText()), await row.innerText());
  await page.getByLabel("Show").selectOption("all");
  const before = await row.locator("td").first().innerText();
  await api("GET", "/services/data/v62.0/limits", undefined, token);
  await page.waitForFunction((old) => document.querySelector("#requests-table tbody td")?.textContent !== old, before);
  hold("a new request comes in at the top", true);
  await shot("requests");
  await view("Faults");
  await page.getByRole("button", { name: "Clear all" }).click();
  await page.locator("#faults-empty").getByText("No faults are armed.").waitFor();
  hold("all faults are cleared by button", (await api("GET", "/_sim/faults")).body.length === 0);

  await view("Setup");
  await api("POST", "/_sim/settings", { api_limit: 34 });
  await page.locator("#settings tbody").getByText("api_limit").waitFor();
  hold("a changed setting shows with its default", /34[\s\S]*100000/.test(await page.locator("#settings").innerText()));
  hold("usage close to its limit is marked", (await page.locator("#figures .meter.warn, #figures .meter.full").count()) > 0);
  const clock = await page.locator("#now").innerText();
  await page.getByRole("button", { name: "+1 day" }).click();
  await page.waitForFunction((old) => document.getElementById("now").textContent.slice(0, 10) !== old.slice(0, 10), clock);
  hold("the clock is pushed by button", true);
  const secrets = (await page.content()).includes(token) || (await page.content()).includes("causeway-dev-secret\"");
  hold("no token stands on the page", !secrets);
  await page.emulateMedia({ colorScheme: "dark" });
  await shot("setup-dark");
  await view("Records");
  await shot("records-dark");
  await page.setViewportSize({ width: 420, height: 900 });
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  hold("a narrow window does not scroll sideways", sideways <= 0, sideways);
  await shot("narrow");

  const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, input, select, a[href]")]
    .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length)).map((node) => node.outerHTML));
  hold("every control has a name", unnamed.length === 0, unnamed);
  await page.keyboard.press("Tab");
  hold("the first Tab stop exists", await page.evaluate(() => document.activeElement !== document.body));
  const known = complaints.filter((text) => !/favicon/.test(text));
  hold("nothing was complained about on the console", known.length === 0, known);
  hold("no other host was asked", strangers.length === 0, strangers);
} catch (error) {
  hold("the walk through the page came to its end", false, error.message);
} finally {
  await browser.close();
  await api("POST", "/_sim/reset").catch(() => {});
}
console.log(failures === 0 ? `page check passed; screenshots in ${shots}` : `page check FAILED: ${failures}`);
process.exit(failures === 0 ? 0 : 1);
