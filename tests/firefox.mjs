// Drives Firefox over WebDriver BiDi with nothing but Node.js: opens the live page at an address, attacks an image, moves
// a slider, takes the link, opens it, and prints what was seen as one line of JSON. node firefox.mjs FIREFOX ADDRESS

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [executable, address] = process.argv.slice(2);

// A Firefox of its own, with the page at `url` open and nothing done yet: {run, settled, said, asked, end}. Not two pages
// one after the other: what loads after a script was evaluated is compiled for the debugger, and the network runs 70 times slower.
async function visit(url) {
  const profile = mkdtempSync(join(tmpdir(), "firefox-"));
  const firefox = spawn(executable, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"], {
    env: { ...process.env, HOME: profile },
  });
  const end = async () => {
    const exit = new Promise((resolve) => firefox.once("exit", resolve));
    firefox.kill();
    await exit;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    return { ...(await opened(firefox, url)), end };
  } catch (error) {
    await end();
    throw error;
  }
}

async function listening(firefox) {
  let said = "";
  for await (const chunk of firefox.stderr) {
    said += chunk;
    const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
    if (found) return found[1];
  }
  throw new Error(`Firefox ended: ${said.slice(-300)}`);
}

async function opened(firefox, url) {
  const socket = new WebSocket(`${await listening(firefox)}/session`);
  await new Promise((resolve, reject) =>
    Object.assign(socket, { onopen: resolve, onerror: () => reject(new Error("no connection")) }),
  );
  const waiting = new Map();
  const [said, asked] = [[], []];
  let id = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.method === "log.entryAdded") said.push(`${message.params.level}: ${message.params.text}`);
    if (message.method === "network.beforeRequestSent") asked.push(message.params.request.url);
    waiting.get(message.id)?.(message);
  };
  const send = (method, params) =>
    new Promise((resolve, reject) => {
      waiting.set(++id, (answer) =>
        answer.error ? reject(new Error(`${method}: ${answer.message}`)) : resolve(answer.result),
      );
      socket.send(JSON.stringify({ id, method, params }));
    });

  await send("session.new", { capabilities: {} });
  await send("session.subscribe", { events: ["log.entryAdded", "network.beforeRequestSent"] });
  const {
    contexts: [{ context }],
  } = await send("browsingContext.getTree", {});
  const run = async (text) => {
    const { result, exceptionDetails } = await send("script.evaluate", {
      expression: `(async () => JSON.stringify(await (${text})))()`,
      target: { context },
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return JSON.parse(result.value ?? "null");
  };
  const settled = (part = "") =>
    run(`(async () => {
    const root = document.querySelector("[data-testid=siam-live]");
    for (let i = 0; i < 3000; i++) {
      if (root.dataset.noise === "here" && root.dataset.settled?.includes("${part}")) {
        return [document.querySelector("[data-testid=live-verdict]").textContent,
          [...document.querySelectorAll(".live-count")].map((cell) => Number(cell.textContent))];
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error("it never settled");
  })()`);

  await send("browsingContext.navigate", { context, url, wait: "complete" });
  return { run, settled, said, asked };
}

async function first({ run, settled }) {
  const result = { browser: await run("navigator.userAgent"), opened: await settled() };
  for (const [name, value] of [["original", 0], ["attacked", 1]]) {
    await run(`[...document.querySelectorAll("[type=radio]")].find(({ value }) => value === "${Boolean(value)}").click()`);
    result[name] = await settled(`attacked=${value}`);
  }
  await run(`(() => {
    const slider = document.querySelector("[aria-label=M]");
    slider.value = 3;
    for (const event of ["input", "change"]) slider.dispatchEvent(new Event(event));
  })()`);
  result.eight = await settled("draws=8&");
  await run(
    `[...document.querySelectorAll("button")].find(({ textContent }) => textContent.startsWith("Link")).click()`,
  );
  return { ...result, link: await run("location.href") };
}

async function again({ run, settled }) {
  return {
    linked: await settled("draws=8&"),
    width: await run("[document.documentElement.scrollWidth, innerWidth]"),
  };
}

const seen = { said: [], asked: [] };
try {
  for (const look of [first, again]) {
    const page = await visit(seen.link ?? address);
    try {
      Object.assign(seen, await look(page));
    } finally {
      seen.said.push(...page.said);
      seen.asked.push(...page.asked);
      await page.end();
    }
  }
  console.log(JSON.stringify(seen));
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
}
