// Looks at the pages of a grid in Chromium, in both themes, wide and narrow: axe-core finds nothing, nothing is wider than
// the window, no error is in the console, the keyboard gets everywhere, a page follows its job, and without scripts it
// says the same. Run by `make page-test`: browser.mjs SETTINGS, a JSON file; see TestBrowser of coordinator/internal/e2e.
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const problems = [];
const wrong = (what) => problems.push(what);

// The sandbox needs rights that containers do not have; the page is the test's own.
const browser = await chromium.launch({
  executablePath: settings.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const open = async (link, options = {}) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const base = new URL(link).origin;
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") wrong(`${page.url()}: console: ${m.text()}`); });
  page.on("pageerror", (e) => wrong(`${page.url()}: ${e.message}`));
  page.on("request", (r) => { if (!r.url().startsWith(base + "/")) wrong(`${page.url()} asks for ${r.url()}`); });
  await page.goto(link);
  if (new URL(page.url()).pathname === "/enter") wrong("the link lets nobody in");
  return { page, context, base };
};

// The policy lets no script in but the page's own; the debugger's are none of the page's.
const violations = async (context, page) => {
  const debug = await context.newCDPSession(page);
  await debug.send("Runtime.evaluate", { expression: axe });
  await debug.detach();
  return page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }).then((r) =>
    r.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target).join(", ")}`)));
};

const look = async ({ page, context, base }, name, path) => {
  for (const theme of ["light", "dark"]) {
    for (const width of [1400, 390]) {
      await page.emulateMedia({ colorScheme: theme });
      await page.setViewportSize({ width, height: 900 });
      if (path) await page.goto(base + path);
      await page.locator("h1").waitFor();
      const where = `${name}, ${theme}, ${width} pixels`;
      await page.screenshot({ path: join(settings.pictures, `${name}-${theme}-${width}.png`), fullPage: true });
      for (const v of await violations(context, page)) wrong(`${where}: ${v}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (over > 0) wrong(`${where}: ${over} pixels wider than the window`);
    }
  }
};

// Tab reaches every link, field and button, shows where it is, and leaves the page again.
const keyboard = async ({ page, base }, path) => {
  await page.setViewportSize({ width: 1400, height: 900 });
  await page.goto(base + path);
  const wanted = await page.locator("a[href], button, input:not([type=hidden]), [tabindex='0']").count();
  const seen = new Set();
  for (let n = 0; n < wanted + 5; n++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      if (!e || e === document.body) return null;
      const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), [tabindex='0']")];
      return { index: all.indexOf(e), ring: getComputedStyle(e).outlineStyle !== "none" };
    });
    if (!at) break;
    if (!at.ring) wrong(`${path}: focus on element ${at.index} is not to be seen`);
    seen.add(at.index);
  }
  if (seen.size < wanted) wrong(`${path}: the keyboard reaches ${seen.size} of ${wanted}`);
};

const alice = await open(settings.submitter);
if (new URL(alice.page.url()).pathname !== "/jobs/" + settings.job) wrong(`the link of a job leads to ${alice.page.url()}`);
await look(alice, "job", "/jobs/" + settings.job);
if (!(await alice.page.locator("#failures pre").first().textContent()).trim()) wrong("no standard error of a unit that failed");
await look(alice, "jobs", "/jobs");
await look(alice, "pool", "/pool");
await keyboard(alice, "/jobs");
await keyboard(alice, "/pool");

const olga = await open(settings.operator);
await look(olga, "operator-pool", "/pool");
await olga.page.getByRole("button", { name: /^Look at/ }).first().click();
await look(olga, "machine");
await olga.page.goto(olga.base + "/jobs?q=" + encodeURIComponent("no such job"));
await look(olga, "nothing");

// The harvest: a submitter's is small and their own; an operator's has all, and a chart whose bars are there in both themes.
await look(alice, "harvest", "/harvest");
if ((await alice.page.content()).includes("planted-")) wrong("a submitter sees others' harvest");
await look(olga, "operator-harvest", "/harvest");
const rows = (id) => olga.page.locator(`#${id} tbody tr`).count();
if (await rows("heat") !== 28 || await rows("days") !== 28 || await rows("shares") !== 21) wrong("the harvest has not 28 days and 21 lines of submitters");
const bars = () => {
  const canvas = document.querySelector("#chart canvas"), probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (name) => {
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data].join();
  };
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d");
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data, seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]},${data[i + 3]}`);
  return ["--offered", "--used", "--useful"].every((name) => seen.has(rgb(name)));
};
for (const theme of ["dark", "light"]) { // it follows the theme without being loaded anew
  await olga.page.emulateMedia({ colorScheme: theme });
  await olga.page.waitForFunction(bars, null, { timeout: 10000 }).catch((e) => wrong(`the chart, ${theme}: its bars are not there: ${e.message}`));
}
await olga.page.setViewportSize({ width: 1400, height: 900 });
await olga.page.locator("#chart .u-over").hover();
const told = await olga.page.locator("#chart p").textContent();
if (!/^\w{3} \d+ \w{3}: offered [\d\u202f.]+, used [\d\u202f.]+, useful [\d\u202f.]+$/.test(told)) wrong(`the chart says of a day: ${told}`);
await keyboard(olga, "/harvest");
const times = [];
for (let n = 0; n < 5; n++) {
  await olga.page.goto(olga.base + "/harvest");
  times.push(await olga.page.evaluate(async () => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0] ?? await new Promise((found) =>
      new PerformanceObserver((list, o) => { const e = list.getEntriesByName("first-contentful-paint")[0]; if (e) { o.disconnect(); found(e); } }).observe({ type: "paint", buffered: true }));
    const page = performance.getEntriesByType("navigation")[0];
    return { paint: paint.startTime, load: page.loadEventEnd, bytes: page.encodedBodySize };
  }));
}
const middle = (what) => Math.round(times.map((t) => t[what]).sort((a, b) => a - b)[2]);
console.log(`FIGURE the harvest of 25 submitters: first paint ${middle("paint")} ms, loaded ${middle("load")} ms, ${middle("bytes")} bytes; the median of five`);

// A page that is open follows what happens, and keeps the keyboard's place.
await olga.page.goto(olga.base + "/jobs");
await olga.page.getByText("Live").waitFor();
await olga.page.locator("#q").focus();
console.log("READY"); // the test submits another job now
await olga.page.getByText(settings.later).waitFor({ timeout: 60000 });
if (await olga.page.evaluate(() => document.activeElement.id) !== "q") wrong("a change of the page took the keyboard's place");

// Without scripts the same is there, and is loaded anew by itself.
const plain = await open(settings.plain, { javaScriptEnabled: false });
await plain.page.goto(plain.base + "/jobs");
if (!(await plain.page.content()).includes(settings.later)) wrong("without scripts the job is not there");
await plain.page.goto(plain.base + "/harvest");
if (await plain.page.locator("#heat tbody tr").count() !== 28 || await plain.page.locator("#chart").isVisible()) wrong("without scripts the harvest is not there, or an empty chart is");
await plain.page.goto(plain.base + "/jobs");
if (await plain.page.locator("noscript meta[http-equiv=refresh], meta[http-equiv=refresh]").count() !== 1) wrong("without scripts the page is not loaded anew");

await browser.close();
for (const p of problems) console.log("PROBLEM " + p);
process.exit(problems.length ? 1 : 0);
